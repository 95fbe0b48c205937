"""The cross-entropy method, all candidates in one batched rollout.

    uⁱ ~ N(μ, σ²) clipped to the bounds,  μ, σ ← mean and deviation of the best K of N

Rubinstein & Kroese, The Cross-Entropy Method, 2004, algorithm 2.2 with smoothing; kept elites
after Pinneri et al., CoRL 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hybridmodel.planners.sampling.search import Distribution, Round, Sampling


@dataclass(frozen=True, eq=False, kw_only=True)
class CEM(Sampling):
    """Cross-entropy method.

    elites      K best ones that move the distribution
    smoothing   share of the old μ and σ kept in an update
    keep        share of the elites that stay among the next N

    The rest is as in `Sampling`. Raises ValueError naming the argument.
    """

    elites: int = 50
    smoothing: float = 0.1
    keep: float = 0.3

    def __post_init__(self) -> None:
        check_elites(self.elites, self.samples)
        super().__post_init__()

    def update(self, judged: Round) -> Distribution:
        elite, _ = best_of(judged.points, judged.totals, self.elites)
        mean, deviation = fitted(elite, judged.distribution, self.smoothing)
        kept = elite[: round(self.keep * self.elites)]
        return Distribution(mean, deviation, torch.cat([mean[None], kept]))


def check_elites(elites: int, samples: int) -> None:
    """ValueError where there are not enough samples to choose from."""
    if not 2 <= elites < samples:
        raise ValueError(f"elites must lie in [2, samples), got {elites} of {samples}")


def best_of(points: Tensor, totals: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The best points (n, K, nu) and their totals (n,), best first; without infinite ones."""
    least, order = torch.topk(totals, count, largest=False)
    if not float(least[-1]) < torch.inf:
        known = least < torch.inf
        least, order = least[known], order[known]
    return points[order], least


def fitted(elite: Tensor, before: Distribution, smoothing: float) -> tuple[Tensor, Tensor]:
    """μ and σ (K, nu) of elites (n, K, nu), smoothed; as before where there are too few."""
    if len(elite) < 2:
        return before.mean, before.deviation
    mean = elite.mean(0)
    deviation = (elite - mean).square_().sum(0).div_(len(elite) - 1).sqrt_()
    return mean.lerp_(before.mean, smoothing), deviation.lerp_(before.deviation, smoothing)
