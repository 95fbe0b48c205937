"""Whether to use model-based reinforcement learning: real steps, seconds of compute and return.

The cart-pole swing-up of `benchmarks.rl.dyna`, with its reward and plant, by planning: on the
physics as it is, and in the loop of `learn` with a hybrid ensemble and with a network alone.
Policies are in that part's rows. Compute is that of one core, with all fits and plans of training,
without evaluation; the milliseconds of an action are of the policy that is left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from benchmarks.figures import Row
from benchmarks.rl.dyna import TASKS
from benchmarks.rl.loop import MEMBERS
from hybridmodel import (
    CEM,
    HybridModel,
    OptimalControlProblem,
    Policy,
    RandomSteps,
    placement,
    receding_horizon,
)
from hybridmodel.rl.learning import fitted, learn, trial
from hybridmodel.statistics import interquartile_mean, interval
from physics import Trivial
from residuals import Ensemble

TASK = TASKS["cart-pole swing-up (PyBullet)"]
EPISODES = {"physics": 0, "hybrid": 2, "network": 15}
HORIZON, EVERY, TRIALS = 50, 2, 5


def cells(quick: bool) -> list[dict[str, Any]]:
    """Three ways, five seeds; where it is quick the first two of one."""
    ways = list(EPISODES)[:2] if quick else list(EPISODES)
    return [{"way": way, "seed": s} for s in range(1 if quick else 5) for way in ways]


def cell(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Real steps, seconds of training, milliseconds of an action and return."""
    way, seed = arguments["way"], int(arguments["seed"])
    model, steps, trained = _model(way, seed), 0, 0.0
    with closing(TASK.plant()) as plant:
        if EPISODES[way]:
            began = time.process_time()
            wave = RandomSteps(TASK.system.inputs, amplitude=0.9)
            found = learn(
                plant,
                model,
                control,
                episodes=EPISODES[way],
                steps=TASK.training_steps,
                first=wave if way == "network" else None,
                start=TASK.start,
                fitting=fitted,
                seed=seed,
            )
            model, steps = found.model, found.history[-1]["steps"]
            trained = time.process_time() - began
        policy = control(model)
        began, length = time.process_time(), TASK.episode_steps
        returns = trial(plant, policy, length, TRIALS, start=TASK.start, seed=seed)
        return {
            "steps": steps,
            "training": trained,
            "milliseconds": 1e3 * (time.process_time() - began) / (TRIALS * length),
            "return": float(np.mean(returns)),
        }


def control(model: HybridModel) -> Policy:
    """CEM at every other step."""
    problem = OptimalControlProblem(model, TASK.cost, horizon=HORIZON)
    planner = CEM(problem, samples=400, elites=40, iterations=4, knots=10, precision="float32")
    return receding_horizon(planner, every=EVERY)


def _model(way: str, seed: int) -> HybridModel:
    if way == "network":
        return HybridModel(
            Trivial.like(TASK.system),
            Ensemble((64, 64), count=MEMBERS, seed=seed),
            dt=TASK.dt,
            placement=placement.next_state,
        )
    residual = Ensemble((32, 32), count=MEMBERS, seed=seed) if way == "hybrid" else None
    return HybridModel(
        TASK.system,
        residual,
        dt=TASK.dt,
        placement=placement.input,
        fit_parameters=TASK.fit_parameters if residual is not None else (),
        hold=residual is not None,
    )


def rows(found: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    """Medians of each way; of returns the interquartile mean."""
    units = {"steps": "real steps", "training": "s of training", "milliseconds": "ms an action"}
    for way in EPISODES:
        runs = [numbers for c, numbers in found if c["way"] == way]
        for key, unit in units.items() if runs else ():
            values = [n[key] for n in runs]
            ends = min(values), max(values)
            middle = float(np.median(values))
            yield Row(f"whether, planning on {way}: {unit}", middle, "", "", len(runs), ends)
        if runs:
            returns = [n["return"] for n in runs]
            yield Row(
                f"whether, planning on {way}: return",
                interquartile_mean(returns),
                f"of {TASK.episode_steps}",
                "",
                len(runs),
                interval(returns),
            )
