"""Model predictive path integral control (MPPI), information-theoretic and annealed.

    wⁱ ∝ exp(−(Sⁱ − minⱼ Sʲ)/λ),  Sⁱ = J(Pⁱ) + λ (1 − α) Σ μᵀ Σ⁻¹ εⁱ,  εⁱ = Pⁱ − μ,
    μ ← μ + Σᵢ wⁱ εⁱ,   σ ← ρ σ

Williams et al., Information Theoretic MPC for Model-Based Reinforcement Learning, ICRA 2017;
Williams et al., Information-Theoretic Model Predictive Control: Theory and Applications to
Autonomous Driving, T-RO 2018, algorithms 1 and 2 (α there; the base distribution's mean is the
middle of the input range; Σ = diag σ² of the points, whatever the colour of their noise). ρ < 1
anneals the noise from iteration to iteration, as in Xue et al., Full-Order Sampling-Based MPC for
Torque-Level Locomotion Control via Diffusion-Style Annealing, 2024. `knots=Rates()` lifts the
inputs to their rates (smooth MPPI, Kim et al., RA-L 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hybridmodel.planners.sampling.search import Distribution, Round, Sampling

_REACH = 1e3  # λ is sought this factor below and above the scale of the totals
_BISECTIONS = 16  # of log λ, which leave 1e-4


@dataclass(frozen=True, eq=False, kw_only=True)
class MPPI(Sampling):
    """Path integral control.

    temperature    λ in units of the cost; None: such that the effective number of samples,
                   1/Σ(wⁱ)², is the share `effective` of them
    effective      that share, in (0, 1]
    control_cost   1 − α in [0, 1], the weight of the control cost term above; 0 leaves the cost of
                   inputs to the problem's own objective
    anneal         ρ in (0, 1], the factor on σ from one iteration to the next

    The weighted mean is the plan unless a candidate or the warm start is better. The rest is as
    in `Sampling`. Raises ValueError naming the argument.
    """

    temperature: float | None = None
    effective: float = 0.05
    control_cost: float = 0.0
    anneal: float = 0.7

    averages: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.temperature is not None and not self.temperature > 0:
            raise ValueError(f"temperature must be positive or None, got {self.temperature}")
        for name in ("effective", "anneal"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in (0, 1], got {getattr(self, name)}")
        if not 0 <= self.control_cost <= 1:
            raise ValueError(f"control_cost must lie in [0, 1], got {self.control_cost}")
        super().__post_init__()

    def update(self, judged: Round) -> Distribution:
        before, points = judged.distribution, judged.points
        mean, deviation = before.mean, before.deviation * self.anneal
        totals = judged.totals.double()
        control = torch.zeros_like(totals)
        if self.control_cost:
            slope = before.mean / before.deviation**2
            control = self.control_cost * ((points - mean) * slope).sum((1, 2)).double()
        scale = self.temperature
        if scale is None:
            scale = temperature(totals, control, self.effective * len(totals))
        if torch.isfinite(totals).any():
            w = weights(totals, scale, control).to(points)
            mean = torch.tensordot(w, points, 1)
        return Distribution(mean, deviation, mean[None])


def weights(totals: Tensor, temperature: float, control: Tensor | float = 0.0) -> Tensor:
    """w (N,) ∝ exp(−totals/λ − control); totals of inf weigh nothing, at least one is finite."""
    return torch.softmax(-(totals - totals.min()) / temperature - control, -1)


def temperature(totals: Tensor, control: Tensor, effective: float) -> float:
    """λ at which 1/Σw² is `effective`, by bisection; 1/Σw² grows with λ.

    Where no λ within three decades of the totals' own scale does it, as where there are fewer
    finite ones, the end of that range; 1 where all finite totals are equal.
    """
    known = torch.isfinite(totals)
    S, c = totals[known].numpy(), control[known].numpy()
    if not len(S):
        return 1.0
    S = S - S.min()
    rank = min(round(effective), len(S) - 1)
    scale = float(np.partition(S, rank)[rank]) or float(S.mean())
    if not 0 < scale < np.inf:
        return 1.0
    low, high = scale / _REACH, scale * _REACH
    for _ in range(_BISECTIONS):
        middle = (low * high) ** 0.5
        exponent = -S / middle - c
        w = np.exp(exponent - exponent.max())
        if w.sum() ** 2 < effective * (w @ w):
            low = middle
        else:
            high = middle
    return (low * high) ** 0.5
