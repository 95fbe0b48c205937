"""Steps of an environment or of a model, with their rewards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybridmodel.collection import Environment, Policy, collect
from hybridmodel.data import Trajectory


@dataclass(frozen=True)
class Transitions:
    """N steps: x (N, nx), u (N, nu), reward (N,), after (N, nx), ended (N,) bool, in float64.

    ended   the episode terminated with the step: nothing of value follows; an episode that was
            cut by a limit of time has not
    """

    x: Tensor
    u: Tensor
    reward: Tensor
    after: Tensor
    ended: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def at(self, index: Tensor) -> Transitions:
        """The steps of these numbers, or of this mask."""
        return Transitions(*(getattr(self, f.name)[index] for f in fields(self)))

    def drawn(self, count: int, generator: torch.Generator) -> Transitions:
        """So many of them, drawn with replacement."""
        return self.at(torch.randint(len(self), (count,), generator=generator))

    @classmethod
    def joined(cls, parts: list[Transitions]) -> Transitions:
        """All steps of several."""
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))


@dataclass(frozen=True)
class Episode:
    """One log with the rewards (T,) of its steps, and whether it terminated at its end.

    direct   the outputs y are the states, with the sensors' noise
    """

    log: Trajectory
    rewards: np.ndarray
    ended: bool
    direct: bool = True

    @property
    def value(self) -> float:
        """The return Σ rₖ, without discount."""
        return float(self.rewards.sum())

    @property
    def steps(self) -> int:
        return self.log.steps

    def transitions(self) -> Transitions:
        """Its steps; states are those measured, as policies see them, or, where the outputs are
        others, those that the plant tells. ValueError where it tells none."""
        states = self.log.y if self.direct else self.log.x
        if states is None:
            raise ValueError("episode: its plant measures no states, and tells none")
        x = torch.tensor(states)
        ended = torch.zeros(self.steps, dtype=torch.bool)
        ended[-1] = self.ended
        return Transitions(
            x[:-1], torch.tensor(self.log.u), torch.tensor(self.rewards), x[1:], ended
        )


def run_episode(
    environment: Environment,
    policy: Policy,
    *,
    steps: int,
    seed: int | None = None,
    state: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Episode:
    """`collect` that keeps rewards; the arguments are those of `collect`."""
    noted = _Noted(environment)
    log = collect(noted, policy, steps=steps, seed=seed, state=state, progress=progress)
    system = getattr(environment, "system", None)
    direct = system is None or system.outputs == system.states
    return Episode(log, np.array(noted.rewards), noted.ended, direct)


class _Noted:
    """An environment whose rewards are written down."""

    def __init__(self, environment: Environment) -> None:
        self._environment, self.dt = environment, environment.dt
        self.rewards: list[float] = []
        self.ended = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.rewards, self.ended = [], False
        return self._environment.reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        found = self._environment.step(action)
        reward = float(found[1])
        if not np.isfinite(reward):
            raise ValueError(f"environment: its reward of step {len(self.rewards)} is {reward}")
        self.rewards.append(reward)
        self.ended = bool(found[2])
        return found
