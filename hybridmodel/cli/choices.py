"""What names on the command line stand for."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybridmodel import HybridModel, load, placement
from hybridmodel.data import Dataset, load_npz, read_csv
from hybridmodel.envs import AerialEffects, HiddenEffects, RobotEffects, VehicleEffects
from hybridmodel.placement import Placement
from physics import (
    CartPole,
    DoublePendulum,
    DynamicBicycle,
    KinematicBicycle,
    Pendulum,
    PlanarQuadrotor,
    Quadrotor,
    RigidBody,
    System,
    TwoTanks,
)

SYSTEMS = {
    "pendulum": Pendulum,
    "cartpole": CartPole,
    "double-pendulum": DoublePendulum,
    "acrobot": DoublePendulum.acrobot,
    "pendubot": DoublePendulum.pendubot,
    "quadrotor": Quadrotor,
    "planar-quadrotor": PlanarQuadrotor,
    "kinematic-bicycle": KinematicBicycle,
    "dynamic-bicycle": DynamicBicycle,
    "two-tanks": TwoTanks,
}
_EFFECTS = (HiddenEffects, RobotEffects, AerialEffects, VehicleEffects)
_ROBOTS = {".urdf": RigidBody.from_urdf, ".xml": RigidBody.from_mjcf, ".mjcf": RigidBody.from_mjcf}


def system_named(name: str, option: str = "--system") -> System:
    """A system by name, from a robot's file, or the user's own `module:factory`."""
    if name in SYSTEMS:
        return SYSTEMS[name]()
    if (kind := Path(name).suffix.lower()) in _ROBOTS:
        return _ROBOTS[kind](name)
    if ":" not in name:
        raise ValueError(
            f"{option} is one of {list(SYSTEMS)}, a robot's .urdf or .xml file, or MODULE:CLASS, "
            f"got {name!r}"
        )
    made = _made(option, name)
    if not isinstance(made, System):
        raise ValueError(f"{option} {name!r} makes a {type(made).__name__}, wanted a System")
    return made


def load_model(path: Path, system: str | None, residual: str | None) -> HybridModel:
    """The model of a file; its system and residual as --system and --residual name them."""
    own = None if residual is None else _made("--residual", residual)
    if not (own is None or hasattr(own, "load_state_dict")):
        raise ValueError(
            f"--residual {residual!r} makes a {type(own).__name__}, wanted a torch.nn.Module"
        )
    return load(path, system=None if system is None else system_named(system), residual=own)


def _made(option: str, name: str) -> Any:
    """What `module:factory` from the import path makes when it is called."""
    module, _, factory = name.partition(":")
    if not (factory.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(
            f"{option} wants MODULE:CLASS or MODULE:FACTORY, a module as in `import` (mysystem "
            f"or package.mysystem, no path and no .py) and a name in it; got {name!r}"
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        return getattr(importlib.import_module(module), factory)()
    except (ImportError, SyntaxError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{option} {name!r}: {error}; wanted a class or a function that {module} has, which "
            "is called without arguments"
        ) from error


def placement_named(name: str) -> Placement:
    """A placement by name."""
    for known in placement.ALL:
        if known.name == name:
            return known
    raise ValueError(f"--placement is one of {[p.name for p in placement.ALL]}, got {name!r}")


def hidden_effects(path: Path | None) -> HiddenEffects:
    """Hidden effects from a JSON file of the fields of their class; none without a file.

    The class is the first of HiddenEffects, RobotEffects, AerialEffects and VehicleEffects that
    has all of them.
    """
    if path is None:
        return HiddenEffects()
    try:
        fields = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"--hidden {path}: is no JSON: {error}") from None
    known = {kind: [f.name for f in dataclasses.fields(kind)] for kind in _EFFECTS}
    if not isinstance(fields, dict):
        raise ValueError(f"--hidden {path}: wants an object, got {fields!r}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    for kind, names in known.items():
        if set(fields) <= set(names):
            return kind(**values)
    wrong = sorted(set(fields) - {name for names in known.values() for name in names})
    raise ValueError(
        f"--hidden {path}: wants an object with keys of one of "
        f"{ {kind.__name__: names for kind, names in known.items()} }, got {wrong or [*fields]}"
    )


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
