"""A study written down: a TOML file, key by key the fields of `Study`.

systems = ["pendulum", "cartpole"]
effects = ["friction", "actuator"]
models = ["physics", "identified", "network", "hybrid", "oracle"]
planners = ["cem", "sqp"]
data = [15, 30, 60]           # s
seeds = [0, 1, 2]

[robot.arm]                   # a system of your own, then listed under systems
file = "arm.urdf"             # relative to the TOML file

[measured]                    # logs of the real machine, by system: of `save_npz`, or any table
arm = "bench.npz"

[measured.pendulum]           # where a table has other names, units or stamps: as for `read_log`
file = "bench.csv"
columns = { angle = "enc", torque = "tau" }
units = { angle = "deg" }
dt = 0.02
resample = true
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from hybridmodel.data import Dataset, load_npz, read_log
from hybridmodel.study.grid import Study
from hybridmodel.tasks.robot import robot_task
from hybridmodel.tasks.study_tasks import STUDY_TASKS
from hybridmodel.tasks.task import Task

_ROBOT = {"file": str, "dt": float, "link": str, "payload": float}
_LOG = {"file": str, "columns": dict, "units": dict, "time": str, "dt": float, "resample": bool}


def read_study(path: str | Path) -> Study:
    """The study of a TOML file; ValueError naming the file and the key."""
    file = Path(path)
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is no TOML: {error}") from None
    robots, measured = given.pop("robot", {}), given.pop("measured", {})
    known = [f.name for f in fields(Study) if f.name not in ("tasks", "measured")]
    if unknown := [key for key in given if key not in known]:
        raise ValueError(f"{path}: {unknown[0]!r} is none of {[*known, 'robot', 'measured']}")
    if missing := [key for key in ("systems", "effects") if key not in given]:
        raise ValueError(f"{path}: {missing[0]} is missing")
    tasks: dict[str, Callable[[], Task]] = dict(STUDY_TASKS)
    for name, keys in _table(path, "robot", robots).items():
        if name in STUDY_TASKS:
            raise ValueError(f"{path}: robot.{name}: {name} is there already, give another name")
        tasks[name] = _robot(file, name, _table(path, f"robot.{name}", keys))
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    try:
        logs = {
            name: _log(file, name, log, tasks)
            for name, log in _table(path, "measured", measured).items()
        }
        return Study(**values, tasks=tasks, measured=logs)
    except (TypeError, ValueError, OSError, ArithmeticError) as error:
        raise ValueError(f"{path}: {error}") from None


def _robot(file: Path, name: str, keys: Mapping[str, Any]) -> Callable[[], Task]:
    _check_keys(f"{file}: robot.{name}", keys, _ROBOT, "a .urdf or .xml of the robot")
    options = {key: value for key, value in keys.items() if key != "file"}
    return partial(robot_task, name, str(file.parent / keys["file"]), **options)


def _log(file: Path, name: str, given: Any, tasks: Mapping[str, Callable[[], Task]]) -> Dataset:
    """Measured logs: what `save_npz` wrote, or a table as `read_log` is told to read it."""
    if name not in tasks:
        raise ValueError(f"measured: {name!r} is none of {list(tasks)}")
    keys = given if isinstance(given, dict) else {"file": given}
    _check_keys(f"measured.{name}", keys, _LOG, "a log of the real machine")
    path, options = file.parent / keys["file"], {k: v for k, v in keys.items() if k != "file"}
    try:
        if path.suffix.lower() == ".npz" and not options:
            return load_npz(path)
        return Dataset([read_log(path, tasks[name]().system, **options)])
    except (OSError, ValueError) as error:
        raise ValueError(f"measured.{name}: {path}: {error}") from None


def _check_keys(where: str, keys: Mapping[str, Any], known: Mapping[str, type], what: str) -> None:
    if unknown := [key for key in keys if key not in known]:
        raise ValueError(f"{where}: {unknown[0]!r} is none of {list(known)}")
    if "file" not in keys:
        raise ValueError(f"{where}: file is missing, {what}")
    for key, value in keys.items():
        wanted = (int, float) if known[key] is float else known[key]
        if not isinstance(value, wanted) or (isinstance(value, bool) and known[key] is not bool):
            kind = "table" if known[key] is dict else known[key].__name__
            raise ValueError(f"{where}.{key} must be a {kind}, got {value!r}")


def _table(path: str | Path, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {key} must be a table, got {value!r}")
    return value
