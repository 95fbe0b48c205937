"""Milliseconds of a plan, beside those of the planner in plain torch, in alternating rounds.

A round is ten plans at the first ten states of one closed loop, each warm from the one before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from benchmarks.rl.phihp.method import (
    ELITES,
    ITERATIONS,
    OF_POLICY,
    SAMPLES,
    Settings,
    imagined,
    learned,
    planner,
)
from benchmarks.rl.phihp.plain import STAGES, Plain
from benchmarks.rl.phihp.tasks import Task
from hybridmodel import OptimalControlProblem, Plan, collect, receding_horizon
from hybridmodel.statistics import interquartile_mean, interval

_ROUNDS, _PLANS = 30, 10
_AGREED = 1e-3


def ratio(task: Task, settings: Settings, seed: int) -> dict[str, float]:
    """Interquartile means over rounds, and the interval of that of the ratio over the rounds.

    The states are those of an episode that our planner drives; both plan at all of them.
    Raises RuntimeError where the two do not compute the same costs of the same inputs.
    """
    torch.set_num_threads(1)
    short = replace(settings, episodes=1, updates=100)
    found = learned(task, short, seed)
    agent, value = imagined(task, short, found, seed)
    ours = planner(task, settings, found.model, agent, value)
    plain = Plain(
        found.model,
        STAGES[task.name],
        agent,
        value if settings.value else None,
        horizon=settings.final,
        samples=SAMPLES,
        of_policy=OF_POLICY,
        iterations=ITERATIONS,
        elites=ELITES,
    )
    rng = np.random.default_rng(seed)
    log = collect(task.plant(), receding_horizon(ours), steps=_PLANS, seed=seed)
    assert log.x is not None
    states = log.x[:_PLANS]
    _compared(plain, ours.problem, states, rng)

    def planned() -> None:
        plan: Plan | None = None
        for k, x in enumerate(states):
            plan = ours.plan(x, warm_start=None if plan is None else plan.shift(), seed=k)

    generator = torch.Generator().manual_seed(seed)

    def in_torch() -> None:
        u = None
        for x in states:
            guess = None if u is None else torch.cat([u[1:], u[-1:]])
            u = plain.plan(torch.tensor(x, dtype=torch.float32), guess, generator)

    planned()  # compiles
    in_torch()
    pairs = np.array([[_seconds(planned), _seconds(in_torch)] for _ in range(_ROUNDS)])
    ratios, count = pairs[:, 0] / pairs[:, 1], len(states)
    low, high = interval(ratios)
    return {
        "ratio": interquartile_mean(ratios),
        "ratio low": low,
        "ratio high": high,
        "milliseconds": 1e3 * interquartile_mean(pairs[:, 0]) / count,
        "plain milliseconds": 1e3 * interquartile_mean(pairs[:, 1]) / count,
        "horizon": settings.final,
        "states": count,
    }


def _seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _compared(
    plain: Plain,
    problem: OptimalControlProblem,
    states: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """RuntimeError where costs of random inputs differ."""
    low, high = problem.input_low, problem.input_high
    u = rng.uniform(low, high, (len(states), problem.horizon, len(low)))
    ours = np.array([problem.evaluate(x, v)[0] for x, v in zip(states, u, strict=True)])
    single = torch.tensor(states, dtype=torch.float32), torch.tensor(u, dtype=torch.float32)
    with torch.no_grad():
        theirs = plain.costs(*single).double().numpy()
    worst = np.abs(ours - theirs).max() / max(1.0, np.abs(ours).max())
    if not worst < _AGREED:
        raise RuntimeError(f"plain torch computes other costs, by {worst:.2g} of their size")
