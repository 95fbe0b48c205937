"""What names on the command line stand for."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybridmodel import placement
from hybridmodel.data import Dataset, load_npz, read_csv
from hybridmodel.envs import HiddenEffects
from hybridmodel.placement import Placement
from physics import CartPole, DoublePendulum, Pendulum, System

SYSTEMS = {
    "pendulum": Pendulum,
    "cartpole": CartPole,
    "double-pendulum": DoublePendulum,
    "acrobot": DoublePendulum.acrobot,
    "pendubot": DoublePendulum.pendubot,
}


def system_named(name: str) -> System:
    """A system by name, or the user's own as `module:factory` from the import path."""
    if name in SYSTEMS:
        return SYSTEMS[name]()
    module, colon, factory = name.partition(":")
    if not colon:
        raise ValueError(f"--system is one of {list(SYSTEMS)} or MODULE:CLASS, got {name!r}")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        made = getattr(importlib.import_module(module), factory)()
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"--system {name!r}: {error}") from None
    if not isinstance(made, System):
        raise ValueError(f"--system {name!r} makes a {type(made).__name__}, wanted a System")
    return made


def placement_named(name: str) -> Placement:
    """A placement by name."""
    for known in placement.ALL:
        if known.name == name:
            return known
    raise ValueError(f"--placement is one of {[p.name for p in placement.ALL]}, got {name!r}")


def hidden_effects(path: Path | None) -> HiddenEffects:
    """Hidden effects from a JSON file of HiddenEffects' fields; none without a file."""
    if path is None:
        return HiddenEffects()
    try:
        fields = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"--hidden {path}: is no JSON: {error}") from None
    known = [f.name for f in dataclasses.fields(HiddenEffects)]
    if not isinstance(fields, dict) or not set(fields) <= set(known):
        wrong = sorted(set(fields) - set(known)) if isinstance(fields, dict) else fields
        raise ValueError(f"--hidden {path}: wants an object with keys of {known}, got {wrong}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return HiddenEffects(**values)


def read_logs(paths: tuple[Path, ...], system: System | None, dt: float | None) -> Dataset:
    """One dataset from .npz datasets and .csv logs; csv needs the system for its columns."""
    logs = []
    for path in paths:
        if path.suffix == ".npz":
            logs += list(load_npz(path))
        elif path.suffix == ".csv":
            if system is None:
                raise ValueError(f"{path}: a CSV needs --system to know its columns")
            logs.append(read_csv(path, system, dt=dt, resample=dt is not None))
        else:
            raise ValueError(f"{path}: a log is a .npz or a .csv file")
    return Dataset(logs)


def numbers(option: str, text: str, count: int | None = None) -> tuple[float, ...]:
    """Comma-separated numbers."""
    try:
        values = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError(f"{option} wants numbers like 1,2.5, got {text!r}") from None
    if count is not None and len(values) != count:
        raise ValueError(f"{option} wants {count} numbers, got {len(values)}")
    return values


def weights(option: str, text: str) -> Mapping[str, float]:
    """`name=number,name=number`."""
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"{option} wants NAME=NUMBER,…, got {part!r}")
    return found
