"""The figures of parity: do the equations follow the engine, and is what differs named?

python -m benchmarks.parity [--quick] [--seed N] [--verbose] --json FILE

A mismatch is a robot, one to three culprits, and no other difference. It is drawn with an oracle
of its own: culprits of accelerations must move the engine by 1e-5 at states of another seed, and
an engine step is called fine or too coarse by semi-implicit Euler in CasADi, with a factor of
three to either side of the bar. Development used `DEVELOPED`; the figure is of `UNSEEN` files.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import casadi as ca
import numpy as np
import pybullet_data

from benchmarks import random_robots
from benchmarks.figures import Row, publish
from hybridmodel.envs.bullet.robot import BulletRobot
from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.parity import check_parity, random_states
from hybridmodel.envs.parity.gaps import (
    measured_accelerations,
    modelled_accelerations,
    rate_function,
    relative,
)
from hybridmodel.envs.parity.measure import Reference
from hybridmodel.envs.parity.probes import rollouts
from physics import integrators
from physics.rigid_body import urdf
from physics.rigid_body.description import Link
from physics.rigid_body.inertia import as_pybullet
from physics.rigid_body.system import RigidBody

DEVELOPMENT_SEED, FINAL_SEED = 1, 20_250
TEN = (
    "cartpole.urdf",
    "TwoJointRobot_w_fixedJoints.urdf",
    "TwoJointRobot_wo_fixedJoints.urdf",
    "pendulum5.urdf",
    "kuka_iiwa/model.urdf",
    "franka_panda/panda.urdf",
    "xarm/xarm6_robot.urdf",
    "a1/a1.urdf",
    "laikago/laikago.urdf",
    "mini_cheetah/mini_cheetah.urdf",
    "aliengo/aliengo.urdf",
)
DEVELOPED = (
    "cartpole.urdf",
    "TwoJointRobot_w_fixedJoints.urdf",
    "kuka_iiwa/model.urdf",
    "a1/a1.urdf",
    "laikago/laikago.urdf",
    "mini_cheetah/mini_cheetah.urdf",
)
UNSEEN = (
    "biped/biped2d_pybullet.urdf",
    "husky/husky.urdf",
    "kuka_iiwa/model_vr_limits.urdf",
    "laikago/laikago_toes_limits.urdf",
    "quadruped/minitaur.urdf",
    "quadruped/minitaur_single_motor.urdf",
    "quadruped/spirit40.urdf",
    "quadruped/vision60.urdf",
    "r2d2.urdf",
    "racecar/racecar.urdf",
    "xarm/xarm6_robot_white.urdf",
)
_BAR = 0.02  # of rollouts, check_parity's own
_CLEAR = 3.0  # how far from the bar a step must lie
_EFFECT = 1e-5  # what a culprit must do to accelerations
_STATES = 60
_FROM_FILES = 0.4
_TRIES = 30
_SMOOTHING = 1e-3  # of dry friction [rad/s, m/s]


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
        if not _moves(case.system, dataclasses.replace(case.system, gravity=9.0)):
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
    if case.own.joints != RigidBody.from_urdf(description.source).joints:
        return case
    links = tuple(k if k.has_inertial else as_pybullet(k) for k in description.links)
    heavier = RigidBody.from_description(
        dataclasses.replace(description, links=links), gravity=case.own.gravity
    )
    light = RigidBody.from_description(description, gravity=case.own.gravity)
    if _moves(light, heavier):
        return _with(case, "invented inertials")
    return case


def _linear(random: np.random.Generator, case: Mismatch) -> Mismatch:
    return _setting(case, "linear damping", linear_damping=float(random.choice([0.04, 0.01, 0.2])))


def _angular(random: np.random.Generator, case: Mismatch) -> Mismatch:
    value = float(random.choice([0.04, 0.01, 0.2]))
    return _setting(case, "angular damping", angular_damping=value)


def _motors(random: np.random.Generator, case: Mismatch) -> Mismatch:
    if _sum(case.own, "friction") or _sum(case.system, "friction"):
        raise UnclearError
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
    if _sum(case.own, "damping") and random.random() < 0.5:
        return _setting(case, "joint damping", joint_damping="none")
    joint = str(random.choice([j.name for j in case.system.joints]))
    now = case.system.parameters.get(f"{joint}.damping", 0.0)
    system = case.system.with_joint(joint, damping=float(now) + float(random.uniform(0.02, 0.2)))
    return _constant(case, "joint damping", system)


def _friction(random: np.random.Generator, case: Mismatch) -> Mismatch:
    if case.settings.motors:
        raise UnclearError
    if _sum(case.own, "friction") and random.random() < 0.6:
        return _setting(case, "dry friction", dry_friction="none")
    joint = str(random.choice([j.name for j in case.system.joints]))
    now = case.system.parameters.get(f"{joint}.friction", 0.0)
    system = case.system.with_joint(joint, friction=float(now) + float(random.uniform(0.02, 0.2)))
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
    error = _step_error(case.system, case.dt, 1)
    if not _CLEAR * _BAR < error < np.inf or _stiffness(case) > 0.7:
        raise UnclearError
    return _with(case, "substeps")


def _stiff(random: np.random.Generator, case: Mismatch) -> Mismatch:
    if "joint damping" in case.culprits:
        raise UnclearError
    free = _undamped(case.system)
    case = _fine(dataclasses.replace(case, system=free), least=2)
    h = case.dt / case.substeps
    joint = int(random.integers(len(case.own.joints)))
    mass = np.asarray(free.mass_matrix_function()(np.array(free.neutral[: free.nq])))
    wanted = float(random.uniform(2.4, 5.0)) / h / np.linalg.inv(mass)[joint, joint]
    name = free.joints[joint].name
    system = free.with_joint(name, damping=wanted)
    own = _undamped(case.own).with_joint(name, damping=wanted)
    case = dataclasses.replace(case, system=system, own=own)
    if _step_error(system, case.dt, case.substeps) < _CLEAR * _BAR or _stiffness(case) < 1.3:
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


# -- the oracle ----------------------------------------------------------------------------------


def _with(case: Mismatch, name: str, **changes: object) -> Mismatch:
    return dataclasses.replace(case, culprits=case.culprits | {name}, **changes)  # type: ignore[arg-type]


def _setting(case: Mismatch, name: str, **changes: object) -> Mismatch:
    """A setting, where alone it moves the engine."""
    clean = BulletSettings()
    if name == "default motors":
        clean = dataclasses.replace(clean, dry_friction="none")
    on = dataclasses.replace(clean, **changes)  # type: ignore[arg-type]
    states, inputs = random_states(case.own, _STATES, seed=77)
    found = []
    for settings in (clean, on):
        with contextlib.closing(_plant(case.own, settings)) as plant:
            found.append(measured_accelerations(plant, states, inputs))
    if not relative(found[1] - found[0], found[0]).max() > _EFFECT:
        raise UnclearError
    settings = dataclasses.replace(case.settings, **changes)  # type: ignore[arg-type]
    return _with(case, name, settings=settings)


def _constant(case: Mismatch, name: str, system: RigidBody) -> Mismatch:
    if not _moves(case.system, system):
        raise UnclearError
    return _with(case, name, system=system)


def _moves(before: RigidBody, after: RigidBody) -> bool:
    states, inputs = random_states(before, _STATES, seed=78)
    a, b = (modelled_accelerations(s, states, inputs) for s in (before, after))
    return bool(relative(b - a, a).max() > _EFFECT)


def _plant(system: RigidBody, settings: BulletSettings) -> BulletRobot:
    try:
        return BulletRobot(system, dt=1e-3, substeps=1, settings=settings)
    except ValueError:
        raise UnclearError from None


def _fine(case: Mismatch, least: int = 1) -> Mismatch:
    """So many substeps that the step is no culprit."""
    for substeps in (least, 4, 16, 64):
        h = case.dt / substeps
        if _stiffness(case) * h * case.substeps / case.dt > 0.7:
            continue
        if _step_error(case.system, case.dt, substeps) < _BAR / _CLEAR:
            if _creeps(case.system, case.dt):
                raise UnclearError
            return dataclasses.replace(case, substeps=substeps)
    raise UnclearError


def _step_error(system: RigidBody, dt: float, substeps: int) -> float:
    """Of semi-implicit Euler without dry friction, over rollouts of another seed."""
    smooth = system
    for joint in system.joints:
        smooth = smooth.with_joint(joint.name, friction=0.0)
    starts, inputs = rollouts(smooth, dt, 8, 79)
    reference = Reference.of(smooth, dt, starts, inputs)
    f, rates = rate_function(smooth), np.zeros(smooth.nx)
    rates[list(smooth.velocity_rows)] = 1.0
    x, u = ca.SX.sym("x", smooth.nx), ca.SX.sym("u", smooth.nu)
    advance = integrators.semi_implicit_euler.advance
    after = x
    step = ca.Function("step", [x, u], [advance(lambda x: f(x, u), x, dt / substeps, ca.DM(rates))])
    x, u = ca.MX.sym("x", smooth.nx), ca.MX.sym("u", smooth.nu)
    after = step.mapaccum(substeps)(x, ca.repmat(u, 1, substeps))[:, -1]
    whole = ca.Function("whole", [x, u], [after]).mapaccum(inputs.shape[1])
    found = np.array([np.asarray(whole(s, d.T)).T for s, d in zip(starts, inputs, strict=True)])
    with np.errstate(all="ignore"):
        return float(reference.gap(found).max())


def _creeps(system: RigidBody, dt: float) -> bool:
    """Whether the smoothing of dry friction shows in rollouts."""
    if not _sum(system, "friction"):
        return False
    starts, inputs = rollouts(system, dt, 8, 80)
    sharp = dataclasses.replace(system, smoothing=1e-5)
    own, other = (Reference.of(s, dt, starts, inputs) for s in (system, sharp))
    return not own.gap(other.states).max() < _BAR / _CLEAR


def _stiffness(case: Mismatch) -> float:
    """h·max eig(M⁻¹D) over states of another seed."""
    system = case.system
    damping = np.array(
        [float(system.parameters.get(f"{j.name}.damping", 0)) for j in system.joints]
    )
    mass = system.mass_matrix_function()
    states, _ = random_states(system, 20, seed=81)
    found = 0.0
    for x in states:
        M = np.asarray(mass(x[: system.nq]))
        found = max(
            found, float(np.linalg.eigvals(np.linalg.solve(M, np.diag(damping))).real.max())
        )
    return found * case.dt / case.substeps


def _undamped(system: RigidBody) -> RigidBody:
    for joint in system.joints:
        system = system.with_joint(joint.name, damping=0.0)
    return system


def _sum(system: RigidBody, kind: str) -> float:
    return sum(float(v) for n, v in system.parameters.items() if n.endswith(f".{kind}"))


# -- figures -------------------------------------------------------------------------------------


def named(
    count: int, seed: int, files: tuple[str, ...], say: Callable[[str], None] | None = None
) -> tuple[int, list[str]]:
    """How many of so many mismatches are named exactly right, and what was said of the others."""
    random = np.random.default_rng(seed)
    right, wrong = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(count):
            case = draw(random, files, Path(folder))
            started = time.perf_counter()
            try:
                names, left = _names(case, seed + k)
            except Exception as error:  # a check that fails has named nothing
                names, left = frozenset(), (repr(error),)
            if names == case.culprits and not left:
                right += 1
            else:
                wrong.append(
                    f"{k} {case.label} {sorted(case.culprits)}: "
                    f"missed {sorted(case.culprits - names)}, "
                    f"too many {sorted(names - case.culprits)}, unexplained {left}"
                )
                if say is not None:
                    say(wrong[-1])
            if say is not None:
                spent = time.perf_counter() - started
                say(f"{k} {case.label} {sorted(case.culprits)} {spent:.1f} s")
    return right, wrong


def _names(case: Mismatch, seed: int) -> tuple[frozenset[str], tuple]:
    """What the check names, and what it leaves unexplained."""
    plant = BulletRobot(case.own, dt=case.dt, substeps=case.substeps, settings=case.settings)
    with contextlib.closing(plant):
        found = check_parity(case.system, plant, count=100, rollouts=5, seed=seed)
    return frozenset(found.names), found.unexplained


def agreement(quick: bool) -> Iterator[Row]:
    """The largest relative error of forward dynamics over the ten robots."""
    count, worst = 1000 if quick else 10_000, 0.0
    for name in TEN:
        path = Path(pybullet_data.getDataPath(), name)
        robot = RigidBody.from_description(urdf.read(path, ignore=("mimic",)))
        with contextlib.closing(BulletRobot(robot, dt=1 / 240, substeps=16)) as plant:
            found = check_parity(robot, plant, count=count, rollouts=1)
        worst = max(worst, found.accelerations)
    yield Row(
        f"forward dynamics of {len(TEN)} robots against PyBullet, {count} states",
        worst,
        "relative",
        "≤ 1e-06",
    )


def rows(quick: bool) -> list[Row]:
    """All figures of this file."""
    found = list(agreement(quick))
    count = 10 if quick else 100
    right, _ = named(count, FINAL_SEED, UNSEEN)
    bar = f"≥ {round(0.98 * count)}"
    found.append(Row("mismatches named exactly right", right, f"of {count}", bar, count))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.parity")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, help="mismatches of another seed, one line each")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--developed", action="store_true", help="robots used for development")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.seed is not None:
        files = DEVELOPED if options.developed else UNSEEN
        right, wrong = named(options.count, options.seed, files, lambda m: print(m, flush=True))
        print(f"{right} of {options.count}", *wrong, sep="\n")
        return 0
    return 0 if publish("parity", rows(options.quick), options.json) else 1


if __name__ == "__main__":
    sys.exit(main())
