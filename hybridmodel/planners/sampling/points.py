"""Points that a planner searches over, and the inputs that they stand for.

    u = m + h ∘ clip(o + M p, −1, 1)

p (K, nu) in half input ranges about the middle of the range, M (H, K) of the knots, m and h (nu,)
that middle and half range, o (nu,) the level of the input before x₀ where points are changes of it
and 0 elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hybridmodel.planners.sampling.knots import Knots


@dataclass(frozen=True, eq=False)
class Points:
    """The map between points and inputs of a horizon inside finite bounds low, high (nu,).

    Raises ValueError where the horizon is too short for the knots.
    """

    knots: Knots
    horizon: int
    low: np.ndarray
    high: np.ndarray
    dtype: torch.dtype

    def __post_init__(self) -> None:
        self.matrix  # noqa: B018 - it may raise

    @cached_property
    def matrix(self) -> Tensor:
        """M (H, K) in float64."""
        return torch.from_numpy(np.array(self.knots.matrix(self.horizon)))

    @cached_property
    def pseudo_inverse(self) -> Tensor:
        """M⁺ (K, H); numpy's, since torch.linalg.lstsq gives other bits for other addresses."""
        return torch.from_numpy(np.array(self.knots.pseudo_inverse(self.horizon)))

    @property
    def count(self) -> int:
        """K."""
        return self.matrix.shape[1]

    def origin(self, previous: np.ndarray | None) -> Tensor:
        """o (nu,) from the input before x₀; the middle of the range where that is not known."""
        if previous is None or not self.knots.relative:
            return torch.zeros(len(self.low), dtype=torch.float64)
        return self.levels(torch.from_numpy(previous))

    def levels(self, u: Tensor) -> Tensor:
        """Inputs (…, nu) in half ranges about the middle; what lies outside is moved in."""
        middle, half = self._range
        return ((u - middle) / torch.where(half > 0, half, 1)).clamp(-1, 1)

    def nearest(self, u: Tensor, origin: Tensor) -> Tensor:
        """Points (…, K, nu) whose inputs come nearest to these (…, H, nu)."""
        points = self.pseudo_inverse @ (self.levels(u.double()) - origin)
        return self.clipped(points.to(self.dtype))

    def clipped(self, points: Tensor) -> Tensor:
        """Points that are inputs themselves are kept inside the bounds, in place."""
        return points if self.knots.relative else points.clamp_(-1, 1)

    def inputs(self, points: Tensor, origin: Tensor) -> Tensor:
        """Inputs (…, H, nu) of clipped points (…, K, nu), inside the bounds up to rounding."""
        middle, half = self._cast
        levels = points if self._across is None else along(self._across, points)
        if self.knots.relative:
            levels = levels + origin.to(self.dtype)
        if not self._convex:
            levels = levels.clamp(-1, 1)
        return torch.addcmul(middle, half, levels)

    @cached_property
    def _range(self) -> tuple[Tensor, Tensor]:
        low, high = torch.from_numpy(self.low), torch.from_numpy(self.high)
        return (low + high) / 2, (high - low) / 2

    @cached_property
    def _cast(self) -> tuple[Tensor, Tensor]:
        middle, half = self._range
        return middle.to(self.dtype), half.to(self.dtype)

    @cached_property
    def _across(self) -> Tensor | None:
        """M for `along`, None where it is the identity."""
        H, K = self.matrix.shape
        if H == K and torch.equal(self.matrix, torch.eye(H, dtype=self.matrix.dtype)):
            return None
        return across(self.matrix, len(self.low)).to(self.dtype)

    @cached_property
    def _convex(self) -> bool:
        """Whether inputs lie between their points, so that clipping these is enough."""
        return not self.knots.relative and bool((self.matrix >= 0).all())


def across(matrix: Tensor, inputs: int) -> Tensor:
    """(K·nu, H·nu) of a matrix (H, K), for `along`."""
    return torch.kron(matrix, torch.eye(inputs, dtype=matrix.dtype)).T.contiguous()


def along(matrix: Tensor, rows: Tensor) -> Tensor:
    """M P (…, H, nu) of rows P (…, K, nu) as one product, since many small ones are slow."""
    return (rows.flatten(-2) @ matrix).unflatten(-1, (-1, rows.shape[-1]))


def within_rate(u: Tensor, before: Tensor, change: Tensor) -> Tensor:
    """Inputs (…, H, nu) of which each is moved to within `change` (nu,) of the one before."""
    moved = []
    for row in u.unbind(-2):
        before = torch.clamp(row, before - change, before + change)
        moved.append(before)
    return torch.stack(moved, -2)
