"""Value, Jacobian and Hessian of one map v ↦ y, each way that a map can be derived here.

A Form takes points v (N, n) and weights w (N, m) and gives y (N, m), ∂y/∂v (N, m, n) and the
Hessian of wᵀy (N, n, n), which holds those of all rows for the cost of one. Maps of several
arguments take v as their columns side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import casadi as ca
import numpy as np
import torch
from torch import Tensor

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]
Form = Callable[[Tensor, Tensor], Sample]


def casadi_form(function: ca.Function, sizes: Sequence[int], *others: ca.DM) -> Form:
    """A Function of columns of these sizes, then of `others`, derived by CasADi."""
    v, w = ca.MX.sym("v", sum(sizes)), ca.MX.sym("w", function.size1_out(0))
    others_ = [ca.MX.sym("other", other.numel()) for other in others]
    y = function(*ca.vertsplit(v, [0, *itertools.accumulate(sizes)]), *others_)
    gradient = ca.jtimes(y, v, w, True)
    results = [y, ca.jacobian(y, v), ca.jacobian(gradient, v)]
    derived = ca.Function("derived", [v, w, *others_], results)

    def form(points: Tensor, weights: Tensor) -> Sample:
        rows = [
            [part.full() for part in derived(point, weight, *others)]
            for point, weight in zip(points.cpu().numpy(), weights.cpu().numpy(), strict=True)
        ]
        values, jacobians, hessians = (np.stack(parts) for parts in zip(*rows, strict=True))
        return values[..., 0], jacobians, hessians

    return form


def eager_form(call: Callable[[Tensor], Tensor]) -> Form:
    """A torch map of batches (N, n) ↦ (N, m), derived by backward passes over one batch."""

    def form(points: Tensor, weights: Tensor) -> Sample:
        def gradients(call: Callable[[Tensor], Tensor], rows: int) -> Tensor:
            """(N, rows, n): each point stands `rows` times in the batch, once for each row."""
            v = points.repeat_interleave(rows, 0).requires_grad_()
            y = call(v).unflatten(0, (len(points), rows)).diagonal(dim1=1, dim2=2)
            return _gradient(y.sum(), v).unflatten(0, (len(points), rows))

        def weighted(v: Tensor) -> Tensor:
            w = weights.repeat_interleave(len(v) // len(weights), 0)
            return _gradient((w * call(v)).sum(), v)

        y = call(points)
        jacobian = gradients(call, y.shape[-1])
        return _numbers(y, jacobian, gradients(weighted, points.shape[-1]))

    return form


def transformed_form(call: Callable[[Tensor], Tensor]) -> Form:
    """A torch map of single points (n,) ↦ (m,), derived by torch.func under vmap."""

    def form(points: Tensor, weights: Tensor) -> Sample:
        def weighted(v: Tensor, w: Tensor) -> Tensor:
            return w @ call(v)

        return _numbers(
            torch.func.vmap(call)(points),
            torch.func.vmap(torch.func.jacrev(call))(points),
            torch.func.vmap(torch.func.hessian(weighted))(points, weights),
        )

    return form


def relative_gap(mine: np.ndarray, yours: np.ndarray) -> np.ndarray:
    """|mine − yours| relative to each point's largest entry; infinite where only one is finite."""
    axes = tuple(range(1, yours.ndim))
    finite = np.isfinite(yours)
    size = np.where(finite, np.abs(yours), 0.0).max(axis=axes, initial=1.0, keepdims=True)
    same = (mine == yours) | (np.isnan(mine) & np.isnan(yours))
    with np.errstate(invalid="ignore"):
        gap = np.nan_to_num(np.abs(mine - yours) / size, nan=np.inf)
    return np.where(finite, gap, np.where(same, 0.0, np.inf))


def difference_gaps(
    call: Callable[[np.ndarray], np.ndarray],
    jacobian: np.ndarray,
    v: np.ndarray,
    *,
    steps: Sequence[float] = (1e-4, 1e-5, 1e-6, 1e-7),
) -> np.ndarray:
    """How far ∂y/∂v is from central differences, (m, n), at one point v (n,); call (K, n) ↦ (K, m).

    Column j is taken per relative change of vⱼ (per unit at vⱼ = 0), row i relative to its
    largest entry, its value or 1. Of all step lengths the best counts: a right derivative is met
    by one of them, a wrong one by none.
    """
    scale = np.where(v == 0, 1.0, np.abs(v))
    wanted = jacobian * scale  # (m, n)
    size = np.maximum(1.0, np.abs(call(v[None])[0]))
    size = np.maximum(size, np.abs(wanted).max(axis=1, initial=0.0))
    h = np.stack([step * np.diag(scale) for step in steps])  # (steps, n, n), a row a point
    ahead, behind = (call((v + d).reshape(-1, v.size)) for d in (h, -h))
    slopes = (ahead - behind).reshape(len(steps), v.size, -1) / (2 * np.array(steps)[:, None, None])
    gaps = np.abs(slopes.swapaxes(1, 2) - wanted) / size[:, None]
    return np.fmin.reduce(np.nan_to_num(gaps, nan=np.inf), axis=0)


def _gradient(total: Tensor, v: Tensor) -> Tensor:
    if not total.requires_grad:
        return torch.zeros_like(v)
    return torch.autograd.grad(total, v, create_graph=True, materialize_grads=True)[0]


def _numbers(*tensors: Tensor) -> Sample:
    y, jacobian, hessian = (tensor.detach().cpu().numpy() for tensor in tensors)
    return y, jacobian, hessian
