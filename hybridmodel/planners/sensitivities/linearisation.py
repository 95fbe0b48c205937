"""The conditions of optimality at a plan's active constraints, linearised and factorised once.

    K [dz, dν] = −dr,    K = [∇²L  Aᵀ; A  0],    r = (∇_z L, c)

K is symmetric, sparse in stages, and has no rows for inputs at their bounds. Nocedal & Wright,
Numerical Optimization, 2006, eq. 18.6; derivatives of a solution: Fiacco, Introduction to
Sensitivity and Stability Analysis in Nonlinear Programming, 1983, theorem 3.2.2.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import splu
from torch import Tensor

from hybridmodel.planners.sensitivities.active import Active
from hybridmodel.planners.sensitivities.conditions import Numbers, Stages

_WORST = 1e14  # condition, as far as one solution tells, from which on K counts as singular


class SingularError(Exception):
    """K has no inverse: active constraints depend on each other, or the optimum is not strict."""


class Linearisation:
    """K at a point z (H+1, nx + nu), and the residual r as a graph of torch.

    here      what holds at z, as a graph from z and from all numbers that a plan depends on
    active    which of it holds the plan
    given     multipliers of path, end and bounds by name; those of the dynamics follow from them

    residual  r (size,), zero up to the planner's tolerance
    inputs    rows of r that belong to the free inputs, which `free` (H, nu) marks
    start     rows of r that belong to x₀ = x̄₀

    Raises SingularError.
    """

    def __init__(
        self,
        z: Tensor,
        at: Numbers,
        here: Stages,
        active: Active,
        given: Mapping[str, np.ndarray],
    ) -> None:
        H, nx = here.ahead.shape
        of_path, of_end = (
            torch.tensor(np.hstack([given[f"{end}inequality"], given[f"{end}equality"]]))
            for end in ("", "terminal_")
        )
        held = (torch.tensor(given["x"][1:]) * z[1:, :nx]).sum()
        total = here.cost + (of_path * here.path).sum() + (of_end[0] * here.end).sum() + held
        slope = _slope(total, z)
        F = _by_node(here.ahead, z)[:-1]  # (H, nx, n)
        costates = _costates(slope.detach()[:, :nx], F[..., :nx])
        defects = torch.cat([z[:1, :nx] - at.x0, z[1:, :nx] - here.ahead])
        gradient = slope + _slope((costates * defects).sum(), z)

        self.free = ~active.u
        variables = np.ones(tuple(z.shape), bool)
        variables[:-1, nx:], variables[-1, nx:] = self.free, False
        z_rows, count = _numbered(variables, 0)
        defect_rows, count = _numbered(np.ones((H + 1, nx), bool), count)
        path_rows, count = _numbered(active.path, count)
        end_rows, count = _numbered(active.end[None], count)
        bound_rows, count = _numbered(active.x, count)
        self.inputs, self.start = z_rows[:-1, nx:][self.free], defect_rows[0]
        bounded = z[:, :nx][torch.tensor(active.x)]
        parts = (
            gradient[torch.tensor(variables)],
            defects.flatten(),
            here.path[torch.tensor(active.path)],
            here.end[torch.tensor(active.end)],
            bounded - bounded.detach(),  # bounds are what they are
        )
        self.residual = torch.cat(parts)

        eye = np.broadcast_to(np.eye(nx), (H + 1, nx, nx))
        end = _by_node(here.end[None], z)[-1:]
        A = (
            (eye, defect_rows, z_rows[:, :nx]),
            (-F.numpy(), defect_rows[1:], z_rows[:-1]),
            (_by_node(here.path, z)[:-1].numpy(), path_rows, z_rows[:-1]),
            (end.numpy(), end_rows, z_rows[-1:]),
            (eye, bound_rows, z_rows[:, :nx]),
        )
        transposed = [(block.transpose(0, 2, 1), columns, rows) for block, rows, columns in A]
        hessian = (_by_node(gradient, z).numpy(), z_rows, z_rows)
        self._factors = _factorised([hessian, *A, *transposed], count)

    def solve(self, right: np.ndarray) -> np.ndarray:
        """K⁻¹ of columns (size, …)."""
        return self._factors.solve(np.ascontiguousarray(right))


def _slope(total: Tensor, z: Tensor) -> Tensor:
    return torch.autograd.grad(total, z, create_graph=True, materialize_grads=True)[0]


def _by_node(y: Tensor, z: Tensor) -> Tensor:
    """∂yₖ/∂zₖ (H+1, m, n) of rows y (H or H+1, m), each of which depends on its own node alone."""
    m = y.shape[1]
    if not m or not y.requires_grad:
        return z.new_zeros(len(z), m, z.shape[1])
    each = torch.eye(m, dtype=y.dtype)[:, None].expand(m, *y.shape)
    found = torch.autograd.grad(
        y, z, each, retain_graph=True, is_grads_batched=True, materialize_grads=True
    )[0]
    return found.transpose(0, 1)


def _costates(slope: Tensor, A: Tensor) -> Tensor:
    """ν (H+1, nx) with ∂L/∂x = 0:  ν_H = −ℓ_H,  νₖ = −ℓₖ + Aₖᵀ νₖ₊₁."""
    found = [-slope[-1]]
    for k in reversed(range(len(A))):
        found.append(A[k].T @ found[-1] - slope[k])
    return torch.stack(found[::-1])


def _numbered(mask: np.ndarray, start: int) -> tuple[np.ndarray, int]:
    """Running numbers from `start` on where the mask holds, −1 elsewhere, and the next number."""
    count = int(mask.sum())
    numbers = np.full(mask.shape, -1)
    numbers[mask] = np.arange(start, start + count)
    return numbers, start + count


def _factorised(blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]], size: int):
    """LU of the matrix with blocks (K, a, b) at rows (K, a) and columns (K, b), −1 for none."""
    found = []
    for block, rows, columns in blocks:
        i, j = np.broadcast_arrays(rows[:, :, None], columns[:, None])
        there = (i >= 0) & (j >= 0)
        found.append((block[there], i[there], j[there]))
    values, i, j = (np.concatenate(parts) for parts in zip(*found, strict=True))
    K = sparse.csc_array((values, (i, j)), shape=(size, size))
    if not np.isfinite(values).all():
        raise SingularError
    try:
        factors = splu(K)
    except RuntimeError:  # a pivot is exactly zero
        raise SingularError from None
    probe = np.cos(np.arange(size))  # has a part in every direction, that of a zero pivot too
    grown = np.abs(factors.solve(probe)).max() / np.abs(probe).max()
    if not grown * np.abs(K).sum(0).max() < _WORST:
        raise SingularError
    return factors
