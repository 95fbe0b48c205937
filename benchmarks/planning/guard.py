"""Guarded control under injected faults: bad actions, uncaught errors, deadlines kept.

A pendulum in PyBullet with friction that the model does not know; a share of the steps has one
fault of `benchmarks.planning.faults`. The stub and the planners that draw plan until their
deadline, the others until they have converged.

On a busy machine the deadline cannot be judged: bare loops then miss it too. Time on the processor
is no substitute, since what others took before the deadline is left out as well: its share is at
least that of the clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.figures import Row
from benchmarks.planning.faults import Faulty, Polling, Tally, strain
from hybridmodel import (
    CEM,
    ILQR,
    MPPI,
    SQP,
    HybridModel,
    OptimalControlProblem,
    Quadratic,
    envs,
    receding_horizon,
)
from hybridmodel.envs import HiddenEffects
from physics import Pendulum

SHARE = 0.06
DT = 0.02
RATE = 100.0  # [N m/s]
LATE = 1e-3  # [s]
STUB, REAL = 2e-3, 10e-3  # deadlines [s]
SINGLE: Mapping[str, Any] = {"precision": "float32"}


def rows(quick: bool) -> Iterator[Row]:
    """Of the stub over 200,000 steps and of real planners over 20,000; less where it is quick."""
    problem = _problem()
    for name, inner, deadline, steps in (
        ("stub", Polling(problem), STUB, 200_000),
        ("CEM", CEM(problem, samples=64, elites=8, iterations=500, **SINGLE), REAL, 5000),
        ("MPPI", MPPI(problem, samples=64, iterations=500, **SINGLE), REAL, 5000),
        ("SQP", SQP(problem), REAL, 5000),
        ("ILQR", ILQR(problem), REAL, 5000),
    ):
        inner.plan(np.zeros(2))  # the wrapper below is no planner that a loop begins by itself
        planner = Faulty(inner)
        policy = receding_horizon(planner, deadline=deadline, rate_limit=[RATE])
        plant = envs.make(
            problem.model.system, engine="pybullet", dt=DT, hidden=HiddenEffects(coulomb=(0.05,))
        )
        tally = strain(
            policy,
            planner,
            plant,
            steps=1000 if quick else steps,
            share=SHARE,
            seed=0,
            rate=np.array([RATE]),
        )
        plant.close()
        yield from _told(name, tally, deadline)


def _told(name: str, tally: Tally, deadline: float) -> Iterator[Row]:
    what = f"guard, {name}, {tally.steps} steps, {SHARE:.0%} faults"
    seconds = np.array(tally.seconds)
    yield Row(f"{what}: faults injected", tally.injected.total())
    yield Row(f"{what}: actions not finite, out of bounds or too fast", tally.violations, "", "= 0")
    yield Row(f"{what}: errors not caught", tally.raised, "", "= 0")
    yield Row(f"{what}: faults not counted", tally.uncounted(), "", "= 0")
    on_time = float((seconds <= deadline + LATE).mean())
    yield Row(f"{what}: steps within the deadline + 1 ms", on_time, "", "≥ 0.999")
    ran = float((np.array(tally.processor) <= deadline + LATE).mean())
    yield Row(f"{what}: the same in time on the processor", ran)
    yield Row(f"{what}: the same of bare loops that only wait", _bare(deadline))
    over = 1e3 * float(np.quantile(seconds, 0.999) - deadline)
    yield Row(f"{what}: beyond the deadline, 99.9 %", over, "ms")
    for link in ("plan", "shifted plan", "feedback", "safe input"):
        yield Row(f"{what}: share of {link}", tally.links[link] / tally.steps)


def _bare(deadline: float, times: int = 500) -> float:
    """Share of bare loops that end within 1 ms of a deadline: what the machine lets through."""
    kept = 0
    for _ in range(times):
        started = time.perf_counter()
        while time.perf_counter() - started < deadline:
            pass
        kept += time.perf_counter() - started <= deadline + LATE
    return kept / times


def _problem() -> OptimalControlProblem:
    system = Pendulum()
    cost = Quadratic(system, state={"angle": 2.0, "rate": 10.0}, input={"torque": 5.0})
    model = HybridModel(system, dt=DT)
    return OptimalControlProblem(model, cost, horizon=15)
