"""Cells of a table, each one line of a file: what was run once is not run again.

A part of this topic is a module with

    cells(quick)     all its cells, dicts of JSON values
    cell(arguments)  the numbers of one, a pure function of it
    rows(results)    the figures of [(cell, numbers), …]
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

from benchmarks.figures import Row
from hybridmodel.files import write_atomically
from hybridmodel.workers import pool

Cell = dict[str, Any]
Numbers = dict[str, Any]


def results(
    parts: list[str], file: Path, quick: bool, workers: int
) -> Iterator[tuple[str, list[tuple[Cell, Numbers]], int]]:
    """(part, [(cell, numbers), …], how many are missing) once all has run; failures are told."""
    wanted = {part: _module(part).cells(quick) for part in parts}
    found = read(file)
    todo = [(p, c) for p, cells in wanted.items() for c in cells if _key(p, c) not in found]
    known = sum(map(len, wanted.values())) - len(todo)
    _say(f"{known} cells are there, {len(todo)} to run")
    file.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with pool(workers) as processes, open(file, "a", encoding="utf-8") as table:
        jobs = {processes.submit(_run, part, cell): (part, cell) for part, cell in todo}
        for done, job in enumerate(as_completed(jobs), 1):
            part, cell = jobs[job]
            try:
                numbers = job.result()
            except Exception as error:  # a worker that was killed takes its pool with it
                numbers = {"error": f"{type(error).__name__}: {error}; run it again"}
            if "error" in numbers:
                _say(f"FAILED {part} {cell}: {numbers['error']}")
            else:
                table.write(json.dumps({"part": part, "cell": cell, "numbers": numbers}) + "\n")
                table.flush()
                found[_key(part, cell)] = numbers
            left = (time.perf_counter() - began) / done * (len(jobs) - done)
            _say(f"{done}/{len(jobs)}, {left / 60:.1f} min left: {part} {cell} → {numbers}")
    for part, cells in wanted.items():
        done = [(cell, found[_key(part, cell)]) for cell in cells if _key(part, cell) in found]
        yield part, done, len(cells) - len(done)


def read(file: Path) -> dict[str, Numbers]:
    """The finished cells of a file by their keys; a last line that was cut off is none."""
    if not file.exists():
        return {}
    found, lines = {}, file.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            each = json.loads(line)
            found[_key(each["part"], each["cell"])] = each["numbers"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and not line.endswith("\n"):
                write_atomically(file, "".join(lines[:-1]).encode())  # what follows begins a line
                break
            raise ValueError(f"{file}, line {number}: is no finished cell: {error}") from error
    return found


def figures(part: str, found: list[tuple[Cell, Numbers]]) -> Iterator[Row]:
    """The figures of a part."""
    return _module(part).rows(found)


def _module(part: str) -> Any:
    return importlib.import_module(f"benchmarks.rl.{part}")


def _run(part: str, cell: Cell) -> Numbers:
    began = time.perf_counter()
    try:
        numbers = _module(part).cell(cell)
    except Exception:  # the other cells' hours are not lost with it
        return {"error": traceback.format_exc(limit=-3)}
    return {**numbers, "seconds": time.perf_counter() - began}


def _key(part: str, cell: Cell) -> str:
    return json.dumps([part, cell], sort_keys=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
