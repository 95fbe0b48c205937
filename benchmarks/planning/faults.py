"""Faults of observations and planners from a seeded generator, and a loop that survives them."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hybridmodel import Plan, Planner, RecedingHorizon, Status
from hybridmodel.planners.planner import Candidate, Task


class AbortError(BaseException):
    """Not an Exception, as some libraries raise them."""


def _raise(error: BaseException) -> Callable[[Plan], object]:
    def act(plan: Plan) -> object:
        raise error

    return act


def _of(change: Callable[[Plan], dict[str, Any]]) -> Callable[[Plan], object]:
    return lambda plan: replace(plan, **change(plan))


def _filled(value: float) -> Callable[[Plan], object]:
    return _of(lambda plan: {"u": np.full_like(plan.u, value)})


# what is seen instead of y, and the event that must be counted for it; stale ones look honest
OBSERVATIONS: Mapping[str, tuple[Callable[[np.ndarray, np.ndarray], object], str]] = {
    "NaN": (lambda y, last: np.full_like(y, np.nan), "observation not finite"),
    "a row inf": (lambda y, last: np.r_[np.inf, y[1:]], "observation not finite"),
    "none": (lambda y, last: None, "observation missing"),
    "longer": (lambda y, last: np.append(y, 0.0), "observation of another shape"),
    "a number": (lambda y, last: 0.5, "observation of another shape"),
    "text": (lambda y, last: "broken", "observation not numbers"),
    "stale": (lambda y, last: last, ""),
    "huge": (lambda y, last: np.full_like(y, 1e300), "plan failed"),
}
# what the planner does with an honest plan, and the event
OUTCOMES: Mapping[str, tuple[Callable[[Plan], object], str]] = {
    "raises": (_raise(RuntimeError("fell over")), "planner raised RuntimeError"),
    "aborts": (_raise(AbortError()), "planner raised AbortError"),
    "cancelled": (_raise(CancelledError()), "planner raised CancelledError"),
    "none": (lambda plan: None, "plan unusable"),
    "text": (lambda plan: "a plan", "plan unusable"),
    "inputs alone": (lambda plan: plan.u, "plan unusable"),
    "NaN": (_filled(np.nan), "plan unusable"),
    "1e300": (_filled(1e300), "plan outside bounds"),
    "inf": (_filled(-np.inf), "plan unusable"),
    "flat": (_of(lambda plan: {"u": plan.u.ravel()}), "plan unusable"),
    "wider": (_of(lambda plan: {"u": np.hstack([plan.u, plan.u])}), "plan unusable"),
    "empty": (_of(lambda plan: {"u": plan.u[:0]}), "plan unusable"),
    "no inputs": (_of(lambda plan: {"u": None}), "plan unusable"),
    "states NaN": (_of(lambda plan: {"x": np.nan * plan.x}), "plan unusable"),
    "texts": (_of(lambda plan: {"u": plan.u.astype(str)}), ""),  # numbers all the same
    "gains NaN": (
        _of(lambda plan: {"gains": np.full((*plan.u.shape, plan.x.shape[1]), np.nan)}),
        "gains unusable",
    ),
    "status a text": (_of(lambda plan: {"status": "CONVERGED"}), "plan unusable"),
    "too cheap": (
        _of(lambda plan: {"cost": plan.cost - 1 - abs(plan.cost), "status": Status.CONVERGED}),
        "plan contradicts its rollout",
    ),
    "other states": (
        _of(lambda plan: {"x": plan.x + 1.0, "status": Status.CONVERGED}),
        "plan contradicts its rollout",
    ),
    "failed": (_of(lambda plan: {"status": Status.FAILED}), "plan failed"),
    "infeasible": (_of(lambda plan: {"status": Status.INFEASIBLE}), "plan infeasible"),
    "slow": (lambda plan: _sleeping(plan), "plan late"),
}
SLOW = 5e-3  # [s] on top of a deadline


def _sleeping(plan: Plan) -> Plan:
    time.sleep(SLOW)
    return plan


class Faulty(Planner):
    """Another planner that does what `fault`, one of OUTCOMES, says with its plans."""

    def __init__(self, inner: Planner) -> None:
        self.problem, self.inner, self.fault = inner.problem, inner, ""

    def search(self, task: Task) -> Candidate:
        return self.inner.search(task)

    def plan(self, x0: np.ndarray, **keywords: Any) -> Plan:
        plan = self.inner.plan(x0, **keywords)
        act = OUTCOMES[self.fault][0] if self.fault else None
        return plan if act is None else act(plan)  # pyright: ignore[reportReturnType]


class Polling(Planner):
    """Draws inputs about those of a guess until its deadline, `least` times without one."""

    def __init__(self, problem, *, least: int = 1) -> None:
        self.problem, self.least = problem, least

    def search(self, task: Task) -> Candidate:
        low, high = self.problem.input_low, self.problem.input_high
        rng = np.random.default_rng(task.seed)
        H, done = self.problem.horizon, 0
        u = np.clip(np.zeros((H, len(low))), low, high) if task.guess is None else task.guess.u
        while done < self.least or (task.deadline is not None and not task.expired()):
            drawn = u + 0.1 * (high - low) * rng.standard_normal(u.shape)
            u = np.clip(0.9 * drawn, low, high)
            done += 1
        return Candidate(u=u, status=Status.BUDGET, iterations=done)


@dataclass
class Tally:
    """What a loop with faults came to; `uncounted` and `violations` must be 0."""

    steps: int = 0
    raised: int = 0
    not_finite: int = 0
    outside: int = 0
    too_fast: int = 0
    injected: Counter[str] = field(default_factory=Counter)  # faults by name
    wanted: Counter[str] = field(default_factory=Counter)  # events by what was injected
    met: Counter[str] = field(default_factory=Counter)
    links: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of steps that were not made slow
    processor: list[float] = field(default_factory=list)  # [s] that this thread ran in them

    @property
    def violations(self) -> int:
        return self.not_finite + self.outside + self.too_fast

    def uncounted(self) -> int:
        """By how much the events differ from the faults, lateness aside."""
        names = (set(self.wanted) | set(self.met)) - {"plan late"}
        names -= {"feedback", "hold", "safe input"}
        return sum(abs(self.wanted[name] - self.met[name]) for name in names)


def strain(
    policy: RecedingHorizon,
    planner: Faulty,
    environment: Any,
    *,
    steps: int,
    share: float,
    seed: int,
    rate: np.ndarray | None = None,
    episode: int = 1000,
) -> Tally:
    """Steps of a policy around `planner` on an environment, a `share` of them with one fault.

    `rate` (nu,) is the limit per second that actions must keep. Plans must be due in every step.
    """
    rng, tally = np.random.default_rng(seed), Tally()
    low, high = planner.problem.input_low, planner.problem.input_high
    most = np.inf if rate is None else rate * planner.problem.model.dt * (1 + 1e-9)
    y = last = np.zeros(0)  # until the first reset
    before, t, done = None, 0.0, True
    while tally.steps < steps:
        if done or tally.steps % episode == 0:
            tally.met += policy.events
            tally.links += policy.links
            y, _ = environment.reset(seed=seed + tally.steps)
            policy.reset(seed + tally.steps)
            last, before, t = y, None, 0.0
        seen, slow = _injected(rng, share, y, last, planner, tally)
        started, ran = time.perf_counter(), time.thread_time()
        try:
            u = policy(t, seen)  # pyright: ignore[reportArgumentType]
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # some of the faults are no Exception
            tally.raised += 1
            u = np.clip(np.zeros(len(low)), low, high)
        if not slow:
            tally.seconds.append(time.perf_counter() - started)
            tally.processor.append(time.thread_time() - ran)
        tally.not_finite += not np.isfinite(u).all()
        tally.outside += not ((u >= low).all() and (u <= high).all())
        if before is not None:
            tally.too_fast += not (np.abs(u - before) <= most).all()
        before, last, t = u, y, t + planner.problem.model.dt
        y, _, terminated, truncated, _ = environment.step(u)
        done = terminated or truncated
        tally.steps += 1
    tally.met += policy.events
    tally.links += policy.links
    return tally


def _injected(
    rng: np.random.Generator,
    share: float,
    y: np.ndarray,
    last: np.ndarray,
    planner: Faulty,
    tally: Tally,
) -> tuple[object, bool]:
    """What is seen of y, and whether the planner will be slow; its fault is set."""
    planner.fault = ""
    if rng.uniform() >= share:
        return y, False
    if rng.uniform() < 0.5:
        name = str(rng.choice(list(OBSERVATIONS)))
        act, event = OBSERVATIONS[name]
        seen = act(y, last)
    else:
        name = planner.fault = str(rng.choice(list(OUTCOMES)))
        event, seen = OUTCOMES[name][1], y
    tally.injected[name] += 1
    tally.wanted[event] += bool(event)
    return seen, name == "slow"
