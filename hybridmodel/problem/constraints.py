"""What a plan must keep, and what it should keep at a price."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import casadi as ca

Constraint = Callable[..., ca.SX]


@dataclass(frozen=True)
class Soft:
    """A constraint that may be overstepped at a cost, added to ℓ or V where it is asked.

        Σᵢ λ h(sᵢ) + ½ μ sᵢ²,   s = max(g, 0) of an inequality, |h| of an equality
        h(s) = s²/(2 ε) below ε, s − ε/2 above

    constraint  as a hard one: (x, u, π) ↦ SX column, at the end (x, π) ↦ SX column
    linear      λ, cost of one unit; where it exceeds what the constraint is worth, it is kept
    quadratic   μ, cost of a unit squared
    width       ε > 0, below which the linear part is round, so that all of it has slopes

    Raises ValueError naming the argument.
    """

    constraint: Constraint
    linear: float = 0.0
    quadratic: float = 0.0
    width: float = 1e-3

    def __post_init__(self) -> None:
        if not callable(self.constraint):
            raise ValueError(f"constraint must be a function, got {self.constraint!r}")
        for name in ("linear", "quadratic"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a cost of at least 0, got {value!r}")
        if not 0 < self.width < math.inf:
            raise ValueError(f"width must be positive, got {self.width!r}")

    def cost(self, amount: ca.SX) -> ca.SX:
        """Of amounts s ≥ 0 (n,)."""
        rounded = ca.if_else(
            amount < self.width, amount**2 / (2 * self.width), amount - self.width / 2
        )
        return self.linear * ca.sum1(rounded) + self.quadratic / 2 * ca.sumsqr(amount)


Given = Constraint | Soft | Sequence[Constraint | Soft] | None


@dataclass(frozen=True)
class Constraints:
    """The constraints of one kind: `rows` of the hard ones, what the soft ones cost."""

    name: str
    hard: tuple[Constraint, ...]
    soft: tuple[Soft, ...]

    def rows(self, *at: ca.SX) -> ca.SX:
        """The hard ones in one column."""
        return ca.vertcat(ca.SX(0, 1), *(self._column(c, at) for c in self.hard))

    def cost(self, *at: ca.SX) -> ca.SX:
        """What it costs to overstep the soft ones."""
        total = ca.SX(0)
        for soft in self.soft:
            value = self._column(soft.constraint, at)
            kept = ca.fabs(value) if "inequality" not in self.name else above(value)
            total += soft.cost(kept)
        return total

    def _column(self, constraint: Constraint, at: tuple[ca.SX, ...]) -> ca.SX:
        value = ca.SX(constraint(*at))
        if value.shape[1] != 1:
            raise ValueError(f"{self.name} must return a column, got shape {value.shape}")
        return ca.densify(value)


def constraints(name: str, given: Given) -> Constraints:
    """From one constraint, several, or none. Raises ValueError for what is no constraint."""
    several = () if given is None else given if isinstance(given, Sequence) else (given,)
    for one in several:
        if not (isinstance(one, Soft) or callable(one)):
            raise ValueError(f"{name} must be a function or Soft, or a list of these, got {one!r}")
    soft = tuple(one for one in several if isinstance(one, Soft))
    hard = tuple(one for one in several if not isinstance(one, Soft))
    return Constraints(name, hard, soft)


def above(value: Any) -> Any:
    """max(value, 0); NaN stays NaN, which fmax would lose."""
    return ca.if_else(value <= 0, 0, value)
