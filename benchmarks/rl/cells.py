"""Cells of a table, each one file: what was run once is not run again.

A part of this topic is a module with

    cells(quick)     all its cells, dicts of JSON values
    cell(arguments)  the numbers of one, a pure function of it
    rows(results)    the figures of [(cell, numbers), …]
"""

from __future__ import annotations

import hashlib
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
    parts: list[str], folder: Path, quick: bool, workers: int
) -> Iterator[tuple[str, list[tuple[Cell, Numbers]], int]]:
    """(part, [(cell, numbers), …], how many are missing) once all has run; failures are told."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {part: _module(part).cells(quick) for part in parts}
    todo = [(p, c) for p, cells in wanted.items() for c in cells if _read(folder, p, c) is None]
    known = sum(map(len, wanted.values())) - len(todo)
    _say(f"{known} cells are there, {len(todo)} to run")
    began = time.perf_counter()
    with pool(workers) as processes:
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
                text = json.dumps({"part": part, "cell": cell, "numbers": numbers}, indent=1)
                write_atomically(_path(folder, part, cell), text.encode())
            left = (time.perf_counter() - began) / done * (len(jobs) - done)
            _say(f"{done}/{len(jobs)}, {left / 60:.1f} min left: {part} {cell} → {numbers}")
    for part, cells in wanted.items():
        found = [(cell, _read(folder, part, cell)) for cell in cells]
        done = [(cell, numbers) for cell, numbers in found if numbers is not None]
        yield part, done, len(cells) - len(done)


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


def _path(folder: Path, part: str, cell: Cell) -> Path:
    name = json.dumps([part, cell], sort_keys=True)
    return folder / f"{part}-{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def _read(folder: Path, part: str, cell: Cell) -> Numbers | None:
    path = _path(folder, part, cell)
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())["numbers"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is no finished cell, remove it: {error}") from error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
