"""A policy whose model learns from every step that it takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hybridmodel.closed_loop import RecedingHorizon
from hybridmodel.collection import Policy
from hybridmodel.estimators.estimator import Estimator
from hybridmodel.estimators.linearization import Deviations
from hybridmodel.estimators.measured import MeasuredState
from hybridmodel.model import HybridModel
from hybridmodel.online.learner import Learner
from hybridmodel.online.parameters import ParameterFilter
from hybridmodel.online.residual import ResidualUpdate

Progress = Callable[[Mapping[str, float]], None]
Exogenous = np.ndarray | Callable[[float], np.ndarray] | None


@dataclass
class Adaptive:
    """A policy `u = policy(t, y)` that lets its learners see each step; made by `adapt`.

    `events` counts steps that were not learned as they were, by the reason.
    """

    policy: Policy
    model: HybridModel
    learners: tuple[Learner, ...]
    estimator: Estimator
    exogenous: Exogenous
    every: int
    progress: Progress | None
    events: Counter[str] = field(default_factory=Counter)

    def reset(self, seed: int | None) -> None:
        """Reset the policy, and put the model back to where it was before it adapted."""
        self.policy.reset(seed)
        self.estimator.reset()
        for learner in self.learners:
            learner.reset()
        self.events = Counter()
        self._x: np.ndarray | None = None
        self._u: np.ndarray | None = None
        self._d: np.ndarray | None = None
        self._steps = 0

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        if not hasattr(self, "_steps"):
            self.reset(None)
        started = time.perf_counter()
        x = self._estimate(y)
        if x is not None and self._x is not None and self._steps % self.every == 0:
            self._learn(x)
            if self.progress is not None:
                seconds = time.perf_counter() - started
                self.progress({"t": t, "seconds": seconds, **self.model.parameter_values()})
        u = self.policy(t, y)
        self._x, self._u, self._d = x, np.array(u, dtype=float), self._acting(t)
        self._steps += 1
        return u

    def _estimate(self, y: np.ndarray) -> np.ndarray | None:
        try:
            known = self._d if self.model.system.nd else None
            x = np.asarray(self.estimator.update(np.array(y, dtype=float), self._u, known), float)
        except Exception as error:  # an estimator may fail in any way; the action may not
            self.events[f"estimator raised {type(error).__name__}"] += 1
            return None
        if not np.isfinite(x).all():
            self.events["estimate not finite"] += 1
            return None
        return x

    def _learn(self, x: np.ndarray) -> None:
        assert self._x is not None
        assert self._u is not None
        assert self._d is not None
        for learner in self.learners:
            try:
                reason = learner.learn(self._x, self._u, self._d, x)
            except Exception as error:  # nor may learning stop the machine
                reason = f"learner raised {type(error).__name__}"
            if reason:
                self.events[reason] += 1

    def _acting(self, t: float) -> np.ndarray:
        found = self.exogenous(t) if callable(self.exogenous) else self.exogenous
        return np.zeros(0) if found is None else np.asarray(found, dtype=float)


def adapt(
    policy: Policy,
    model: HybridModel,
    *,
    parameters: Sequence[str] = (),
    residual: bool = False,
    noise: Deviations | None = None,
    learners: Sequence[Learner] = (),
    estimator: Estimator | None = None,
    exogenous: Exogenous = None,
    every: int = 1,
    progress: Progress | None = None,
) -> Adaptive:
    """A policy that lets `model`, which `policy` plans with, learn from each step.

    parameters   declared parameters that are followed, see `ParameterFilter`
    residual     follow the weights of a linear residual, see `ResidualUpdate`
    noise        what one step leaves in each state, of both; None: that of the model
    learners     further ones, made with other settings than these
    estimator    default: the measured output is the state; another object than the policy's own
    exogenous    d (nd,) or a function t ↦ d, where the system has exogenous signals
    every        steps from one update to the next
    progress     called after each update with t, its seconds and the model's parameters

    The model changes in place, and is as before after a `reset`. Updates never fail: what is not
    finite is left out, and what is improbable counts less. Raises ValueError naming the argument.
    """
    if isinstance(policy, RecedingHorizon) and policy.planner.problem.model is not model:
        raise ValueError("model must be the one that policy plans with, got another")
    inner: object = policy
    while estimator is not None and inner is not None:
        if getattr(inner, "estimator", None) is estimator:
            raise ValueError(
                "estimator must be another object than the policy's, which would be advanced twice "
                "in each step; make a second one with the same settings"
            )
        inner = getattr(inner, "policy", None)
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    if model.system.nd and exogenous is None:
        names = [s.name for s in model.system.exogenous]
        raise ValueError(f"exogenous must be given: {type(model.system).__name__} needs {names}")
    chosen: list[Learner] = list(learners)
    if parameters:
        chosen.append(ParameterFilter(model, parameters, noise=noise))
    if residual:
        chosen.append(ResidualUpdate(model, noise=noise))
    if not chosen:
        raise ValueError("nothing to adapt: name parameters, or set residual=True")
    return Adaptive(
        policy=policy,
        model=model,
        learners=tuple(chosen),
        estimator=MeasuredState(model) if estimator is None else estimator,
        exogenous=exogenous,
        every=every,
        progress=progress,
    )
