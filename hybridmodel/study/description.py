"""A study written down: a TOML file, key by key the fields of `Study`.

systems = ["pendulum", "cartpole"]
effects = ["friction", "actuator"]
models = ["physics", "identified", "network", "hybrid", "oracle"]
planners = ["cem", "sqp"]
data = [15, 30, 60]           # s
seeds = [0, 1, 2]

[robot.arm]                   # a system of your own, then listed under systems
file = "arm.urdf"             # relative to the TOML file

[measured]                    # logs of the real machine, by system, as .npz
arm = "bench.npz"
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from hybridmodel.study.grid import Study
from hybridmodel.tasks.robot import robot_task
from hybridmodel.tasks.study_tasks import STUDY_TASKS
from hybridmodel.tasks.task import Task

_ROBOT = {"file": str, "dt": float, "link": str, "payload": float}


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
    logs = {
        name: str(file.parent / _text(path, f"measured.{name}", log))
        for name, log in _table(path, "measured", measured).items()
    }
    try:
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in given.items()
        }
        return Study(**values, tasks=tasks, measured=logs)
    except (TypeError, ValueError, OSError, ArithmeticError) as error:
        raise ValueError(f"{path}: {error}") from None


def _robot(file: Path, name: str, keys: Mapping[str, Any]) -> Callable[[], Task]:
    if unknown := [key for key in keys if key not in _ROBOT]:
        raise ValueError(f"{file}: robot.{name}: {unknown[0]!r} is none of {list(_ROBOT)}")
    if "file" not in keys:
        raise ValueError(f"{file}: robot.{name}: file is missing, a .urdf or .xml of the robot")
    for key, value in keys.items():
        wanted = (int, float) if _ROBOT[key] is float else str
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(
                f"{file}: robot.{name}.{key} must be a {_ROBOT[key].__name__}, got {value!r}"
            )
    options = {key: value for key, value in keys.items() if key != "file"}
    return partial(robot_task, name, str(file.parent / keys["file"]), **options)


def _table(path: str | Path, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {key} must be a table, got {value!r}")
    return value


def _text(path: str | Path, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{path}: {key} must be a file's name, got {value!r}")
    return value
