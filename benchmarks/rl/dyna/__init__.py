"""Dyna with a hybrid ensemble against soft actor-critic alone: steps of the plant to a solved task.

The model's physics are off (hidden friction, a weak motor with a dead zone; for MuJoCo's pendulum
masses, length and damping that are another machine's) and an ensemble corrects accelerations. The
agent is the same for all: networks, step sizes, discount. Alone it is Stable-Baselines3's SAC with
one update a step, on episodes of the same starts and length. In the model MuJoCo's episodes end
before the end of the rail too, since the cart must not meet it.

A seed has failed where its last evaluation is below the task's threshold. Steps to the threshold
are those before the first of three evaluations in a row that are above it, for every way; a seed
that has no such three within its budget counts with all of it, which of the ways with the model is
small: how many seeds these are, and how many end below, are figures of their own. Evaluations are
every 200 and 100 steps, of SAC alone every 1000 and 500. Both make the same networks and use the
same settings; with the model there are 20 updates a step, alone there is one. STOP was chosen on
seeds from 100 on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.figures import Row
from benchmarks.rl.dyna.alone import (
    BATCH,
    DISCOUNT,
    ENTROPY,
    HIDDEN,
    RATE,
    TARGET_RATE,
    Progress,
    alone,
)
from benchmarks.rl.dyna.tasks import TASKS, Trial, judged
from hybridmodel import placement
from hybridmodel.excitation import RandomSteps
from hybridmodel.fitting import fit
from hybridmodel.model import HybridModel
from hybridmodel.rl.agent import Agent
from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.mbpo import dyna
from hybridmodel.rl.reward import Reward
from hybridmodel.statistics import interquartile_mean, interval
from residuals import Ensemble

HYBRID, PENALISED, ALONE = "hybrid", "hybrid, penalised", "plain SAC"
LENGTH = 50  # of imagined rollouts [steps]
STOP = 0.22  # disagreement that some early imagined steps exceed, and later hardly any
PENALTY = 1.0  # of a step where the correction may be anything of its usual size

# stop and penalty of each way with the model
WAYS: Mapping[str, tuple[float | None, float]] = {
    HYBRID: (STOP, 0.0),
    "hybrid without stop": (None, 0.0),
    PENALISED: (None, PENALTY),
}
METHODS = (*WAYS, ALONE)


def cells(quick: bool) -> list[dict[str, Any]]:
    """Both tasks, ten seeds; SAC alone and ablations on five, the penalty's on the first task.
    Where quick one seed of short runs of the first task."""
    return [
        {"task": task, "method": method, "seed": seed, "quick": quick}
        for seed in range(1 if quick else 10)
        for task in (list(TASKS)[:1] if quick else TASKS)
        for method in METHODS
        if method == HYBRID or seed < 5
        if method != PENALISED or task == next(iter(TASKS))
    ]


def cell(arguments: dict[str, Any], progress: Progress | None = None) -> dict[str, Any]:
    torch.set_num_threads(1)
    task, seed = TASKS[arguments["task"]], int(arguments["seed"])
    by_itself = arguments["method"] == ALONE
    if arguments["quick"]:
        task = replace(task, budget=task.warmup_steps + 200, budget_alone=2 * task.every_alone)
    if by_itself:
        curve, cut = alone(task, seed, progress), 0.0
    else:
        curve, cut = _dyna(task, seed, *WAYS[arguments["method"]], progress)
    steps, returns = map(list, zip(*curve, strict=True))
    return {
        "final": returns[-1],
        "failed": float(returns[-1] < task.threshold),
        "cut": cut,
        "steps": steps,
        "returns": returns,
    }


def rows(results: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    for task in TASKS:
        steps: dict[str, dict[int, float]] = {}
        for method in METHODS:
            both = [(c, n) for c, n in results if (c["task"], c["method"]) == (task, method)]
            found = [n for _, n in both]
            if not found:
                continue
            name, count = f"{task}, {method}", len(found)
            goal = TASKS[task].threshold
            to_goal = [_reached(n["steps"], n["returns"], goal) for n in found]
            spent = [n["steps"][-1] for n in found]
            counted = [a if b is None else b for a, b in zip(spent, to_goal, strict=True)]
            steps[method] = {c["seed"]: k for (c, _), k in zip(both, counted, strict=True)}
            final = [n["final"] for n in found]
            yield Row(
                f"{name}: seeds that failed",
                sum(n["failed"] for n in found),
                bar="≤ 0" if method == HYBRID else "",
                seeds=count,
            )
            yield Row(
                f"{name}: steps of the plant to {goal:g}",
                interquartile_mean(counted),
                "steps",
                seeds=count,
                spread=interval(counted),
            )
            late = to_goal.count(None)
            yield Row(f"{name}: seeds counted with their whole budget", late, seeds=count)
            yield Row(f"{name}: steps of the plant", float(np.median(spent)), "steps", seeds=count)
            yield Row(
                f"{name}: last return",
                interquartile_mean(final),
                seeds=count,
                spread=interval(final),
            )
            if method != ALONE:
                cut = float(np.mean([n["cut"] for n in found]))
                what = "share of imagined steps that were cut by ends of episodes and stops"
                yield Row(f"{name}: {what}", cut, seeds=count)
            seconds = float(np.mean([n["seconds"] for n in found if "seconds" in n] or [math.nan]))
            yield Row(f"{name}: seconds with evaluations", seconds, "s", seeds=count)
        for method in WAYS:
            seeds = steps.get(method, {}).keys() & steps.get(ALONE, {}).keys()
            if seeds:
                shares = [steps[method][s] / steps[ALONE][s] for s in sorted(seeds)]
                yield Row(
                    f"{task}, {method}: share of the steps of {ALONE}",
                    interquartile_mean(shares),
                    bar="≤ 0.2" if method == HYBRID else "",
                    seeds=len(shares),
                    spread=interval(shares),
                )


def _reached(steps: list[int], returns: list[float], goal: float) -> int | None:
    """Steps before the first of three evaluations in a row that reach the goal; None: there are
    none."""
    for i in range(len(steps) - 2):
        if min(returns[i : i + 3]) >= goal:
            return steps[i]
    return None


def _dyna(
    task: Trial, seed: int, stop: float | None, penalty: float, progress: Progress | None
) -> tuple[list[tuple[int, float]], float]:
    """Evaluations, and the share of imagined steps that ends of episodes and stops took."""
    coordinates = Coordinates(task.system)
    agent = Agent(
        coordinates,
        hidden=HIDDEN,
        rate=RATE,
        batch_size=BATCH,
        discount=DISCOUNT,
        target_rate=TARGET_RATE,
        entropy=ENTROPY,
        seed=seed,
    )
    residual = Ensemble((32, 32), count=5, seed=seed)
    model = HybridModel(
        task.system,
        residual,
        dt=task.dt,
        placement=placement.acceleration,
        fit_parameters=task.fit_parameters,
    )
    with task.plant() as plant, task.plant() as judge:
        found = dyna(
            plant,
            model,
            Reward(task.system, task.cost),
            agent,
            steps=task.budget,
            episode_steps=task.training_steps,
            warmup=RandomSteps(task.system.inputs, amplitude=0.9),
            warmup_steps=task.warmup_steps,
            start=task.start,
            fitting=_fitting(task),
            refit_every=task.every,
            piece=task.piece,
            length=LENGTH,
            rollouts_per_step=4,
            updates_per_step=20,
            updates_per_round=500,
            stop=stop,
            penalty=penalty,
            evaluate=lambda agent: judged(task, judge, agent.policy(), seed),
            evaluate_every=task.every,
            seed=seed,
            progress=progress,
        )
    rows = [r for r in found.history if not math.isnan(r["evaluation"])]
    cut = float(np.mean([r["cut"] for r in found.history if "cut" in r]))
    return [(int(r["steps"]), r["evaluation"]) for r in rows], cut


def _fitting(task: Trial) -> Callable[..., HybridModel]:
    def fitting(model: HybridModel, train: Any, validation: Any, seed: int) -> HybridModel:
        horizons = (1, min(5, task.piece))
        return fit(
            model, train, validation, horizons=horizons, epochs=(20, 30), rate=1e-2, seed=seed
        ).model

    return fitting
