"""What a plan costs that an ensemble's members judge differently: one number from E costs.

Members go their own ways from one start under one sequence of inputs; J (E, …) are their costs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import casadi as ca
import torch
from torch import Tensor


class Risk(ABC):
    """A map J (E, …) ↦ (…), in torch and in nonlinear programs."""

    @abstractmethod
    def of(self, costs: Tensor) -> Tensor:
        """The value (…) of costs (E, …)."""

    @abstractmethod
    def program(self, costs: ca.MX) -> Program:
        """The same of costs (E, 1) for a minimiser, smooth with slack variables."""


@dataclass(frozen=True)
class Program:
    """minimise `value` over the slacks too, with `rows` ≤ 0."""

    value: ca.MX
    slacks: ca.MX
    rows: ca.MX
    start: ca.MX  # where the slacks begin


@dataclass(frozen=True)
class Expected(Risk):
    """mean_e J_e."""

    def of(self, costs: Tensor) -> Tensor:
        return costs.mean(0)

    def program(self, costs: ca.MX) -> Program:
        none = ca.MX(0, 1)
        return Program(ca.sum1(costs) / costs.shape[0], none, none, none)


@dataclass(frozen=True)
class Worst(Risk):
    """max_e J_e."""

    def of(self, costs: Tensor) -> Tensor:
        return costs.amax(0)

    def program(self, costs: ca.MX) -> Program:
        t = ca.MX.sym("worst")
        return Program(t, t, costs - _all(t, costs), ca.mmax(costs))


@dataclass(frozen=True)
class TailMean(Risk):
    """Conditional value at risk: the mean of the worst share α of members.

        min_t  t + Σ_e max(J_e − t, 0) / (α E)

    Rockafellar & Uryasev, Optimization of conditional value-at-risk, Journal of Risk 2000, eq. 3.
    α = 1 is the mean; α ≤ 1/E the worst member. Raises ValueError for α outside (0, 1].
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must lie in (0, 1], got {self.share!r}")

    def of(self, costs: Tensor) -> Tensor:
        count = max(1.0, self.share * len(costs))  # members, the last one in part
        ordered = costs.sort(0, descending=True).values
        weight = (count - torch.arange(len(costs), dtype=costs.dtype)).clamp(0, 1) / count
        return torch.tensordot(weight, ordered, 1)

    def program(self, costs: ca.MX) -> Program:
        E = costs.shape[0]
        t, above = ca.MX.sym("t"), ca.MX.sym("above", E)
        value = t + ca.sum1(above) / max(1.0, self.share * E)
        rows = ca.vertcat(costs - _all(t, costs) - above, -above)
        most = ca.mmax(costs)
        return Program(value, ca.vertcat(t, above), rows, ca.vertcat(most, ca.MX.zeros(E)))


@dataclass(frozen=True)
class MeanDeviation(Risk):
    """mean_e J_e + κ std_e J_e, with the unbiased deviation.

    Raises ValueError for a weight that is negative.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"weight must be at least 0, got {self.weight!r}")

    def of(self, costs: Tensor) -> Tensor:
        return costs.mean(0) + self.weight * costs.std(0)

    def program(self, costs: ca.MX) -> Program:
        E = costs.shape[0]
        mean, none = ca.sum1(costs) / E, ca.MX(0, 1)
        # the root has no slope where members agree: that far below rounding it is left out
        variance = ca.sumsqr(costs - _all(mean, costs)) / (E - 1)
        deviation = ca.sqrt(variance + 1e-12 * (1 + mean**2))
        return Program(mean + self.weight * deviation, none, none, none)


def _all(scalar: ca.MX, costs: ca.MX) -> ca.MX:
    """A scalar for each cost: of one that CasADi spreads itself it loses Jacobian entries."""
    return ca.repmat(scalar, costs.shape[0], 1)
