"""Projected L-BFGS of several sequences side by side, all step lengths of a search in one batch.

    v ← Π(v + α d),  d = −H ∇J over what is free,  H from the last pairs s = Δv, y = Δ∇J

Free is what is not at a bound that −∇J points out of. Nocedal & Wright, Numerical Optimization,
2nd ed. 2006, algorithm 7.4 (the product H ∇J) and eq. 7.20 (its first scale); Bertsekas, SIAM J.
Control Optim. 20 (1982) 221 (which entries are free).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Valued = Callable[[Tensor], tuple[Tensor, Tensor]]
_LENGTHS = (1.0, 0.25, 0.0625, 4.0)  # α, tried at once
_SHORTER = 1e-2  # of the lengths, where none of them was better
_CURVED = 1e-12  # least sᵀy of a pair, of |s| |y|


class QuasiNewton:
    """Sequences v (B, n) inside [low, high] (n,) and what is known of J around each.

    value     v (N, n) ↦ J and ∇J, which are never nan; J may be inf
    memory    pairs that are kept

    `v`, `least` (B,) and `gradient` (B, n) are of the best so far, which never get worse;
    `move` (B,) is the largest change of an entry that a whole step would make, `slope` (B,) that of
    a step −∇J, which stays large at a kink.
    """

    def __init__(
        self, value: Valued, v: Tensor, low: Tensor, high: Tensor, *, memory: int = 20
    ) -> None:
        self.value, self.low, self.high, self.memory = value, low, high, memory
        self.v = v
        self.least, self.gradient = value(v)
        self.length = torch.ones_like(self.least)
        self.move = self.slope = torch.full_like(self.least, torch.inf)
        self._pairs: list[tuple[Tensor, Tensor, Tensor]] = []  # s, y and 1/sᵀy, 0 for none

    def step(self) -> None:
        """One search along the direction of each sequence."""
        free = self._free()
        d = self._direction(free)
        self.move = (self._projected(self.v + d) - self.v).abs().amax(-1)
        self.slope = (self._projected(self.v - self.gradient) - self.v).abs().amax(-1)
        alpha = self.v.new_tensor(_LENGTHS)[:, None] * self.length  # (T, B)
        tried = self._projected(self.v + alpha[..., None] * d)
        totals, slopes = (
            each.unflatten(0, tried.shape[:2]) for each in self.value(tried.flatten(0, 1))
        )
        best = totals.argmin(0)
        rows = torch.arange(len(best))
        v, total, slope = tried[best, rows], totals[best, rows], slopes[best, rows]
        better = total < self.least
        self._remember(better, v - self.v, slope - self.gradient)
        self.v = torch.where(better[:, None], v, self.v)
        self.gradient = torch.where(better[:, None], slope, self.gradient)
        self.least = torch.where(better, total, self.least)
        self.length = torch.where(better, 1.0, _SHORTER * self.length)

    def _projected(self, v: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(v, self.low), self.high)

    def _free(self) -> Tensor:
        g = self.gradient
        return ~(((self.v <= self.low) & (g > 0)) | ((self.v >= self.high) & (g < 0)))

    def _direction(self, free: Tensor) -> Tensor:
        """−H ∇J (B, n), or −∇J of a first step's size where that does not descend."""
        g = torch.where(free, self.gradient, 0.0)
        q, shares = g, []
        for s, y, rho in reversed(self._pairs):
            a = rho * (s * q).sum(-1)
            q = q - a[:, None] * torch.where(free, y, 0.0)
            shares.append(a)
        q = self._scale(g)[:, None] * q
        for (s, y, rho), a in zip(self._pairs, reversed(shares), strict=True):
            b = rho * (torch.where(free, y, 0.0) * q).sum(-1)
            q = q + torch.where(free, s, 0.0) * (a - b)[:, None]
        d = -torch.where(free, q, 0.0)
        descends = ((d * g).sum(-1) < 0) & d.isfinite().all(-1) & (self.length == 1)
        return torch.where(descends[:, None], d, -self._first(g)[:, None] * g)

    def _scale(self, g: Tensor) -> Tensor:
        """sᵀy / yᵀy of the last pair of each sequence, a first step's size before there is one."""
        scale = self._first(g)
        for s, y, rho in self._pairs:
            scale = torch.where(rho > 0, (s * y).sum(-1) / (y * y).sum(-1), scale)
        return scale

    @staticmethod
    def _first(g: Tensor) -> Tensor:
        """So that no entry moves by more than a hundredth."""
        return 1e-2 / g.abs().amax(-1).clamp_min(torch.finfo(g.dtype).tiny)

    def _remember(self, better: Tensor, s: Tensor, y: Tensor) -> None:
        curvature = (s * y).sum(-1)
        known = better & (curvature > _CURVED * s.norm(dim=-1) * y.norm(dim=-1))
        rho = torch.where(known, 1 / curvature, 0.0)
        if bool(known.any()):
            self._pairs = [*self._pairs, (s, y, rho)][-self.memory :]
