"""What a plan must fulfil, in multiple shooting and stage by stage, as functions in torch.

    L = J(z, π) + ν₀ᵀ(x₀ − x̄₀) + Σ νₖ₊₁ᵀ(xₖ₊₁ − F(zₖ, dₖ, p)) + Σ μₖᵀcₖ(zₖ, πₖ),   z = (x, u)

Their graphs reach x̄₀, π, p and the weights of every network, so that ∇L can be differentiated
once more in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import casadi as ca
import torch
from torch import Tensor

from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.problem import OptimalControlProblem


@dataclass(frozen=True, eq=False)
class Numbers:
    """What a plan was made for: x0 (nx,), pi (H+1, nπ) and p (np,)."""

    x0: Tensor
    pi: Tensor
    p: Tensor


@dataclass(frozen=True, eq=False)
class Stages:
    """cost J, ahead F (H, nx), path (H, m) and end (m,), inequalities before equalities."""

    cost: Tensor
    ahead: Tensor
    path: Tensor
    end: Tensor


def stages(problem: OptimalControlProblem, z: Tensor, at: Numbers) -> Stages:
    """At a point z (H+1, nx + nu), whose last input is not read.

    By torch whatever the model's backend is, so that it is twice differentiable.
    """
    model, H, nx = problem.model, problem.horizon, problem.model.nx
    x, u, d = z[:, :nx], z[:-1, nx:], at.pi[:H, : model.system.nd]
    path = [_rows(f, H, x[:-1], u, at.pi[:-1]) for f in (problem.path_g, problem.path_h)]
    end = [_rows(f, 1, x[-1:], at.pi[-1:]) for f in (problem.end_g, problem.end_h)]
    return Stages(
        cost=problem.judged(x, u, at.pi)[0],
        ahead=model.step_with(model.network(), model.scheme, x[:-1], u, at.p, d),
        path=torch.cat(path, -1),
        end=torch.cat(end, -1)[0],
    )


def _rows(function: ca.Function, count: int, *arguments: Tensor) -> Tensor:
    size = function.size1_out(0)
    if not size:
        return arguments[0].new_zeros(count, 0)
    return to_torch(function)(*arguments).expand(count, size)
