"""The policy that a planner becomes: what is observed, asked, chosen and remembered in a step.

    plan → shifted plan → feedback or hold → safe input

Nothing that an observation, an estimator, a planner or a law does is raised here; it is counted.
An order to stop the program (KeyboardInterrupt, SystemExit) alone goes on.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from hybridmodel.closed_loop.acceptance import accepted
from hybridmodel.closed_loop.attempt import Raised, attempt
from hybridmodel.closed_loop.limits import Limits
from hybridmodel.closed_loop.recording import LENGTH, Recording, Step, recorded
from hybridmodel.closed_loop.standing import Standing, followed
from hybridmodel.estimators.estimator import Estimator
from hybridmodel.planners import Plan, Planner

Parameters = np.ndarray | Callable[[float], np.ndarray] | None
Fallback = Callable[[float, np.ndarray], np.ndarray] | Literal["hold"] | None
Ask = Callable[[float, np.ndarray, Standing], Plan | str]
LATE = 1e-3  # [s] beyond the deadline
_LEARNING, _LEAST = 0.1, 1e-4  # share of a new reserve in the old one, and [s] by which it begins


@dataclass
class RecedingHorizon:
    """A policy `u = policy(t, y)`; made by `receding_horizon`.

    `plans` holds (t, plan) of every planning call that gave one, `links` counts every step by the
    link of the chain that acted, `events` counts every fault, and steps that no plan reached.
    """

    planner: Planner
    every: int
    deadline: float | None
    estimator: Estimator
    parameters: Parameters
    safe_input: np.ndarray
    first_plan: Plan | None
    fallback: Fallback
    limits: Limits
    verify: bool
    reserve: float  # [s] of the deadline kept for what follows the search, at first
    plans: list[tuple[float, Plan]] = field(default_factory=list, init=False)
    events: Counter[str] = field(default_factory=Counter, init=False)
    links: Counter[str] = field(default_factory=Counter, init=False)

    def reset(self, seed: int | None) -> None:
        self.estimator.reset()
        self.begin(0 if seed is None else seed, Standing())

    def begin(self, seed: int, standing: Standing) -> None:
        """Start at a given standing, as a replay does; the estimator is left alone."""
        self.plans, self.events, self.links = [], Counter(), Counter()
        self._seed, self._standing, self._reserve = seed, standing, self.reserve
        self._steps: deque[Step] = deque(maxlen=LENGTH)
        self._acted: np.ndarray | None = None  # exogenous signals of the step now ending

    def __call__(self, t: float, y: np.ndarray | None) -> np.ndarray:
        """u (nu,) at t [s] after observing y (ny,), None where nothing new was observed."""
        started = time.perf_counter()
        if not hasattr(self, "_standing"):
            self.reset(None)
        seen = self._observed(y)
        x = self._estimate(seen)
        self._acted = self._exogenous(t)
        return self.act(t, seen, x, self.ask, started)

    def recording(self) -> Recording:
        """The last 100 steps. Raises ValueError before the first one."""
        if not getattr(self, "_steps", None):
            raise ValueError("policy has made no steps that could be recorded")
        return recorded(
            self._steps,
            nx=self.planner.problem.model.nx,
            seed=self._seed,
            events=self.events,
            links=self.links,
        )

    def act(
        self, t: float, y: np.ndarray, x: np.ndarray | None, ask: Ask, started: float
    ) -> np.ndarray:
        """The step itself, from x̂ (nx,) or None; `ask` stands for the planner."""
        before = now = self._standing
        answer = None
        if x is not None and (now.plan is None or now.age >= self.every):
            answer = ask(t, x, now)
            fresh = isinstance(answer, Plan)
            now = replace(now, asked=now.asked + 1, warm=fresh)
            if isinstance(answer, Plan):
                now = replace(now, plan=answer, age=0, bridged=0)
            else:
                self.events[answer] += 1
        link, u = self._chosen(t, x, now)
        if not np.isfinite(u).all():  # somebody has written into a plan that was accepted
            link, u = "safe input", self.safe_input
        u = self.limits.nearest(u, before.previous)
        self.links[link] += 1
        on_plan = link in ("plan", "shifted plan")
        if not on_plan:
            self.events[link] += 1
        self._standing = replace(
            now, previous=u, age=now.age + on_plan, bridged=now.bridged + (not on_plan)
        )
        status = answer.status.name if isinstance(answer, Plan) else answer or ""
        seconds = time.perf_counter() - started
        self._steps.append(Step(_number(t), y, x, u, link, status, seconds, answer, before))
        return u.copy()

    def ask(self, t: float, x: np.ndarray, standing: Standing) -> Plan | str:
        """The planner's plan, or what was wrong with it."""
        problem, guess = self.planner.problem, None
        if standing.warm:
            plan = standing.plan
            # shifted by none it is a copy: a planner may write into what it is given
            first = None if self.first_plan is None else self.first_plan.shift(0)
            guess = first if plan is None else plan.shift(standing.age)
        told = attempt(lambda: self._parameters(t))
        if isinstance(told, Raised):
            return f"parameters raised {told.name}"
        given, pi = told
        allowed = None if self.deadline is None else self.deadline - self._reserve
        began = time.perf_counter()
        found = attempt(
            lambda: self.planner.plan(
                x.copy(),
                parameters=None if given is None else np.array(given),
                previous_input=None if standing.previous is None else standing.previous.copy(),
                warm_start=guess,
                seed=self._seed + standing.asked,
                deadline=allowed,
            )
        )
        answer = attempt(lambda: accepted(found, problem, x, pi, verify=self.verify))
        self._timed(time.perf_counter() - began)
        if isinstance(found, Raised):
            return f"planner raised {found.name}"
        if isinstance(answer, Raised):  # what looks like a plan may be anything
            return "plan unusable"
        if answer.plan is not None:
            self.plans.append((t, answer.plan))
        self.events.update(["gains unusable"] if answer.gains_fault else [])
        return answer.fault or answer.plan or "plan unusable"

    def _timed(self, seconds: float) -> None:
        """Count what was late, and learn how much is needed beyond the deadline that is told."""
        if self.deadline is None:
            return
        if seconds > self.deadline + LATE:
            self.events["plan late"] += 1
        over = seconds - (self.deadline - self._reserve)
        if over > 0:  # a search that ends before says nothing; a busy machine's outlier says little
            over = min(over, 2 * self._reserve + _LEAST)
            learned = self._reserve + _LEARNING * (over - self._reserve)
            self._reserve = min(learned, self.deadline / 2)

    def _chosen(self, t: float, x: np.ndarray | None, now: Standing) -> tuple[str, np.ndarray]:
        """The link of the chain that holds, and its input (nu,) before limits."""
        model, H = self.planner.problem.model, self.planner.problem.horizon
        if now.plan is not None and now.age < H:
            link = "plan" if now.age < self.every else "shifted plan"
            return link, followed(model, now.plan, now.age, x)
        bridging = now.bridged < H
        if callable(self.fallback):
            u = self._law(t, x)
            if u is not None:
                return "feedback", u
        elif self.fallback == "hold":
            if now.previous is not None and bridging:
                return "hold", now.previous
        elif now.plan is not None and now.plan.gains is not None and x is not None and bridging:
            return "feedback", followed(model, now.plan, H - 1, x)
        return "safe input", self.safe_input

    def _law(self, t: float, x: np.ndarray | None) -> np.ndarray | None:
        """The user's fallback law, where x̂ is known and the law holds."""
        law = self.fallback
        if x is None or not callable(law):
            return None
        u = attempt(lambda: np.array(law(t, x.copy()), dtype=float))
        if isinstance(u, Raised):
            self.events[f"fallback raised {u.name}"] += 1
            return None
        if u.shape == self.safe_input.shape and np.isfinite(u).all():
            return u
        self.events["fallback unusable"] += 1
        return None

    def _observed(self, y: object) -> np.ndarray:
        """y (ny,) as numbers, NaN where it is lost."""
        lost = np.full(self.planner.problem.model.system.ny, np.nan)
        if y is None:
            self.events["observation missing"] += 1
            return lost
        seen = attempt(lambda: np.array(y, dtype=float))
        if isinstance(seen, Raised):
            self.events["observation not numbers"] += 1
            return lost
        if seen.shape != lost.shape:
            self.events["observation of another shape"] += 1
            return lost
        if not np.isfinite(seen).all():
            self.events["observation not finite"] += 1
        return seen

    def _estimate(self, y: np.ndarray) -> np.ndarray | None:
        """x̂ (nx,), None where it is not known; a lost y is told too, its input still counts."""
        u = self._standing.previous
        previous = None if u is None else u.copy()
        x = attempt(
            lambda: np.array(self.estimator.update(y.copy(), previous, self._acted), dtype=float)
        )
        if isinstance(x, Raised):
            self.events[f"estimator raised {x.name}"] += 1
            return None
        x = self.planner.problem.start(x, previous)  # an estimator may know the given model only
        if x.shape != (self.planner.problem.model.nx,):
            self.events["estimate of another shape"] += 1
            return None
        if np.isfinite(x).all():
            return x
        if np.isfinite(y).all():
            self.events["estimate not finite"] += 1
        return None

    def _exogenous(self, t: float) -> np.ndarray | None:
        """d (nd,) of the step that begins, which the first columns of π tell."""
        nd = self.planner.problem.model.system.nd
        if not nd:
            return None
        told = attempt(lambda: self._parameters(t))
        if isinstance(told, Raised):
            self.events[f"parameters raised {told.name}"] += 1
            return None
        return told[1][0, :nd]

    def _parameters(self, t: float) -> tuple[np.ndarray | None, np.ndarray]:
        """π of the time t as it was given, and checked (H+1, nπ)."""
        given = self.parameters(t) if callable(self.parameters) else self.parameters
        return given, self.planner.problem.problem_parameters(given)


def _number(t: object) -> float:
    return float(t) if isinstance(t, int | float | np.number) else float("nan")
