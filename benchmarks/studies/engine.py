"""A spot sample of the oracle: the same search with the engine itself as the model.

The matrix's oracle is the system with its hidden effects in closed form. Here CEM's candidates are
run in a second PyBullet plant, put where the first one is, so that it knows everything, contacts
and solver included. Both have the same budget; where closed form and engine agree, so do the costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.figures import Row
from hybridmodel.baselines import physics_row
from hybridmodel.collection import collect
from hybridmodel.envs import Environment
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.study.cells import close_loop
from hybridmodel.study.plants import plant_of
from hybridmodel.tasks.study_tasks import STUDY_TASKS
from hybridmodel.tasks.swing_up import SwingUp
from hybridmodel.tasks.task import Task

SAMPLES, ELITES, ITERATIONS, KNOTS = 24, 5, 3, 8  # a step of the engine takes milliseconds
SPOTS = (("pendulum", "friction"), ("pendulum", "all"))


class EngineSearch:
    """u = π(t, y) by CEM over `KNOTS` values held in between, run in an engine."""

    def __init__(
        self, problem: OptimalControlProblem, engine: Environment, every: int, seed: int
    ) -> None:
        self._problem, self._engine, self._every, self._seed = problem, engine, every, seed
        inputs = problem.model.system.inputs
        self._low, self._high = (np.array([getattr(s, e) for s in inputs]) for e in ("low", "high"))
        self._hold = -(-problem.horizon // KNOTS)
        self._pi, self._weights = problem.problem_parameters(None), problem.weights()

    def reset(self, seed: int | None) -> None:
        self._generator = np.random.default_rng(self._seed)
        self._step, self._mean = 0, np.zeros((KNOTS, len(self._low)))

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        k = self._step % self._every
        if not k:
            self._best = self._planned(y)
        self._step += 1
        return self._best[k]

    def _planned(self, x: np.ndarray) -> np.ndarray:
        """The best inputs (H, nu) found from x."""
        mean, deviation = self._mean, np.tile((self._high - self._low) / 2, (KNOTS, 1))
        best = (np.inf, mean)
        for _ in range(ITERATIONS):
            drawn = mean + deviation * self._generator.standard_normal((SAMPLES, *mean.shape))
            drawn = np.clip(np.concatenate([drawn, best[1][None]]), self._low, self._high)
            costs = np.array([self._cost(x, knots) for knots in drawn])
            order = np.argsort(costs, kind="stable")[:ELITES]
            mean, deviation = drawn[order].mean(axis=0), drawn[order].std(axis=0) + 1e-3
            best = min(best, (float(costs[order[0]]), drawn[order[0]]), key=lambda pair: pair[0])
        self._mean = best[1]
        return self._inputs(best[1])

    def _inputs(self, knots: np.ndarray) -> np.ndarray:
        return np.repeat(knots, self._hold, axis=0)[: self._problem.horizon]

    def _cost(self, x: np.ndarray, knots: np.ndarray) -> float:
        problem, total = self._problem, 0.0
        self._engine.reset(options={"state": x})
        for k, u in enumerate(self._inputs(knots)):
            total += float(problem.stage(x, u, k, self._pi[k], self._weights))
            _, _, ended, _, info = self._engine.step(u)
            x = info["x"]
            if ended:
                return total * problem.horizon
        return total + float(problem.terminal(x, self._pi[-1], self._weights))


def rows(quick: bool) -> Iterator[Row]:
    """Costs of both in short loops on development seeds; one loop where it is quick."""
    what = "quick engine" if quick else "engine"
    for system, effect in SPOTS[:1] if quick else SPOTS:
        task = STUDY_TASKS[system]().quick()
        seeds = range(100, 101 if quick else 103)
        inside = [_in_engine(task.under(effect), seed) for seed in seeds]
        closed = [_in_closed_form(task, effect, seed) for seed in seeds]
        place = f"{what}: {system}, {effect}"
        yield Row(
            f"{place}: cost of CEM in the engine",
            float(np.median(inside)),
            seeds=len(inside),
            spread=(min(inside), max(inside)),
        )
        yield Row(
            f"{place}: cost of CEM on the oracle",
            float(np.median(closed)),
            seeds=len(closed),
            spread=(min(closed), max(closed)),
        )


def _in_engine(task: Task, seed: int) -> float:
    control = task.control
    assert isinstance(control, SwingUp)
    problem = control.problem(task, physics_row(task.system, task.dt, task.recipe))
    silent = replace(task, hidden=replace(task.hidden, observation_noise=0.0))
    engine, plant = silent.plant("pybullet"), task.plant("pybullet")
    search = EngineSearch(problem, engine, control.every, seed)
    steps = round(control.seconds / task.dt)
    log = collect(plant, search, steps=steps, seed=seed, state=control.start(task.system))
    engine.close()
    plant.close()
    return control.score(task, problem, log).cost


def _in_closed_form(task: Task, effect: str, seed: int) -> float:
    control = task.control
    assert isinstance(control, SwingUp)
    small = replace(control, samples=SAMPLES, elites=ELITES, iterations=ITERATIONS, knots=KNOTS)
    task = replace(task, control=small)
    plant = plant_of(task, effect, "logged")
    return float(close_loop(task.under(effect), "oracle", "cem", plant, seed).numbers["cost"])  # type: ignore[arg-type]
