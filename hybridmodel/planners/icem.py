"""iCEM, the cross-entropy method for few samples and real time.

    N_i = max(N γ^{1−i}, 2K) candidates with coloured noise in iteration i = 1, 2, …

Pinneri et al., Sample-efficient Cross-Entropy Method for Real-time Planning, CoRL 2020, algorithm
1: coloured noise, elites kept from iteration to iteration and from plan to plan, a shifted mean,
ever fewer samples, the mean among the last of them, and the best of all as the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from hybridmodel.planners.cem import best_of, check_elites, fitted
from hybridmodel.planners.sampling.search import Distribution, Round, Sampling


@dataclass(frozen=True, eq=False, kw_only=True)
class ICEM(Sampling):
    """Improved cross-entropy method.

    elites      K best ones that move the distribution
    momentum    share of the old μ and σ kept in an update
    keep        share of the elites that stay, also for the next plan
    decay       γ by which candidates become fewer from one iteration to the next

    A warm start gives the mean, and where it is a plan of this planner its elites too: shift it
    with `Plan.shift`. The rest is as in `Sampling`. Raises ValueError naming the argument.
    """

    colour: float = 1.0
    elites: int = 20
    momentum: float = 0.1
    keep: float = 0.3
    decay: float = 1.25

    carries: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_elites(self.elites, self.samples)
        if not self.decay >= 1:
            raise ValueError(f"decay must be at least 1, got {self.decay}")
        super().__post_init__()

    def count(self, iteration: int) -> int:
        fewer = round(self.samples * self.decay ** (1 - iteration))
        return max(fewer, min(2 * self.elites, self.samples))

    def update(self, judged: Round) -> Distribution:
        elite, _ = best_of(judged.points, judged.totals, self.elites)
        mean, deviation = fitted(elite, judged.distribution, self.momentum)
        joining = elite[: round(self.keep * self.elites)]
        if judged.iteration == self.iterations - 1:
            joining = torch.cat([mean[None], joining])
        return Distribution(mean, deviation, joining)
