"""How a few points become the inputs of a horizon: U = M P.

M (H, K) is fixed, P (K, nu) is what a planner searches over. Points of given inputs are M⁺ U, the
nearest ones in the sense of least squares, and M M⁺ is a projection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.interpolate import CubicSpline


class Knots(ABC):
    """A fixed linear map from K points to H inputs.

    relative   whether points are changes of the input before x₀, and inputs sums of them;
               otherwise points are inputs themselves, and the rows of M sum to one
    """

    relative: ClassVar[bool] = False

    @abstractmethod
    def matrix(self, horizon: int) -> np.ndarray:
        """M (H, K). Raises ValueError where the horizon is too short."""

    def pseudo_inverse(self, horizon: int) -> np.ndarray:
        """M⁺ (K, H), of Moore and Penrose."""
        return np.linalg.pinv(self.matrix(horizon))


@dataclass(frozen=True)
class EveryStep(Knots):
    """Every input is free: M = I."""

    def matrix(self, horizon: int) -> np.ndarray:
        return np.eye(horizon)


@dataclass(frozen=True)
class Held(Knots):
    """Each point is held for some steps (action repeat), the last one for what is left.

    Raises ValueError where steps is below 1.
    """

    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def matrix(self, horizon: int) -> np.ndarray:
        piece = np.arange(horizon) // self.steps
        return (piece[:, None] == np.arange(piece[-1] + 1)).astype(float)


@dataclass(frozen=True)
class LinearKnots(Knots):
    """Inputs are linear between evenly spaced points, the first and last of them included."""

    count: int

    def matrix(self, horizon: int) -> np.ndarray:
        position = _positions(self.count, horizon)
        return np.clip(1 - np.abs(position[:, None] - np.arange(self.count)), 0, None)


@dataclass(frozen=True)
class CubicKnots(Knots):
    """A cubic spline through evenly spaced points, which keeps every cubic as it is.

    Ends are "not a knot": the first two pieces are one cubic, and the last two. de Boor, A
    Practical Guide to Splines, 1978, chapter IV. The curve may leave the range of its points.
    """

    count: int

    def matrix(self, horizon: int) -> np.ndarray:
        position = _positions(self.count, horizon)
        return CubicSpline(np.arange(self.count), np.eye(self.count), axis=0)(position)


@dataclass(frozen=True)
class Rates(Knots):
    """Inputs are the sum of their changes: uₖ = u₋₁ + c Σ_{j≤k} pⱼ, c = √(2/(H+1)).

    White noise in p makes smooth inputs; c makes their mean variance over the horizon that of p.
    Lifting of the inputs as in smooth MPPI, Kim, Park, Yoo & Chang, Smooth Model Predictive Path
    Integral Control without Smoothing, RA-L 2022, with the sum along the horizon.
    """

    relative: ClassVar[bool] = True

    def matrix(self, horizon: int) -> np.ndarray:
        return np.tri(horizon) * np.sqrt(2 / (horizon + 1))


def of(knots: int | Knots | None) -> Knots:
    """Knots from what planners are given: a number of linear ones, None for every step free."""
    if isinstance(knots, Knots):
        return knots
    if knots is None:
        return EveryStep()
    if isinstance(knots, int) and not isinstance(knots, bool):
        return LinearKnots(knots)
    raise ValueError(f"knots must be a number, a Knots or None, got {knots!r}")


def _positions(count: int, horizon: int) -> np.ndarray:
    """Where the steps (H,) lie between points at 0, 1, …"""
    if not 2 <= count <= horizon:
        raise ValueError(f"knots must lie in [2, horizon {horizon}], got {count}")
    return np.linspace(0, count - 1, horizon)
