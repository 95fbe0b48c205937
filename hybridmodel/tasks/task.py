"""What a task is made of: a plant that hides something, logs, fits, and a goal.

    Task      all of it
    Logging   how its logs are made
    Control   what its planners are to do, and how well a closed loop did it

Tasks are data. What differs from kind to kind of task is a method of its Logging or Control.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self, TypeVar

import numpy as np

from hybridmodel import envs
from hybridmodel.baselines import Recipe
from hybridmodel.closed_loop import RecedingHorizon
from hybridmodel.collection import Policy, collect
from hybridmodel.data import Trajectory
from hybridmodel.envs import Environment, HiddenEffects
from hybridmodel.model import HybridModel
from hybridmodel.problem import OptimalControlProblem
from physics import System

T = TypeVar("T")
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Figure:
    """One number of a closed loop: its name in the summary, how a table and a sentence show it.

    `factor` turns the stored SI value into `unit`.
    """

    name: str
    heading: str
    says: str
    unit: str = ""
    factor: float = 1.0


@dataclass(frozen=True)
class Score:
    """How well a closed loop did: the task's cost, whether it met the goal, further figures."""

    cost: float
    success: bool
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Logs:
    """Whole logs for fitting (train, validation) and for the errors alone (test)."""

    train: list[Trajectory]
    validation: list[Trajectory]
    test: list[Trajectory]


@dataclass(frozen=True, kw_only=True)
class Logging(ABC):
    """How the logs are made: each of `steps`, `held_out` of them for the errors alone."""

    steps: int
    held_out: int

    @abstractmethod
    def make(self, task: Task, plant: Environment, seed: int) -> Logs:
        """All logs of one seed."""

    @abstractmethod
    def quick(self) -> Self:
        """A shorter version."""


@dataclass(frozen=True, kw_only=True)
class Control(ABC):
    """A goal, planned `horizon` steps ahead every `every` steps for `seconds`.

    planners   keys of the planners that a demonstration shows
    KNOWN      keys of all that `policy` knows
    """

    KNOWN: ClassVar[tuple[str, ...]] = ("cem", "gradient", "sqp")

    horizon: int
    every: int
    seconds: float
    planners: tuple[str, ...]

    @property
    @abstractmethod
    def goal(self) -> str:
        """What success is called: "swings up and holds"."""

    @property
    @abstractmethod
    def success(self) -> str:
        """What success means, for the foot of a table."""

    @property
    @abstractmethod
    def figures(self) -> tuple[Figure, ...]:
        """What a table shows of a closed loop; by the first of them rows are compared."""

    @abstractmethod
    def start(self, system: System) -> np.ndarray:
        """x₀ (nx,) of the closed loop."""

    @abstractmethod
    def rest_input(self, system: System) -> np.ndarray:
        """u (nu,) that goes with x₀, as far as the nominal physics knows."""

    @abstractmethod
    def problem(self, task: Task, model: HybridModel) -> OptimalControlProblem:
        """The goal under one model."""

    @abstractmethod
    def policy(self, task: Task, model: HybridModel, planner: str, seed: int) -> RecedingHorizon:
        """A planner of this name on one model, closing the loop.

        Raises ValueError naming the planners that there are.
        """

    @abstractmethod
    def score(self, task: Task, problem: OptimalControlProblem, trajectory: Trajectory) -> Score:
        """How well a closed loop did, along its true states."""

    @abstractmethod
    def quick(self) -> Self:
        """A shorter version."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A plant and what is to be done with it.

    story          what is hidden from the physics, as a sentence goes on
    quick_epochs   of a shorter fit
    error_stride   steps from one window of the held-out logs to the next
    true_parameters   what an identification would find, had the plant nothing else to hide, where
                   `hidden.true_system` says it in other words
    engine         the simulator that studies log and drive: "pybullet", "mujoco" or "ode"
    substeps       of the plant in one step; None is the engine's own choice
    effects        by name what else may be hidden in place of `hidden`
    smoothing      width of the oracle's dry friction [rad/s, m/s], see `hybridmodel.tasks.oracle`
    engine_parameters  of the system, for the oracle, where the engine's plant is of another
                   structure: with these it comes near
    oracle_substeps  of one step of the oracle: what is nearly dry is stiff
    """

    name: str
    title: str
    system: System
    hidden: HiddenEffects
    story: str
    dt: float
    logging: Logging
    recipe: Recipe
    control: Control
    quick_epochs: tuple[int, ...] = (8, 12, 24)
    error_stride: int = 1
    true_parameters: Mapping[str, float] = field(default_factory=dict)
    engine: str = "pybullet"
    substeps: int | None = None
    effects: Mapping[str, HiddenEffects] = field(default_factory=dict)
    smoothing: float = 0.2
    engine_parameters: Mapping[str, float] = field(default_factory=dict)
    oracle_substeps: int = 2

    def under(self, effect: str) -> Task:
        """The task with another of its effects hidden.

        Story and true parameters are those of `hidden`; they go where it is not the same.
        Raises ValueError naming the effects that there are.
        """
        hidden = named("effect", effect, self.effects)
        if hidden == self.hidden:
            return self
        return replace(self, hidden=hidden, story=f"{effect} alone", true_parameters={})

    def quick(self) -> Task:
        """A shorter version: fewer logs, epochs, samples, plans and seconds."""
        return replace(
            self,
            logging=self.logging.quick(),
            recipe=replace(self.recipe, epochs=self.quick_epochs, sweep=(1e-2,), starts=1),
            control=self.control.quick(),
        )

    def truth(self) -> dict[str, float]:
        """True values of the parameters that differ from the nominal ones."""
        nominal = self.system.parameters
        true = self.hidden.true_system(self.system).parameters
        differ = {k: float(v) for k, v in true.items() if k in nominal and v != nominal[k]}
        return {**differ, **self.true_parameters}

    def plant(self, engine: str, **options: object) -> Environment:
        """The plant with what it hides."""
        return envs.make(
            self.system,
            engine=engine,  # type: ignore[arg-type]
            dt=self.dt,
            hidden=self.hidden,
            **{"substeps": self.substeps, **options},  # type: ignore[arg-type]
        )


def whole_logs(
    task: Task,
    plant: Environment,
    policy: Callable[[int], Policy],
    start: Callable[[np.random.Generator], np.ndarray],
    count: int,
    *,
    seed: tuple[int, int],
) -> list[Trajectory]:
    """`count` whole logs; one that runs into a limit of the plant is made again elsewhere.

    Raises RuntimeError where that keeps happening.
    """
    generator = np.random.default_rng((2, *seed))
    logs: list[Trajectory] = []
    for attempt in range(4 * count):
        trajectory = collect(
            plant,
            policy(len(logs)),
            steps=task.logging.steps,
            seed=100_000 * seed[0] + 1_000 * seed[1] + attempt,
            state=start(generator),
        )
        if trajectory.steps == task.logging.steps:
            logs.append(trajectory)
        if len(logs) == count:
            return logs
    raise RuntimeError(f"task {task.name}: its logs keep running into the limits of the plant")


def split(logs: list[Trajectory], share: float = 0.15) -> tuple[list[Trajectory], list[Trajectory]]:
    """Train and validation: the last `share` of the logs, one at least, is for validation."""
    held_back = max(1, round(share * len(logs)))
    return logs[:-held_back], logs[-held_back:]


def paid(
    problem: OptimalControlProblem, trajectory: Trajectory, steps: int, pi: np.ndarray
) -> float:
    """Σ ℓ dt along the true states under π (steps, nπ).

    A run that left the plant's limits pays the cost of its last state for the steps it missed.
    """
    assert trajectory.x is not None
    # what a model knows beyond the plant's state costs nothing
    unseen = np.zeros(problem.model.nx - trajectory.x.shape[1])
    stages = [
        float(problem.stage(np.concatenate([x, unseen]), u, k, pi[k], problem.weights()))
        for k, (x, u) in enumerate(zip(trajectory.x, trajectory.u, strict=False))
    ]
    return problem.model.dt * (sum(stages) + (steps - trajectory.steps) * stages[-1])


def named(what: str, name: str, choices: Mapping[str, T]) -> T:
    """The choice of this name. Raises ValueError naming the choices that there are."""
    if name not in choices:
        raise ValueError(f"{what} must be one of {sorted(choices)}, got {name!r}")
    return choices[name]


def first_seconds(logs: Logs, seconds: float) -> Logs:
    """Whole logs for fitting of at most so many seconds in all; those for errors stay.

    Train and validation keep their shares, one log at least, and are taken evenly from all over
    their lists, so that every kind of log is among them; fewer seconds are part of more. The
    attempts among them were flown by a controller that knew all excited logs.
    Raises ValueError where fewer than two logs remain.
    """
    train, validation = mixed(logs.train), mixed(logs.validation)
    count = int(seconds / max(log.seconds for log in (*train, *validation)) + 1e-9)
    if count < 2 or not (train and validation):
        raise ValueError(
            f"seconds must leave at least two logs, one to fit and one to validate; {seconds:g} s "
            f"leave {count}"
        )
    share = len(validation) / (len(train) + len(validation))
    held_back = max(1, round(share * count))
    return Logs(train[: count - held_back], validation[:held_back], logs.test)


def mixed(rows: Sequence[T]) -> list[T]:
    """All of them in an order of which every beginning is spread over the whole sequence.

    By the fractional part of i (√5 − 1)/2.
    """
    order = sorted(range(len(rows)), key=lambda i: i * _GOLDEN % 1)
    return [rows[i] for i in order]
