"""Milliseconds of a plan, beside those of the planner in plain torch, in alternating rounds."""

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
from hybridmodel import OptimalControlProblem, Plan

_ROUNDS, _PLANS = 30, 10
_AGREED = 1e-3


def ratio(task: Task, settings: Settings, seed: int) -> dict[str, float]:
    """Medians over rounds of ten plans each, on the way of one episode; warm starts for both.

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
    states = np.array([task.plant().start(rng) for _ in range(_PLANS)])
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
    return {
        "ratio": float(np.median(pairs[:, 0] / pairs[:, 1])),
        "milliseconds": float(np.median(pairs[:, 0])) * 1e3 / _PLANS,
        "plain milliseconds": float(np.median(pairs[:, 1])) * 1e3 / _PLANS,
        "horizon": settings.final,
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
