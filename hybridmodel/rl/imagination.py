"""One step of a model as if it were the plant: where, with what reward, and whether to trust it.

x⁺ ~ F_e(x, u),    r(x, u) − λ δ(x, u),    trusted where δ(x, u) ≤ stop
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from hybridmodel.density import sample
from hybridmodel.model import HybridModel
from hybridmodel.uncertainty import disagreement
from physics import System
from residuals import Probabilistic

Members = Literal["random", "fixed", "mean"]
RewardOf = Callable[[Tensor, Tensor], Tensor]
Ended = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class OutOfBounds:
    """Whether the state after a step (…, nx) has left the bounds of its signals, as plants end."""

    system: System

    def __call__(self, x: Tensor, u: Tensor, after: Tensor) -> Tensor:
        low, high = (
            torch.tensor([getattr(s, end) for s in self.system.states], dtype=after.dtype)
            for end in ("low", "high")
        )
        state = after[..., : len(low)]
        return ((state < low) | (state > high)).any(-1)


class Imagined(NamedTuple):
    """reward (N,), after (N, nx), ended (N,) and trusted (N,) of a step."""

    reward: Tensor
    after: Tensor
    ended: Tensor
    trusted: Tensor


@dataclass(frozen=True, eq=False)
class Imagination:
    """A model with a reward, an end, and how far it is believed.

    reward     r (…) of x (…, nx) and u (…, nu): a `Reward` that does not depend on the step k
    member     "random": one of the ensemble anew for each step (TS1); "fixed": one for each
               rollout (TS∞); "mean": F of their mean correction. A model without members has but
               itself
    noise      draw from the model's density (`hybridmodel.density`) instead of taking F itself;
               an ensemble's variances are what its noise is only after a fit by likelihood
    stop       largest δ of a step that is trusted; None trusts all whose numbers are finite
    penalty    λ ≥ 0, in units of reward
    ended      whether a step (x, u, x⁺) terminates; default: where x⁺ leaves the signals' bounds,
               in place of which it stands

    δ is `hybridmodel.uncertainty.disagreement`. Raises ValueError naming the argument.
    """

    model: HybridModel
    reward: RewardOf
    member: Members = "random"
    noise: bool = False
    stop: float | None = None
    penalty: float = 0.0
    ended: Ended | None = None

    def __post_init__(self) -> None:
        if self.member not in get_args(Members):
            raise ValueError(f"member must be one of {get_args(Members)}, got {self.member!r}")
        if self.stop is not None and not self.stop > 0:
            raise ValueError(f"stop must be positive or None, got {self.stop}")
        if not 0 <= self.penalty < math.inf:
            raise ValueError(f"penalty must be at least 0, got {self.penalty}")
        if getattr(self.reward, "timed", False):
            raise ValueError(
                "reward: it depends on the step k, which an imagined step does not know"
            )
        if self.model.system.nd:
            raise ValueError("model: it needs exogenous signals, which nobody imagines")
        known = isinstance(self.model.residual, Probabilistic)
        if (self.stop is not None or self.penalty) and not known:
            raise ValueError("stop and penalty need a model whose residual knows its doubt")

    @property
    def count(self) -> int:
        """Members that a step may be one of."""
        residual = self.model.residual
        if isinstance(residual, Probabilistic) and self.member != "mean":
            return residual.count
        return 1

    def drawn(self, rows: int, generator: torch.Generator) -> Tensor:
        """A member (rows,) for each rollout."""
        return torch.randint(self.count, (rows,), generator=generator)

    def step(self, x: Tensor, u: Tensor, chosen: Tensor, generator: torch.Generator) -> Imagined:
        """From x (N, nx) with u (N, nu); `chosen` (N,) counts where members are fixed."""
        told = self.reward(x, u)
        if told.shape != x.shape[:-1]:
            raise ValueError(f"reward must give {tuple(x.shape[:-1])}, got {tuple(told.shape)}")
        doubt = torch.zeros_like(told)
        if self.stop is not None or self.penalty:
            doubt = disagreement(self.model, x, u)
        if self.member == "random":
            chosen = self.drawn(len(x), generator)
        after = self._after(x, u, chosen, generator)
        ended = (OutOfBounds(self.model.system) if self.ended is None else self.ended)(x, u, after)
        reward = told - self.penalty * doubt
        # in float32, in which policies learn: 1e40 is no number there
        trusted = torch.isfinite(after.float()).all(-1) & torch.isfinite(reward.float())
        if self.stop is not None:
            trusted &= doubt <= self.stop
        return Imagined(reward, after, ended, trusted)

    def _after(self, x: Tensor, u: Tensor, chosen: Tensor, generator: torch.Generator) -> Tensor:
        model, noise = self.model, self.noise
        if self.count == 1:
            return sample(model, x, u, generator=generator) if noise else model(x, u)
        if noise:
            each = sample(model, x[None], u[None], generator=generator, member="each")
        else:
            each = model(x[None], u[None], member="each")
        return each[chosen, torch.arange(len(x))]
