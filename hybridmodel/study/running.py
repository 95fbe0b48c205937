"""A study in its folder: begun, gone on with, tabulated.

study.json       the grid, the command, the machine and the versions
cells/…          result.json of every job, with its files
table.parquet    one row for each cell
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from hybridmodel.files import write_atomically
from hybridmodel.study.dispatch import LOCK, Engine, Progress, alone, carry_out
from hybridmodel.study.engines import processes
from hybridmodel.study.grid import Study
from hybridmodel.study.table import TABLE, Row, needed, rows_of, write_table

STUDY = "study.json"
PACKAGES = ("hybridmodel", "torch", "casadi", "numpy", "scipy", "pybullet", "mujoco")


def run_study(
    study: Study,
    folder: str | Path,
    *,
    engine: Engine | None = None,
    workers: int = 2,
    resume: bool = False,
    retry: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> list[Row]:
    """Run what of a study has not run yet, and write its table; its rows.

    engine    opens the executor; default `processes(workers)`
    workers   of the engine: so many jobs are carried out at once
    resume    go on in a folder that holds a study: with this grid, a part of it, or a larger one
    retry     run cells that failed again
    command   how it was called, for the record

    Raises ValueError where the folder holds a study and `resume` is not set, or one that was made
    with other settings or versions, whose numbers would be others. ImportError without
    pyarrow.
    """
    needed()  # or all would have run before the table cannot be written
    home, jobs = Path(folder), study.jobs()
    record = {**study.description(), "settings": study.settings(), "versions": versions()}
    machine = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "command": command}
    _check_folder(home, record, resume)
    with alone(home):
        _check_folder(home, record, resume)  # again: nobody else is at work now
        _write(home, {**record, **machine, "workers": workers})
        began = time.perf_counter()
        try:
            carry_out(
                jobs,
                home,
                engine or processes(workers),
                workers=workers,
                retry=retry,
                progress=progress,
            )
        finally:
            rows = rows_of(study, home)
            write_table(rows, home / TABLE)
        seconds = time.perf_counter() - began
        _write(home, {**record, **machine, "workers": workers, "seconds": seconds})
    return rows


def read_description(folder: str | Path) -> dict[str, Any]:
    """study.json; ValueError where there is none."""
    path = Path(folder) / STUDY
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no study: {error}") from None
    return found


def versions() -> dict[str, str]:
    """Of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _check_folder(folder: Path, record: dict[str, Any], resume: bool) -> None:
    if not (folder / STUDY).exists():
        own = (LOCK, f".{STUDY}.")  # left by one that was killed as it began
        if folder.is_dir() and any(not f.name.startswith(own) for f in folder.iterdir()):
            raise ValueError(f"{folder} is not empty and holds no study: give another folder")
        return
    if not resume:
        raise ValueError(f"{folder} holds a study: go on with it by --resume, or give another one")
    before = read_description(folder)
    for name in ("quick", "versions"):
        if before.get(name) != record[name]:
            raise ValueError(
                f"{folder} holds a study with other {name}, whose numbers would differ: "
                f"{before.get(name)}, now {record[name]}; give another folder"
            )
    settings: dict[str, str] = before.get("settings", {})
    for name, now in record["settings"].items():
        if settings.get(name, now) != now:
            raise ValueError(
                f"{folder} holds a study in which {name} was another one: its task or its file "
                "has changed since, and numbers would not go together; give another folder"
            )
    record["settings"] = {**settings, **record["settings"]}


def _write(folder: Path, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / STUDY, text.encode())
