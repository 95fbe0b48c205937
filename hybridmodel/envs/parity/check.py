"""check_parity: does a plant follow a System, and if not, what differs?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np

from hybridmodel.envs.environment import Environment
from hybridmodel.envs.parity import measure, probes
from hybridmodel.envs.parity.diagnosis import above, diagnose
from hybridmodel.envs.parity.gaps import (
    measured_accelerations,
    modelled_accelerations,
    random_states,
    relative,
)
from hybridmodel.envs.parity.measure import Reference
from hybridmodel.envs.parity.others import explain
from hybridmodel.envs.parity.report import JointGap, ParityReport
from hybridmodel.envs.parity.setup import Setup
from physics import Mechanical

Progress = Callable[[str], None]


def check_parity(
    system: Mechanical,
    environment: Environment,
    *,
    count: int = 10_000,
    rollouts: int = 5,
    seed: int = 0,
    acceleration_bar: float = 1e-6,
    rollout_bar: float = 0.02,
    progress: Progress | None = None,
) -> ParityReport:
    """Plant against System, at random states inside their bounds and over short rollouts.

        |v̇_plant − v̇_system| / max(1, |v̇_system|) ≤ acceleration_bar,    one engine step each
        |x_plant ⊟ x_system| / range ≤ rollout_bar,    H dt ≤ 0.25 s, the System integrated finely

    v̇_plant is (v⁺ − v)/h. Where there is dry friction h is 1e-5 s and all joints slide, since a
    joint that stops within a step has no one acceleration.

    Where they differ and the plant is PyBullet's, every known culprit (`parity.culprits`) is
    switched on the engine: one is named where, all others clean, it alone makes a gap above the
    noise of the clean pair. Of other engines' plants the constants and hidden effects are switched.
    What is left with all of them clean is reported as unexplained, and
    `match` says under which settings, steps and constants the two agree, measured again.

    Raises ValueError where the two have other states or inputs, or a number has no meaning.
    """
    _check(system, environment, count, rollouts, acceleration_bar, rollout_bar)
    say = progress or (lambda message: None)
    subject = Setup.of(environment) if _is_bullet(environment) else None  # type: ignore[arg-type]
    say(f"accelerations at {count} states")
    (states, inputs), measured = _accelerations(system, environment, subject, count, seed)
    modelled = modelled_accelerations(system, states, inputs)
    gap = relative(measured - modelled, modelled)
    worst = int(np.argmax(gap.max(axis=1)))
    say(f"{rollouts} rollouts")
    starts, drives = probes.rollouts(system, environment.dt, rollouts, seed)
    reference = Reference.of(system, environment.dt, starts, drives)
    rolled = reference.against(environment)
    force = measure.forces(system, states, measured - modelled)
    joints = tuple(
        JointGap(
            name=name,
            acceleration=float(gap[:, i].max()),
            absolute=float(np.abs(measured - modelled)[:, i].max()),
            force=float(force[:, i].max()),
            at=int(gap[:, i].argmax()),
            rollout=float(rolled[i]),
        )
        for i, name in enumerate(measure.rows(system))
    )
    bars = (acceleration_bar, rollout_bar)
    if subject is not None:
        found = diagnose(system, subject, reference, bars=bars, seed=seed + 1, progress=say)
    else:
        found = explain(system, environment, reference, (states, inputs), measured, bars=bars)
    unexplained = found.unexplained
    if not (unexplained or any(not one.beyond for one in found.findings)):
        names = measure.rows(system)
        unexplained = tuple(
            above(names, gap.max(axis=0), acceleration_bar, "{}")
            + above(names, rolled, rollout_bar, "{} in rollouts")
        )
    return ParityReport(
        system=type(system).__name__,
        plant=type(environment).__name__,
        joints=joints,
        worst_state=tuple(states[worst].tolist()),
        worst_input=tuple(inputs[worst].tolist()),
        findings=found.findings,
        unexplained=unexplained,
        clean=found.clean,
        match=found.match,
        count=len(states),
        rollouts=rollouts,
        dt=environment.dt,
        substeps=environment.substeps,
        acceleration_bar=acceleration_bar,
        rollout_bar=rollout_bar,
    )


def _accelerations(
    system: Mechanical, environment: Environment, subject: Setup | None, count: int, seed: int
) -> tuple[probes.Samples, np.ndarray]:
    """States, inputs, and what the plant does there."""
    if subject is not None and (probes.rubs(system) or probes.rubs(subject.system)):
        samples = probes.sliding(system, count, seed)
        with closing(subject.stepping(probes.SHORT, 1).plant()) as short:
            return samples, measured_accelerations(short, *samples)
    samples = random_states(system, count, seed=seed)
    return samples, measured_accelerations(environment, *samples)


def _is_bullet(environment: Environment) -> bool:
    """Whether this is a plant of PyBullet, without importing it."""
    module = sys.modules.get("hybridmodel.envs.bullet.plant")
    return module is not None and isinstance(environment, module.BulletPlant)


def _check(system: Any, environment: Any, count: Any, rollouts: Any, *bars: float) -> None:
    if not isinstance(system, Mechanical):
        raise ValueError(
            f"system must be a physics.Mechanical, which has accelerations, got "
            f"{type(system).__name__}"
        )
    if not isinstance(environment, Environment):
        raise ValueError(f"environment must be an Environment, got {type(environment).__name__}")
    for kind in ("states", "inputs"):
        ours = [signal.name for signal in getattr(system, kind)]
        theirs = [signal.name for signal in getattr(environment.system, kind)]
        if ours != theirs:
            raise ValueError(f"system and environment must have the same {kind}: {ours}, {theirs}")
    for name, number in (("count", count), ("rollouts", rollouts)):
        if not (isinstance(number, int) and number >= 1):
            raise ValueError(f"{name} must be an integer ≥ 1, got {number!r}")
    for name, bar in zip(("acceleration_bar", "rollout_bar"), bars, strict=True):
        if not 0 < bar < np.inf:
            raise ValueError(f"{name} must be a finite number > 0, got {bar!r}")
