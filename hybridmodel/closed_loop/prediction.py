"""A policy behind the interface `action, state = policy.predict(observation, state)`.

As Stable-Baselines3 defines it for policies with memory: the caller hands the state back with the
next observation, and marks environments whose episode has just begun.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from hybridmodel.closed_loop.policy import RecedingHorizon
from hybridmodel.model import HybridModel


@dataclass
class Episode:
    """One environment's own policy, how many steps it has made, and y (ny,) of the last one."""

    policy: RecedingHorizon
    steps: int = 0
    measured: np.ndarray | None = None


@dataclass(frozen=True)
class Predictor:
    """A policy that plans, for tools that expect `predict`; made for one or for n environments.

    policy   what `receding_horizon` makes; it is the pattern of which every environment has a
             copy, and stays as it is
    measure  observation ↦ y (ny,), what the policy observes; None where they are the same
    act      u (nu,) ↦ action; None where they are the same
    seed     of the first environment's episodes, one more for each further one

    Angles among y go on from step to step without a jump.
    """

    policy: RecedingHorizon
    measure: Callable[[np.ndarray], np.ndarray] | None = None
    act: Callable[[np.ndarray], np.ndarray] | None = None
    seed: int = 0
    _rows: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.policy, RecedingHorizon):
            raise ValueError(
                "policy must be what hybridmodel.receding_horizon makes, got "
                f"{type(self.policy).__name__}"
            )
        outputs = self.policy.planner.problem.model.system.outputs
        object.__setattr__(self, "_rows", tuple(i for i, s in enumerate(outputs) if s.angle))

    def predict(
        self,
        observation: np.ndarray,
        state: tuple[Episode, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, tuple[Episode, ...]]:
        """The action for one observation (m,), or actions (n, …) for observations (n, m).

        state          what the call before returned, which this one uses up; None begins an
                       episode in every environment, so that nothing is remembered
        episode_start  (n,) where an episode begins now
        deterministic  read by nobody: the same seed gives the same actions

        Raises ValueError naming the argument where shapes do not fit.
        """
        seen = np.asarray(observation)
        if seen.ndim not in (1, 2):
            raise ValueError(
                f"observation must have shape (m,) or (n, m), got {seen.shape} of "
                f"{type(observation).__name__}"
            )
        rows = seen[None] if seen.ndim == 1 else seen
        if state is None:
            state = tuple(Episode(self._copy()) for _ in rows)
            begins = np.ones(len(rows), bool)
        elif not isinstance(state, tuple) or len(state) != len(rows):
            raise ValueError(f"state must be that of {len(rows)} environments, got {state!r}")
        else:
            begins = np.zeros(len(rows), bool)
        if episode_start is not None:
            marked = np.atleast_1d(np.asarray(episode_start, dtype=bool))
            if marked.shape != begins.shape:
                raise ValueError(
                    f"episode_start must have shape {begins.shape}, got {marked.shape}"
                )
            begins |= marked
        actions = []
        for i, (row, episode, begin) in enumerate(zip(rows, state, begins, strict=True)):
            if begin:
                episode.policy.reset(self.seed + i)
                episode.steps, episode.measured = 0, None
            actions.append(self._action(row, episode))
        return (actions[0] if seen.ndim == 1 else np.stack(actions)), state

    def _action(self, observation: np.ndarray, episode: Episode) -> np.ndarray:
        policy = episode.policy
        y = np.array(observation if self.measure is None else self.measure(observation), float)
        known = y.copy()
        if episode.measured is not None and episode.measured.shape == y.shape:
            before, turns = episode.measured, [i for i in self._rows if i < y.size]
            with np.errstate(invalid="ignore"):
                turned = y[turns] + 2 * np.pi * np.round((before[turns] - y[turns]) / (2 * np.pi))
            y[turns] = np.where(np.isfinite(turned), turned, y[turns])
            known = np.where(np.isfinite(y), y, before)  # what was lost goes on from the last
        u = policy(episode.steps * policy.planner.problem.model.dt, y)
        episode.steps, episode.measured = episode.steps + 1, known
        return u if self.act is None else np.asarray(self.act(u))

    def _copy(self) -> RecedingHorizon:
        """The same policy with an estimator of its own; planner and models are shared."""
        estimator = self.policy.estimator
        models = (part for part in vars(estimator).values() if isinstance(part, HybridModel))
        own = copy.deepcopy(estimator, {id(model): model for model in models})
        return replace(self.policy, estimator=own)
