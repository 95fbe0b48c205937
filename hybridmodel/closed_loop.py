"""Receding-horizon control: any planner becomes a policy that never emits a bad action.

    every n steps:  plan from x̂, warm-started by the shifted plan before;  u = plan.u[j] between

Where a plan is not usable, the chain is: the plan before, shifted → the safe input.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hybridmodel.estimators.estimator import Estimator
from hybridmodel.estimators.measured import MeasuredState
from hybridmodel.planners import Plan, Planner

Parameters = np.ndarray | Callable[[float], np.ndarray] | None


@dataclass
class RecedingHorizon:
    """A policy `u = policy(t, y)`; made by `receding_horizon`.

    `plans` holds (t, plan) of every planning call, `events` counts what was not a fresh plan.
    """

    planner: Planner
    every: int
    deadline: float | None
    estimator: Estimator
    parameters: Parameters
    safe_input: np.ndarray
    first_plan: Plan | None
    plans: list[tuple[float, Plan]] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)

    def reset(self, seed: int | None) -> None:
        self.estimator.reset()
        self.plans, self.events = [], Counter()
        self._seed = 0 if seed is None else seed
        self._plan: Plan | None = None  # the one being followed
        self._age = 0  # how many of its inputs were used
        self._previous: np.ndarray | None = None
        self._acted: np.ndarray | None = None  # exogenous signals of the step now ending

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        if not hasattr(self, "_age"):
            self.reset(None)
        x = self._estimate(y)
        self._acted = self._exogenous(t)
        if x is not None and (self._plan is None or self._age >= self.every):
            self._replan(t, x)
        u = self._next_input()
        self._previous = u
        return u.copy()

    def _estimate(self, y: np.ndarray) -> np.ndarray | None:
        lost = not np.isfinite(y).all()
        if lost:
            self.events["observation not finite"] += 1
        try:  # a lost observation too is told, since the input before it still counts
            y = np.array(y, dtype=float)
            x = np.asarray(self.estimator.update(y, self._previous, self._acted), float)
        except Exception as error:  # an estimator may fail in any way; the action may not
            self.events[f"estimator raised {type(error).__name__}"] += 1
            return None
        if np.isfinite(x).all():
            return x
        if not lost:
            self.events["estimate not finite"] += 1
        return None

    def _exogenous(self, t: float) -> np.ndarray | None:
        """d (nd,) of the step that begins, which the first columns of π tell."""
        problem = self.planner.problem
        if not problem.model.system.nd:
            return None
        try:
            pi = self.parameters(t) if callable(self.parameters) else self.parameters
            return problem.problem_parameters(pi)[0, : problem.model.system.nd]
        except Exception as error:  # as in a plan: the action may not fail
            self.events[f"parameters raised {type(error).__name__}"] += 1
            return None

    def _replan(self, t: float, x: np.ndarray) -> None:
        shifted = self.first_plan if self._plan is None else self._plan.shift(self._age)
        try:
            plan = self.planner.plan(
                x,
                parameters=self.parameters(t) if callable(self.parameters) else self.parameters,
                previous_input=self._previous,
                warm_start=shifted,
                seed=self._seed + len(self.plans),
                deadline=self.deadline,
            )
        except Exception as error:  # a planner may fail in any way; the action may not
            self.events[f"planner raised {type(error).__name__}"] += 1
            return
        if isinstance(plan, Plan):
            self.plans.append((t, plan))
        if not (isinstance(plan, Plan) and self._fits(plan)):
            self.events["plan unusable"] += 1
        elif not plan.usable:
            self.events[f"plan {plan.status.name.lower()}"] += 1
        else:
            self._plan, self._age = plan, 0

    def _fits(self, plan: Plan) -> bool:
        """Whether a planner has kept its promises: nothing else stands before the plant."""
        problem = self.planner.problem
        return plan.u.shape == (problem.horizon, problem.model.system.nu) and bool(
            np.isfinite(plan.u).all() or not plan.usable
        )

    def _next_input(self) -> np.ndarray:
        if self._plan is None or self._age >= len(self._plan.u):
            self.events["safe input"] += 1
            return self.safe_input
        u = self._plan.u[self._age]
        self._age += 1
        return np.clip(u, self.planner.problem.input_low, self.planner.problem.input_high)


def receding_horizon(
    planner: Planner,
    *,
    every: int = 1,
    deadline: float | None = None,
    estimator: Estimator | None = None,
    parameters: Parameters = None,
    safe_input: np.ndarray | None = None,
    first_plan: Plan | None = None,
) -> RecedingHorizon:
    """A policy that replans with `planner` every `every` steps.

    deadline    seconds for each plan
    estimator   default: the measured output is the state
    parameters  problem parameters π of every plan, or a function t ↦ π of the time of the plan
    safe_input  (nu,) where no plan is usable; default: zero, clipped to the bounds
    first_plan  warm start of the first plan, from any planner

    Actions are always finite and inside the problem's input bounds.
    Raises ValueError naming the argument.
    """
    problem = planner.problem
    if not 1 <= every <= problem.horizon:
        raise ValueError(f"every must lie in [1, horizon {problem.horizon}], got {every}")
    nu = problem.model.system.nu
    safe = np.zeros(nu) if safe_input is None else np.asarray(safe_input, dtype=float)
    if safe.shape != (nu,) or not np.isfinite(safe).all():
        raise ValueError(f"safe_input must be {nu} finite numbers, got {safe_input!r}")
    if deadline is not None and not deadline > 0:
        raise ValueError(f"deadline must be a positive number of seconds, got {deadline}")
    if not callable(parameters):
        problem.problem_parameters(parameters)
    if first_plan is not None:
        planner.fitting(first_plan)
    return RecedingHorizon(
        planner=planner,
        every=every,
        deadline=deadline,
        estimator=MeasuredState(problem.model) if estimator is None else estimator,
        parameters=parameters,
        safe_input=np.clip(safe, problem.input_low, problem.input_high),
        first_plan=first_plan,
    )
