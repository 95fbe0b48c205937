"""Swinging up and holding: excited logs and attempts, planners that search, angles that count."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from hybridmodel.baselines import identified_row
from hybridmodel.closed_loop import RecedingHorizon, receding_horizon
from hybridmodel.collection import Policy
from hybridmodel.costs import Quadratic
from hybridmodel.data import Dataset, Trajectory
from hybridmodel.envs import Environment
from hybridmodel.excitation import Centered, Dithered, Multisine, RandomSteps
from hybridmodel.model import HybridModel
from hybridmodel.planners import CEM, SQP, MultipleShooting, Plan, Planner
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.tasks.observing import beginning, observer
from hybridmodel.tasks.task import (
    Control,
    Figure,
    Logging,
    Logs,
    Score,
    Task,
    named,
    paid,
    split,
    whole_logs,
)
from physics import System


@dataclass(frozen=True, kw_only=True)
class Attempts(Logging):
    """Excited logs, then attempts of the controller itself.

    `excited` logs of `steps` by multisines and random steps in turn, then `attempts` by the
    swing-up controller on physics identified from those, with an excitation added: data where
    the task will need it. `held_out` more excited ones are for the errors alone: the free run
    of a balanced pole would show how fast it falls, not how good a model is.
    Starts are drawn within ± `start` (nx,) of rest; `gains` (nu, ny) pulls the outputs to 0
    so that the plant stays inside its limits. `planner` is that of the attempts.
    """

    excited: int
    attempts: int
    amplitude: float
    band: tuple[float, float]
    start: tuple[float, ...]
    dither: float = 0.2
    gains: tuple[tuple[float, ...], ...] = ()
    planner: str = "gradient"

    def excitation(self, system: System, index: int) -> Policy:
        """The excitation of the index-th log."""
        if index % 2:
            wave = RandomSteps(system.inputs, amplitude=self.amplitude)
        else:
            wave = Multisine(system.inputs, band=self.band, amplitude=self.amplitude)
        return Centered(wave, self.gains) if self.gains else wave

    def make(self, task: Task, plant: Environment, seed: int) -> Logs:
        def start(generator: np.random.Generator) -> np.ndarray:
            return generator.uniform(-1, 1, task.system.nx) * np.array(self.start)

        excited = whole_logs(
            task,
            plant,
            lambda k: self.excitation(task.system, k),
            start,
            self.excited + self.held_out,
            seed=(seed, 0),
        )
        first = Dataset(excited[: self.excited])
        recipe = replace(task.recipe, starts=1, stride=2)
        known = identified_row(task.system, first, first, recipe, seed=seed).model
        controller = task.control.policy(task, known, self.planner, seed)
        dither = Dithered(controller, RandomSteps(task.system.inputs, amplitude=self.dither))
        attempts = whole_logs(task, plant, lambda k: dither, start, self.attempts, seed=(seed, 1))
        parts = [split(logs) for logs in (excited[: self.excited], attempts)]
        return Logs(
            [log for train, _ in parts for log in train],
            [log for _, validation in parts for log in validation],
            excited[self.excited :],
        )

    def quick(self) -> Self:
        return replace(self, excited=8, attempts=4, held_out=3)


@dataclass(frozen=True, kw_only=True)
class SwingUp(Control):
    """Up from rest at the bottom: cost weights, planners' budgets, and what counts as success.

    Success: the last `hold_seconds` of `seconds` within `tolerance` [rad] of the target.
    """

    state: dict[str, float]
    input: dict[str, float]
    terminal: dict[str, float]
    target: dict[str, float]
    state_bounds: tuple[tuple[float, ...], tuple[float, ...]]
    every: int = 4
    seconds: float = 6.0
    planners: tuple[str, ...] = ("gradient", "cem")
    hold_seconds: float = 2.0
    tolerance: float = 0.3
    samples: int = 300
    elites: int = 30
    iterations: int = 5
    knots: int = 12
    warm_spread: float = 0.3
    shooting_iterations: int = 50
    sqp_iterations: int = 30
    sqp_tolerance: float = 1e-3

    @property
    def goal(self) -> str:
        return "swings up and holds"

    @property
    def success(self) -> str:
        return (
            f"the angles stay within {self.tolerance:g} rad of the target over the last "
            f"{self.hold_seconds:g} s of {self.seconds:g} s"
        )

    @property
    def figures(self) -> tuple[Figure, ...]:
        return Figure("cost", "cost", "costs"), Figure("success", "holds", "holds")

    def start(self, system: System) -> np.ndarray:
        return np.zeros(system.nx)

    def rest_input(self, system: System) -> np.ndarray:
        return np.zeros(system.nu)

    def target_state(self, system: System) -> np.ndarray:
        """(nx,) the state to hold."""
        return np.array([self.target.get(s.name, 0.0) for s in system.states])

    def problem(self, task: Task, model: HybridModel) -> OptimalControlProblem:
        cost = Quadratic(
            model.system,
            state=self.state,
            input=self.input,
            terminal=self.terminal,
            target=self.target,
        )
        unseen = (math.inf,) * (len(model.system.states) - len(task.system.states))
        low, high = self.state_bounds
        bounds = (*low, *(-b for b in unseen)), (*high, *unseen)
        return OptimalControlProblem(model, cost, horizon=self.horizon, state_bounds=bounds)

    def policy(self, task: Task, model: HybridModel, planner: str, seed: int) -> RecedingHorizon:
        makers: Mapping[str, Callable[[OptimalControlProblem], Planner]] = {
            "cem": lambda problem: self._cem(problem, self.iterations),
            "gradient": lambda problem: MultipleShooting(
                problem, iterations=self.shooting_iterations
            ),
            "sqp": lambda problem: SQP(
                problem, iterations=self.sqp_iterations, tolerance=self.sqp_tolerance
            ),
        }
        make, problem = named("planner", planner, makers), self.problem(task, model)
        # a swing-up has many local optima, and rest is a stationary point: start from samples
        first = None if planner == "cem" else self._searched(problem, seed)
        return receding_horizon(
            make(problem), every=self.every, estimator=observer(model), first_plan=first
        )

    def score(self, task: Task, problem: OptimalControlProblem, trajectory: Trajectory) -> Score:
        assert trajectory.x is not None
        steps = round(self.seconds / task.dt)
        cost = paid(problem, trajectory, steps, np.zeros((steps, problem.n_parameters)))
        held = round(self.hold_seconds / task.dt)
        angles = list(task.system.angle_rows)
        error = trajectory.x[-held:, angles] - self.target_state(task.system)[angles]
        error = np.abs((error + math.pi) % (2 * math.pi) - math.pi)
        return Score(cost, trajectory.steps == steps and bool((error < self.tolerance).all()))

    def quick(self) -> Self:
        return replace(
            self,
            seconds=2.8,
            hold_seconds=0.4,
            samples=150,
            elites=15,
            iterations=4,
            shooting_iterations=25,
            every=self.every + 2,
        )

    def _cem(self, problem: OptimalControlProblem, iterations: int) -> CEM:
        return CEM(
            problem,
            samples=self.samples,
            elites=self.elites,
            iterations=iterations,
            knots=self.knots,
            warm_spread=self.warm_spread,
        )

    def _searched(self, problem: OptimalControlProblem, seed: int) -> Plan:
        """A first plan from rest, by a longer search over samples."""
        rest = beginning(problem.model, np.zeros(problem.model.system.ny))
        return self._cem(problem, 2 * self.iterations).plan(rest, seed=seed)
