"""The cross-entropy method with elites that gradient steps improve.

    Pⁱ ← clip(Pⁱ − η σ ∘ Adam(∇J(Pⁱ)))  for each elite i, a few times; μ, σ ← their mean, deviation

Bharadhwaj, Xie & Shkurti, Model-Predictive Control via Cross-Entropy and Gradient-Based
Optimization, L4DC 2020, algorithm 1; Kingma & Ba, Adam, ICLR 2015, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hybridmodel.planners.cem import best_of, check_elites, fitted
from hybridmodel.planners.sampling.search import Distribution, Round, Sampling


@dataclass(frozen=True, eq=False, kw_only=True)
class RefinedCEM(Sampling):
    """Cross-entropy method refined by gradients through the model.

    elites      K best ones, which are improved and then move the distribution
    smoothing   share of the old μ and σ kept in an update
    keep        share of the elites that stay among the next N
    steps       gradient steps of each elite and iteration
    rate        η, the length of a step in deviations of the distribution

    An elite never gets worse: the best of its steps is taken. The rest is as in `Sampling`.
    Raises ValueError naming the argument.
    """

    samples: int = 200
    elites: int = 20
    smoothing: float = 0.1
    keep: float = 0.3
    steps: int = 3
    rate: float = 0.5

    def __post_init__(self) -> None:
        check_elites(self.elites, self.samples)
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not self.rate > 0:
            raise ValueError(f"rate must be positive, got {self.rate}")
        super().__post_init__()

    def update(self, judged: Round) -> Distribution:
        before = judged.distribution
        elite, totals = best_of(judged.points, judged.totals, self.elites)
        if len(elite):
            elite, totals = self._descended(elite, totals, before.deviation, judged.judge)
            elite = elite[torch.argsort(totals, stable=True)]
        mean, deviation = fitted(elite, before, self.smoothing)
        kept = elite[: round(self.keep * self.elites)]
        return Distribution(mean, deviation, torch.cat([mean[None], kept]))

    def _descended(
        self, points: Tensor, totals: Tensor, length: Tensor, judge: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The best of each point's steps, and its total."""
        best, least = points.clone(), totals.clone()
        first, second = torch.zeros_like(points), torch.zeros_like(points)
        for step in range(1, self.steps + 2):
            with torch.enable_grad():
                free = points.clone().requires_grad_(step <= self.steps)
                now = judge(free)
                slope = torch.zeros_like(points)
                if free.requires_grad:
                    (slope,) = torch.autograd.grad(now.sum(), free)
            now = now.detach()
            better = now < least
            best, least = torch.where(better[:, None, None], points, best), now.minimum(least)
            slope = slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            first = 0.9 * first + 0.1 * slope
            second = 0.99 * second + 0.01 * slope**2
            root = (second / (1 - 0.99**step)).sqrt() + torch.finfo(points.dtype).tiny
            move = first / (1 - 0.9**step) / root
            points = self.space.clipped(points - self.rate * length * move)
        return best, least
