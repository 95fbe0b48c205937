"""What every planner takes and gives: `plan(x0, …) -> Plan`."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from hybridmodel.problem import OptimalControlProblem
from hybridmodel.problem.adaptive import ROUNDS

_AGREED = 1e-2  # relative, between what a plan was made with and what follows from it
FEASIBLE = 1e-4  # largest violation, summed over the horizon, that still counts as none


class Status(Enum):
    """How a plan ended; decided by the project's own checks, never by a solver's word alone."""

    CONVERGED = "converged"
    BUDGET = "iteration budget used"
    DEADLINE = "deadline reached"
    INFEASIBLE = "violates bounds or constraints"
    FAILED = "no usable plan"


@dataclass(frozen=True, eq=False)
class Plan:
    """The result of one planning call.

    u (H, nu) inputs, x (H+1, nx) states, cost of (x0, u) under the model, status, multipliers
    by constraint (first axis: step), gains (H, nu, nx) of a feedback law where the planner has
    one, elites (H, n, nu) that a sampling planner starts from again where it keeps some, adapted
    (H+1, …) columns of π that followed from the plan itself where the problem has such, iterations,
    seconds. Equality compares all but the timing.
    """

    u: np.ndarray
    x: np.ndarray
    cost: float
    status: Status
    multipliers: Mapping[str, np.ndarray] = field(default_factory=dict)
    gains: np.ndarray | None = None
    elites: np.ndarray | None = None
    adapted: np.ndarray | None = None
    iterations: int = 0
    seconds: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether its inputs may be applied: finite, inside their bounds, feasible."""
        return self.status not in (Status.FAILED, Status.INFEASIBLE)

    def shift(self, steps: int = 1) -> Plan:
        """The plan `steps` later: rows move up, the last one is repeated."""
        if not isinstance(steps, int | np.integer) or steps < 0:
            raise ValueError(f"steps must be a whole number of at least 0, got {steps!r}")

        def moved(rows: np.ndarray) -> np.ndarray:
            index = np.minimum(np.arange(len(rows)) + steps, len(rows) - 1)
            return rows[index]

        return replace(
            self,
            u=moved(self.u),
            x=moved(self.x),
            multipliers={name: moved(rows) for name, rows in self.multipliers.items()},
            gains=None if self.gains is None else moved(self.gains),
            elites=None if self.elites is None else moved(self.elites),
            adapted=None,  # what follows from a plan does not shift with it
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        mine, yours = self._arrays(), other._arrays()
        return (
            (self.status, self.iterations) == (other.status, other.iterations)
            and mine.keys() == yours.keys()
            and all(np.array_equal(mine[k], yours[k], equal_nan=True) for k in mine)
        )

    __hash__ = None  # type: ignore[assignment]

    def _arrays(self) -> dict[str, np.ndarray]:
        some = {"gains": self.gains, "elites": self.elites, "adapted": self.adapted}
        return (
            {"u": self.u, "x": self.x, "cost": np.array(self.cost)}
            | {name: rows for name, rows in some.items() if rows is not None}
            | {f"multiplier {name}": rows for name, rows in self.multipliers.items()}
        )


@dataclass(frozen=True)
class Task:
    """One checked planning request, as a planner's own algorithm sees it.

    x0 (nx,), pi (H+1, nπ), previous_input (nu,) or None, guess a Plan of the right shape or
    None, seed, and `expired()` to be polled.
    """

    x0: np.ndarray
    pi: np.ndarray
    previous_input: np.ndarray | None
    guess: Plan | None
    seed: int
    started: float
    deadline: float | None

    def expired(self) -> bool:
        return self.remaining() <= 0

    def remaining(self) -> float:
        """Seconds left until the deadline, infinite without one."""
        if self.deadline is None:
            return float("inf")
        return self.deadline - (time.perf_counter() - self.started)


class Clock:
    """Whether a task's deadline leaves no time for another iteration as long as the last one."""

    def __init__(self, task: Task) -> None:
        self.task, self._before = task, time.perf_counter()

    def late(self) -> bool:
        """To be asked once at the end of each iteration."""
        now = time.perf_counter()
        spent, self._before = now - self._before, now
        return self.task.deadline is not None and self.task.remaining() <= spent


@dataclass(frozen=True)
class Candidate:
    """What an algorithm hands back: inputs (H, nu) and how it stopped; the rest is checked here."""

    u: np.ndarray
    status: Status
    iterations: int
    evaluated: tuple[float, np.ndarray, float] | None = None  # by its judge, of u inside its bounds
    multipliers: Mapping[str, np.ndarray] = field(default_factory=dict)
    gains: np.ndarray | None = None
    elites: np.ndarray | None = None


class Planner(ABC):
    """Minimises an OptimalControlProblem from a given state."""

    problem: OptimalControlProblem

    @abstractmethod
    def search(self, task: Task) -> Candidate:
        """The algorithm itself."""

    def plan(
        self,
        x0: np.ndarray,
        *,
        parameters: np.ndarray | None = None,
        previous_input: np.ndarray | None = None,
        warm_start: Plan | None = None,
        seed: int | None = None,
        deadline: float | None = None,
    ) -> Plan:
        """Plan from x0 (nx,), of a problem with an `input_rate` also without the input before.

        parameters      π, (H+1, nπ) or one row for all steps
        previous_input  the u applied before x0, (nu,)
        warm_start      any planner's Plan for this problem; one that is not finite is left out
        seed            of what is drawn; the same seed gives the same plan, None means 0
        deadline        seconds from now after which the best plan so far is returned

        The plan's states and cost are those of a rollout of its inputs under the model, and its
        status is checked against them. Raises ValueError naming the argument.
        """
        started = time.perf_counter()
        problem = self.problem
        problem.refuse_replaced()
        previous = (
            None
            if previous_input is None
            else _vector("previous_input", previous_input, problem.model.system.nu)
        )
        task = Task(
            x0=_vector("x0", problem.start(x0, previous), problem.model.nx),
            pi=problem.problem_parameters(parameters),
            previous_input=previous,
            guess=None if warm_start is None else self.fitting(warm_start),
            seed=0 if seed is None else seed,
            started=started,
            deadline=deadline,
        )
        if deadline is not None and not deadline > 0:
            raise ValueError(f"deadline must be a positive number of seconds, got {deadline}")
        held = parameters is not None and np.shape(parameters) == task.pi.shape
        if held or not problem.adaptive:
            return self._checked(self.search(task), task)
        return self._adapted(task)

    def _adapted(self, task: Task) -> Plan:
        """A plan that agrees with what of the objective follows from it."""
        problem = self.problem
        if task.guess is not None:
            pi = problem.adapted(task.x0, task.guess.u, task.pi, anew=True)
            task = replace(task, pi=pi)
        plan = self._checked(self.search(task), task)
        for _ in range(ROUNDS - 1):
            if not plan.usable or task.expired():
                return plan
            pi = problem.adapted(task.x0, plan.u, task.pi, anew=False)
            if np.allclose(pi, task.pi, rtol=_AGREED, atol=_AGREED**2):
                return plan
            task = replace(task, pi=pi, guess=plan)
            before, plan = plan, self._checked(self.search(task), task)
            plan = replace(plan, iterations=before.iterations + plan.iterations)
        unsettled = plan.status is Status.CONVERGED
        return replace(plan, status=Status.BUDGET) if unsettled else plan

    def fitting(self, plan: Plan) -> Plan | None:
        """The plan as a warm start, None where it is not finite; ValueError where it is none."""
        if not isinstance(plan, Plan):
            raise ValueError(f"warm_start must be a Plan, got {type(plan).__name__}")
        H, model = self.problem.horizon, self.problem.model
        wanted = (H, model.system.nu), (H + 1, model.nx)
        if (plan.u.shape, plan.x.shape) != wanted:
            raise ValueError(
                f"warm_start must be a plan with u {wanted[0]} and x {wanted[1]}, "
                f"got {plan.u.shape} and {plan.x.shape}"
            )
        finite = np.isfinite(plan.u).all() and np.isfinite(plan.x).all()
        return plan if finite else None  # a failed plan says nothing

    def _checked(self, found: Candidate, task: Task) -> Plan:
        problem = self.problem
        finite = bool(np.isfinite(found.u).all())
        u = np.clip(found.u, problem.input_low, problem.input_high) if finite else found.u
        status, cost = found.status, float("nan")
        x = np.full((problem.horizon + 1, task.x0.size), np.nan)
        if finite:
            evaluated = found.evaluated or problem.evaluate(task.x0, u, task.pi)
            cost, x, violation = evaluated
            if not (np.isfinite(x).all() and np.isfinite([cost, violation]).all()):
                status = Status.FAILED
            elif violation > FEASIBLE:
                status = Status.INFEASIBLE
        else:
            status = Status.FAILED
        return Plan(
            u=u,
            x=x,
            cost=cost,
            status=status,
            multipliers=found.multipliers,
            gains=found.gains,
            elites=found.elites,
            adapted=task.pi[:, problem.n_given :].copy() if problem.adaptive else None,
            iterations=found.iterations,
            seconds=time.perf_counter() - task.started,
        )


def _vector(name: str, value: np.ndarray, size: int) -> np.ndarray:
    vector = np.asarray(value, dtype=float)
    if vector.shape != (size,) or not np.isfinite(vector).all():
        raise ValueError(f"{name} must be {size} finite numbers, got {value!r}")
    return vector
