"""Mismatches of a robot and its plant, drawn at random: one to three culprits and nothing else.

Culprits of accelerations must move the engine by 1e-5 at states of another seed, and an engine
step is called fine or too coarse by semi-implicit Euler in CasADi, with a factor of three to
either side of the bar.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pybullet_data

from benchmarks import random_robots
from benchmarks.effects import Rolls, creeps, engine_moves, moves, stiffness, total, without
from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.parity.constants import loads_own_file, with_constants
from physics.rigid_body import urdf
from physics.rigid_body.description import Link
from physics.rigid_body.inertia import as_pybullet
from physics.rigid_body.system import RigidBody

_BAR = 0.02  # of rollouts, check_parity's own
_CLEAR = 3.0  # how far from the bar a step must lie
_LOOSE, _STIFF = 0.7, 1.3  # h·eig(M⁻¹D) of damping that is no culprit, and of one that is
_SMOOTHING = 1e-3  # of dry friction [rad/s, m/s]
_FROM_FILES = 0.4
_TRIES = 30


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A System, the plant that differs from it, and the culprits that were put between them."""

    label: str
    system: RigidBody
    own: RigidBody  # what the plant is built of
    settings: BulletSettings
    dt: float
    substeps: int
    culprits: frozenset[str] = frozenset()


def draw(random: np.random.Generator, files: tuple[str, ...], folder: Path) -> Mismatch:
    """One mismatch; robots on which its culprits have no or no clear effect are drawn again."""
    while True:
        kinds = random.choice(sorted(KINDS), size=random.integers(1, 4), replace=False)
        for _ in range(_TRIES):  # not every robot has limits, and some culprits exclude another
            with contextlib.suppress(UnclearError, np.linalg.LinAlgError):
                return _drawn(random, files, folder, kinds.tolist())


class UnclearError(Exception):
    """What was drawn is no test."""


def _drawn(
    random: np.random.Generator, files: tuple[str, ...], folder: Path, kinds: list[str]
) -> Mismatch:
    if random.random() < _FROM_FILES:
        path = Path(pybullet_data.getDataPath(), str(random.choice(files)))
    else:
        path = folder / f"tree_{random.integers(1 << 40)}.urdf"
        path.write_text(random_robots.text(random), encoding="utf-8")
    try:
        robot = RigidBody.from_description(urdf.read(path, ignore=("mimic",)))
    except ValueError:
        raise UnclearError from None
    robot = dataclasses.replace(robot, smoothing=_SMOOTHING)
    clean = BulletSettings()
    case = Mismatch(
        label=path.stem, system=robot, own=robot, settings=clean, dt=1 / 240, substeps=1
    )
    for kind in sorted(kinds, key=lambda kind: _ORDER.index(kind) if kind in _ORDER else 0):
        case = KINDS[kind](random, case)
    if not case.culprits & {"substeps", "explicit joint damping"}:
        case = _fine(case)
    return case


# -- culprits ------------------------------------------------------------------------------------


def _gravity(random: np.random.Generator, case: Mismatch) -> Mismatch:
    value = float(random.choice([0.0, 1.62, 3.71, 9.0]))
    if random.random() < 0.3:
        own = dataclasses.replace(case.own, gravity=9.0)
        if not moves(case.system, dataclasses.replace(case.system, gravity=9.0)):
            raise UnclearError
        return _with(case, "gravity", own=own)
    return _setting(case, "gravity", gravity=value)


def _shapes(random: np.random.Generator, case: Mismatch) -> Mismatch:
    if case.settings.inertia != "system":
        raise UnclearError
    return _setting(_invented(case), "inertia from shapes", inertia="shapes")


def _zeroed(random: np.random.Generator, case: Mismatch) -> Mismatch:
    links = case.own.description.links
    lost = [k for k in links if k.has_inertial and _lost(k)]
    if case.settings.inertia != "system" or not lost:
        raise UnclearError
    return _setting(_invented(case), "inertia zeroed", inertia="file")


def _lost(link: Link) -> bool:
    before, after = np.array(link.inertia), np.array(as_pybullet(link).inertia)
    return bool(np.any(before) and not np.any(after))


def _invented(case: Mismatch) -> Mismatch:
    """An engine that reads the file also invents what links without <inertial> weigh."""
    description = case.own.description
    if not loads_own_file(case.own):
        return case
    links = tuple(k if k.has_inertial else as_pybullet(k) for k in description.links)
    heavier = RigidBody.from_description(
        dataclasses.replace(description, links=links), gravity=case.own.gravity
    )
    light = RigidBody.from_description(description, gravity=case.own.gravity)
    if moves(light, heavier):
        return _with(case, "invented inertials")
    return case


def _linear(random: np.random.Generator, case: Mismatch) -> Mismatch:
    return _setting(case, "linear damping", linear_damping=float(random.choice([0.04, 0.01, 0.2])))


def _angular(random: np.random.Generator, case: Mismatch) -> Mismatch:
    value = float(random.choice([0.04, 0.01, 0.2]))
    return _setting(case, "angular damping", angular_damping=value)


def _motors(random: np.random.Generator, case: Mismatch) -> Mismatch:
    """The engine's motors are what dry friction would be, so that a plant has one of both."""
    if total(case.own, "friction"):
        case = _setting(case, "dry friction", dry_friction="none")
    return _setting(case, "default motors", motors=True)


def _clamp(random: np.random.Generator, case: Mismatch) -> Mismatch:
    value = float(random.choice([100.0, 20.0, 300.0]))
    settings = dataclasses.replace(case.settings, max_joint_velocity=value)
    return _with(case, "velocity clamp", settings=settings)


def _limits(random: np.random.Generator, case: Mismatch) -> Mismatch:
    if not any(np.isfinite([j.low, j.high]).all() and j.low < j.high for j in case.own.joints):
        raise UnclearError
    settings = dataclasses.replace(case.settings, position_limits=True)
    return _with(case, "position limits", settings=settings)


def _damping(random: np.random.Generator, case: Mismatch) -> Mismatch:
    if total(case.own, "damping") and random.random() < 0.5:
        return _setting(case, "joint damping", joint_damping="none")
    joint = str(random.choice([j.name for j in case.system.joints]))
    now = case.system.parameters.get(f"{joint}.damping", 0.0)
    value = float(now) + float(random.uniform(0.02, 0.2))
    system = with_constants(case.system, {f"{joint}.damping": value})
    return _constant(case, "joint damping", system)


def _friction(random: np.random.Generator, case: Mismatch) -> Mismatch:
    if "dry friction" in case.culprits:
        raise UnclearError  # the motors have it so
    if total(case.own, "friction") and random.random() < 0.6:
        return _setting(case, "dry friction", dry_friction="none")
    joint = str(random.choice([j.name for j in case.system.joints]))
    now = case.system.parameters.get(f"{joint}.friction", 0.0)
    value = float(now) + float(random.uniform(0.02, 0.2))
    system = with_constants(case.system, {f"{joint}.friction": value})
    return _constant(case, "dry friction", system)


def _constants(random: np.random.Generator, case: Mismatch) -> Mismatch:
    names = [n for n in case.system.parameters if n.endswith((".mass", ".gear", ".spread_xx"))]
    names += [n for n in case.system.parameters if ".center_" in n]
    name = str(random.choice(names))
    value = float(case.system.parameters[name])
    changed = value + float(random.uniform(0.01, 0.05)) if ".center_" in name else 1.2 * value
    system = case.system.with_parameters(**{name: changed})
    link, _, kind = name.rpartition(".")
    named = f"{link}.inertia" if kind.startswith("spread") else name
    if kind.startswith("spread") and case.settings.inertia != "system":
        raise UnclearError  # the engine's tensor is not the plant's own
    return _constant(case, named, system)


def _coarse(random: np.random.Generator, case: Mismatch) -> Mismatch:
    case = dataclasses.replace(case, dt=float(random.uniform(0.008, 0.03)), substeps=1)
    error = Rolls.of(case.system, case.dt).error(1)
    if not _CLEAR * _BAR < error < np.inf or _stiffness(case) > _LOOSE:
        raise UnclearError
    return _with(case, "substeps")


def _stiff(random: np.random.Generator, case: Mismatch) -> Mismatch:
    if "joint damping" in case.culprits:
        raise UnclearError
    free = without(case.system, "damping")
    case = _fine(dataclasses.replace(case, system=free), least=2)
    h = case.dt / case.substeps
    joint = int(random.integers(len(case.own.joints)))
    mass = np.asarray(free.mass_matrix_function()(np.array(free.neutral[: free.nq])))
    wanted = float(random.uniform(2.4, 5.0)) / h / np.linalg.inv(mass)[joint, joint]
    name = free.joints[joint].name
    damped = {f"{joint.name}.damping": 0.0 for joint in free.joints} | {f"{name}.damping": wanted}
    system, own = with_constants(free, damped), with_constants(case.own, damped)
    case = dataclasses.replace(case, system=system, own=own)
    if Rolls.of(system, case.dt).error(case.substeps) < _CLEAR * _BAR or _stiffness(case) < _STIFF:
        raise UnclearError
    return _with(case, "explicit joint damping")


KINDS = {
    "gravity": _gravity,
    "inertia from shapes": _shapes,
    "inertia zeroed": _zeroed,
    "linear damping": _linear,
    "angular damping": _angular,
    "default motors": _motors,
    "velocity clamp": _clamp,
    "position limits": _limits,
    "joint damping": _damping,
    "dry friction": _friction,
    "constants": _constants,
    "substeps": _coarse,
    "explicit joint damping": _stiff,
}
# what changes the System comes before what its step depends on
_ORDER = ("", "constants", "joint damping", "dry friction", "explicit joint damping", "substeps")


# -- what keeps a mismatch clear -----------------------------------------------------------------


def _with(case: Mismatch, name: str, **changes: object) -> Mismatch:
    return dataclasses.replace(case, culprits=case.culprits | {name}, **changes)  # type: ignore[arg-type]


def _setting(case: Mismatch, name: str, **changes: object) -> Mismatch:
    """A setting, where alone it moves the engine."""
    clean = BulletSettings()
    if name == "default motors":
        clean = dataclasses.replace(clean, dry_friction="none")
    on = dataclasses.replace(clean, **changes)  # type: ignore[arg-type]
    try:
        if not engine_moves(case.own, clean, on):
            raise UnclearError
    except ValueError:
        raise UnclearError from None
    settings = dataclasses.replace(case.settings, **changes)  # type: ignore[arg-type]
    return _with(case, name, settings=settings)


def _constant(case: Mismatch, name: str, system: RigidBody) -> Mismatch:
    if not moves(case.system, system):
        raise UnclearError
    return _with(case, name, system=system)


def _fine(case: Mismatch, least: int = 1) -> Mismatch:
    """So many substeps that the step is no culprit."""
    rolls, rate = Rolls.of(case.system, case.dt), stiffness(case.system)
    for substeps in (least, 4, 16, 64):
        loose = rate * case.dt / substeps < _LOOSE
        if loose and rolls.error(substeps) < _BAR / _CLEAR:
            if creeps(case.system, case.dt, _BAR / _CLEAR):
                raise UnclearError
            return dataclasses.replace(case, substeps=substeps)
    raise UnclearError


def _stiffness(case: Mismatch) -> float:
    """h·max eig(M⁻¹D)."""
    return stiffness(case.system) * case.dt / case.substeps
