"""Random shooting: the best of N random input sequences.

    uⁱ ~ N(μ, σ²) clipped to the bounds,  u = argminᵢ J(uⁱ)

Rao, A survey of numerical methods for optimal control, 2009, section 6, for the name; with a warm
start as mean it is predictive sampling, Howell et al., Predictive Sampling: Real-time Behaviour
Synthesis with MuJoCo, 2022, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hybridmodel.planners.sampling.search import Distribution, Round, Sampling


@dataclass(frozen=True, eq=False, kw_only=True)
class RandomShooting(Sampling):
    """Random shooting; more iterations draw again from the same distribution.

    Arguments are those of `Sampling`. Raises ValueError naming the argument.
    """

    iterations: int = 1

    def update(self, judged: Round) -> Distribution:
        before = judged.distribution
        return replace(before, joining=before.joining[:0])  # they were judged
