"""A job: a pure function, where its inputs come from, and what it left in its folder.

A job is done when its `result.json` is there; it is written last, in one piece, after the job's
files. A job that raised keeps its error.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybridmodel.files import write_atomically

Number = float | int | str | bool | None
RESULT = "result.json"


@dataclass(frozen=True)
class Result:
    """What a job found: numbers by name, and files by name."""

    numbers: Mapping[str, Number] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A pure function run(*arguments, **inputs) → Result, and where its inputs come from.

    name       unique; also its folder, with / between its parts
    needs      keyword ↦ (name of another job, one of that job's files)
    """

    name: str
    run: Callable[..., Result]
    arguments: tuple[Any, ...] = ()
    needs: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What of its kind takes about as long."""
        return self.run.__name__


def read_result(folder: Path, name: str) -> dict[str, Any] | None:
    """What a job's `result.json` holds, None where it has not run.

    Raises ValueError where it is damaged.
    """
    path = folder / name / RESULT
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = json.loads(data)
        return {
            "error": str(found["error"]),
            "seconds": float(found["seconds"]),
            "numbers": {k: _number(v) for k, v in found["numbers"].items()},
            "files": dict(found.get("files", {})),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged, remove it: {error}") from None


def write_result(folder: Path, name: str, outcome: dict[str, Any]) -> None:
    """The files of a job, then its `result.json` with their digests."""
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    files = outcome.pop("files", {})
    for file, data in files.items():
        write_atomically(home / file, data)
    outcome["files"] = {k: hashlib.sha256(data).hexdigest() for k, data in files.items()}
    text = json.dumps(outcome, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(home / RESULT, text.encode())


def read_file(folder: Path, name: str, file: str) -> bytes | None:
    """A file of a job as it was written, None where it is gone or another one."""
    wanted = (read_result(folder, name) or {})["files"].get(file)
    try:
        data = (folder / name / file).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == wanted else None


def carried_out(
    run: Callable[..., Result], arguments: tuple[Any, ...], inputs: Mapping[str, bytes]
) -> dict[str, Any]:
    """In the worker: the job's outcome, whatever happens in it."""
    began = time.perf_counter()
    try:
        result = run(*arguments, **inputs)
        numbers = {str(key): _text(value) for key, value in result.numbers.items()}
        files = {_file(name): bytes(data) for name, data in result.files.items()}
    except Exception as error:
        return failed(
            f"{type(error).__name__}: {error}", traceback.format_exc(), time.perf_counter() - began
        )
    seconds = time.perf_counter() - began
    return {"error": "", "numbers": numbers, "seconds": seconds, "files": files}


def failed(error: str, trace: str = "", seconds: float = 0.0) -> dict[str, Any]:
    return {"error": error, "traceback": trace, "numbers": {}, "seconds": seconds}


def _text(value: Any) -> Number:
    """A number for JSON, which has no ∞ and no NaN; TypeError for what is none."""
    if hasattr(value, "item"):
        value = value.item()  # of numpy
    if isinstance(value, float) and not math.isfinite(value):
        return f"float:{value}"
    if value is None or isinstance(value, float | int | str | bool):
        return value
    raise TypeError(f"numbers must be numbers, texts or None, got {type(value).__name__}")


def _file(name: str) -> str:
    if Path(name).name != name or name in (RESULT, ".", ".."):
        raise ValueError(f"files must have plain names, got {name!r}")
    return name


def _number(value: Number) -> Number:
    if isinstance(value, str) and value.startswith("float:"):
        return float(value.removeprefix("float:"))
    return value


def state_of(folder: Path, name: str) -> str | None:
    found = read_result(folder, name)
    if found is None:
        return None
    return "failed" if found["error"] else "done"
