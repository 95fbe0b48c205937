"""What names on the command line stand for."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import residuals
from hybridmodel import HybridModel, load, placement
from hybridmodel.collection import Policy
from hybridmodel.data import Dataset, load_npz, read_log
from hybridmodel.envs import AerialEffects, HiddenEffects, RobotEffects, VehicleEffects
from hybridmodel.envs.payload import Laden
from hybridmodel.excitation import (
    Chirp,
    ComputedTorque,
    FourierMotion,
    GeometricFlight,
    Multisine,
    RandomSteps,
)
from hybridmodel.placement import Placement
from physics import (
    CartPole,
    DoublePendulum,
    DynamicBicycle,
    KinematicBicycle,
    Mechanical,
    Pendulum,
    PlanarQuadrotor,
    Quadrotor,
    RigidBody,
    Signal,
    System,
    TwoTanks,
)
from residuals import Residual

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
_EFFECTS = (
    (RigidBody, RobotEffects),
    (Quadrotor | Laden, AerialEffects),
    (DynamicBicycle, VehicleEffects),
)
_WAVES = {"multisine": Multisine, "chirp": Chirp, "steps": RandomSteps}
_PERIOD, _HARMONICS = 6.0, 4  # s; of led motions
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


def names(text: str) -> tuple[str, ...]:
    """Comma-separated names."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def named_numbers(option: str, text: str) -> dict[str, float]:
    """Numbers by name, as a=1,b=2.

    Raises ValueError naming the option.
    """
    found: dict[str, float] = {}
    for part in names(text):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise ValueError(f"{option} must be like angle=0.01,rate=0.1, got {part!r}") from None
    return found


def named_values(option: str, text: str) -> dict[str, str | float]:
    """Names or numbers by signal, as angle=q_rad,torque=0; commas in brackets part nothing.

    Raises ValueError naming the option.
    """
    found: dict[str, str | float] = {}
    for part in filter(None, map(str.strip, re.split(r",(?![^\[]*\])", text))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if not (name and value) or name in found:
            raise ValueError(f"{option} must be like SIGNAL=NAME,… with each once, got {part!r}")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found


def residual_named(
    family: str,
    hidden: tuple[int, ...],
    *,
    limit: float | None,
    memory: int,
    members: int,
    support: bool,
    seed: int,
) -> Residual | None:
    """A residual of a family, None for an MLP without layers."""
    network = {"limit": limit, "seed": seed}
    families: dict[str, Callable[[], Residual]] = {
        "mlp": lambda: residuals.MLP(hidden, **network),
        "ensemble": lambda: residuals.Ensemble(hidden, count=members, **network),
        "window": lambda: residuals.Window(hidden, steps=memory, **network),
        "gru": lambda: residuals.GRU(hidden[-1], hidden=hidden, warmup=memory, **network),
        "potential": lambda: residuals.Potential(hidden, seed=seed),
        "linear": lambda: residuals.Linear(basis="polynomial", seed=seed),
        "gp": lambda: residuals.GaussianProcess(),
    }
    if family not in families:
        raise ValueError(f"--residual is one of {list(families)}, got {family!r}")
    if not hidden and family == "mlp":
        return None
    if not hidden and family not in ("linear", "gp"):
        raise ValueError(f"--hidden: {family} needs one or more widths")
    made = families[family]()
    return residuals.Supported(made) if support else made


def placement_named(name: str) -> Placement:
    """A placement by name, with :a,b the rows that it corrects."""
    kind, _, rows = name.partition(":")
    for known in placement.ALL:
        if known.name == kind:
            return known.on(*names(rows)) if rows else known
    raise ValueError(f"--placement is one of {[p.name for p in placement.ALL]}, got {name!r}")


def hidden_effects(path: Path | None, system: System) -> HiddenEffects:
    """Hidden effects of a system from a JSON file of the fields of their class; none without one.

    The class: RobotEffects of a RigidBody, AerialEffects of a Quadrotor, VehicleEffects of a
    DynamicBicycle, HiddenEffects of any other.
    """
    if path is None:
        return HiddenEffects()
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--hidden {path}: is no JSON: {error}") from None
    kind = next((kind for of, kind in _EFFECTS if isinstance(system, of)), HiddenEffects)
    known = {field.name: field.type for field in dataclasses.fields(kind)}
    if not isinstance(fields, dict) or not set(fields) <= set(known):
        got = sorted(set(fields) - set(known)) if isinstance(fields, dict) else fields
        raise ValueError(
            f"--hidden {path}: wants an object with keys of {kind.__name__}, those of a "
            f"{type(system).__name__}: {[*known]}, got {got!r}"
        )
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    for name, value in values.items():
        try:
            kind(**{name: value})
        except (TypeError, ValueError) as error:
            # a conversion inside says neither the field nor what it wants
            own = str(error).startswith(name)
            why = error if own else f"{name} must be {known[name]}, got {fields[name]!r}"
            raise ValueError(f"--hidden {path}: {why}") from error
    return kind(**values)


def excitation_named(
    name: str | None, system: System, *, amplitude: float, dt: float
) -> tuple[Policy, tuple[float, ...] | None]:
    """A policy by name and the state it starts from, None is the plant's own.

    Without a name: motion for a robot on a fixed base with a motor in each joint and for a
    quadrotor, which waves would drive out of their limits; multisine for any other system.
    """
    if name is None:
        name = "motion" if must_be_led(system) else "multisine"
    if name != "motion":
        return _WAVES[name](system.inputs, amplitude=amplitude), None
    if not 0 < amplitude <= 1:
        raise ValueError(f"--amplitude must be within 0 … 1, got {amplitude}")
    if isinstance(system, Quadrotor):
        coordinates = (*system.states[:3], Signal("yaw", "rad"))
        places, reach = _places(coordinates, (0.0, 0.0, 1.5, 0.0), (2.0, 2.0, 1.0, 1.0))
        start = (*places[:3], *system.neutral[3:])
        fast = min(12.0, 0.4 / dt)
        reach = [amplitude * most for most in reach]
        flight = FourierMotion(places, reach, period=_PERIOD, harmonics=_HARMONICS)
        return GeometricFlight(system, flight, bandwidth=(fast / 5, fast)), start
    if not isinstance(system, Mechanical) or not system.nq == system.nv == system.nu:
        raise ValueError(
            "--excitation motion wants a Quadrotor, or a mechanical system with an input for each "
            f"of its joints, got {type(system).__name__}: multisine, chirp or steps"
        )
    n = system.nq
    places, reach = _places(system.states[:n], system.neutral[:n], (1.0,) * n)
    highest = 2 * np.pi * _HARMONICS / _PERIOD
    rates = [min(-s.low, s.high) for s in system.states[n : 2 * n]]
    reach = [amplitude * min(r, v / highest) for r, v in zip(reach, rates, strict=True)]
    motion = FourierMotion(places, reach, period=_PERIOD, harmonics=_HARMONICS)
    led = ComputedTorque(system, motion, bandwidth=min(10.0, 0.25 / dt))
    return led, (*places, *(0.0,) * (system.nx - n))


def must_be_led(system: System) -> bool:
    """Whether waves would drive it out of its limits, and a controller can keep it inside."""
    if isinstance(system, RigidBody):
        return not system.floating and system.nq == system.nv == system.nu
    return isinstance(system, Quadrotor)


def _places(
    coordinates: Sequence[Signal], otherwise: Sequence[float], furthest: Sequence[float]
) -> tuple[list[float], list[float]]:
    """The middle between the limits, within ±1 as far as they allow, and half of what is around.

    `otherwise` where a limit is infinite; `furthest` bounds the half range.
    """
    places, reach = [], []
    for signal, place, most in zip(coordinates, otherwise, furthest, strict=True):
        half = min((signal.high - signal.low) / 2, most)
        if np.isfinite([signal.low, signal.high]).all():
            place = float(np.clip((signal.low + signal.high) / 2, -1, 1))
        places.append(float(np.clip(place, signal.low + half, signal.high - half)))
        reach.append(half)
    return places, reach


def read_logs(
    paths: tuple[Path, ...],
    system: System | None,
    dt: float | None,
    *,
    time: str = "time",
    columns: str = "",
    units: str = "",
) -> Dataset:
    """One dataset from .npz datasets and recorded logs, which need the system for their columns.

    `time`, `columns` and `units` as the options of the same names; datasets need none of them.
    """
    logs = []
    column, unit = named_values("--columns", columns), named_values("--units", units)
    for path in paths:
        if is_dataset(path):
            logs += list(load_npz(path))
        elif system is None:
            raise ValueError(
                f"{path}: a {path.suffix or 'folder'} needs --system to know its columns"
            )
        else:
            logs.append(
                read_log(
                    path,
                    system,
                    columns=column,
                    units=unit,
                    time=time,
                    dt=dt,
                    resample=dt is not None,
                )
            )
    return Dataset(logs)


def is_dataset(path: Path) -> bool:
    """Whether `save_npz` wrote it: other .npz files hold plain arrays."""
    if path.suffix.lower() != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "format.npy" in archive.namelist()
    except zipfile.BadZipFile:
        return True  # load_npz says what is wrong with it


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
