"""Many small least-squares problems in a box, side by side.

    min ‖e(v)‖²,  −1 ≤ v ≤ 1:   v ← Π(v + δ),  (JᵀJ + μ D) δ = −Jᵀe on the free entries

Levenberg–Marquardt with D = diag JᵀJ (Marquardt 1963) on the entries that are not held at a bound
(Bertsekas, Projected Newton Methods, SIAM J. Control 1982, section 2), Π the projection on the box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_DAMPING, _WORSE, _BETTER = 1e-3, 8.0, 0.2  # μ at first, and its factors after a step
_DAMPED = 1e9  # largest μ, at which no step that helps is to be found


@dataclass(frozen=True)
class Solved:
    """The best v (B, m) of each problem, its cost (B,), and how many steps were tried."""

    v: Tensor
    cost: Tensor
    iterations: int


def boxed_least_squares(
    residuals: Callable[[Tensor], Tensor],
    slopes: Callable[[Tensor], tuple[Tensor, Tensor]],
    start: Tensor,
    *,
    iterations: int,
    tolerance: float,
) -> Solved:
    """From v (B, m) with e = residuals(v) (B, n) and e, J (B, n, m) = slopes(v).

    Each problem has its own damping μ. What is not finite counts as worse than anything. The
    search ends after `iterations`, or where each problem's last step that helped brought less than
    a share of `tolerance`.
    """
    v = start.detach().clamp(-1, 1)
    with torch.no_grad():
        e, J = slopes(v)
        cost = _cost(e)
        mu = torch.full_like(cost, _DAMPING)
        settled = cost == 0
        done = 0
        for done in range(1, iterations + 1):
            moved = (v + _step(v, e, J, mu)).clamp(-1, 1)
            now = _cost(residuals(moved))
            better = now < cost
            little = cost - now <= tolerance * cost
            settled = torch.where(better, little, settled | (mu >= _DAMPED))
            v = torch.where(better[:, None], moved, v)
            cost = torch.where(better, now, cost)
            mu = torch.where(better, mu * _BETTER, mu * _WORSE).clamp(1e-9, _DAMPED)
            if bool(settled.all()):
                break
            if done < iterations and bool(better.any()):
                e, J = slopes(v)
    return Solved(v, cost, done)


def _cost(e: Tensor) -> Tensor:
    return torch.nan_to_num(e.square().sum(-1), nan=torch.inf)


def _step(v: Tensor, e: Tensor, J: Tensor, mu: Tensor) -> Tensor:
    """δ (B, m), zero on entries that are held."""
    gradient = torch.einsum("bnm,bn->bm", J, e)
    held = ((v <= -1) & (gradient > 0)) | ((v >= 1) & (gradient < 0))
    free = (~held).to(v)
    normal = torch.einsum("bnm,bnk->bmk", J, J)
    scale = normal.diagonal(dim1=1, dim2=2)
    # of each problem: one that runs away must not hold the others
    scale = torch.maximum(scale, 1e-12 + 1e-9 * scale.amax(1, keepdim=True))
    normal = normal * free[:, :, None] * free[:, None, :]
    normal = normal + torch.diag_embed(mu[:, None] * scale + 1e-12 + (1 - free))
    known = torch.isfinite(normal).flatten(1).all(1) & torch.isfinite(gradient).all(1)
    eye = torch.eye(v.shape[1], dtype=v.dtype)
    normal = torch.where(known[:, None, None], normal, eye)
    step, _ = torch.linalg.solve_ex(normal, -(gradient * free)[..., None])
    return torch.nan_to_num(step[..., 0]) * known[:, None]
