"""Derivatives of a plan in everything that it was made from.

    dz/dθ = −K⁻¹ ∂r/∂θ,      θ = x₀, π, p, the weights of the residual and of learned costs

with the KKT matrix K at the plan's active set, which is factorised once; a gradient ū goes back
through one solve with K and one pass of torch through r. Fiacco, Introduction to Sensitivity and
Stability Analysis in Nonlinear Programming, 1983, theorem 3.2.2; Amos & Kolter, OptNet, ICML
2017, eq. 6 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hybridmodel.planners.planner import Plan, Status
from hybridmodel.planners.sensitivities.active import active_at
from hybridmodel.planners.sensitivities.conditions import Numbers, stages
from hybridmodel.planners.sensitivities.linearisation import Linearisation, SingularError
from hybridmodel.problem import OptimalControlProblem

WEAK = 1e-6  # multipliers and distances to a bound that count as zero
_AWAY = 1e-3  # how far off the optimum a plan may be, relative to 1 + |u|
_NAMES = ("inequality", "equality", "terminal_inequality", "terminal_equality", "x", "u")


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """du/dθ of a plan's inputs, first (H, nu), then as θ itself.

    x0          (H, nu, nx): its first block is the gain of an optimal controller at this x₀
    parameters  (H, nu, H+1, nπ), of a row of π that is the same at each step the sum over H+1
    p           (H, nu, np), of declared physical parameters
    """

    x0: np.ndarray
    parameters: np.ndarray
    p: np.ndarray


def differentiable(
    problem: OptimalControlProblem,
    plan: Plan,
    *,
    x0: Tensor | None = None,
    parameters: Tensor | np.ndarray | None = None,
    p: Tensor | None = None,
    weak: float = WEAK,
) -> Tensor:
    """u (H, nu) of a plan as a function that torch can differentiate; its value is `plan.u`.

    x0          (nx,) the plan's own start, `plan.x[0]`, as a tensor that may require gradients
    parameters  π that it was made for, as `plan` takes them, or as such a tensor
    p           (np,) the model's present physical parameters as such a tensor
    weak        multipliers and distances to a bound up to this count as zero

    Gradients reach x0, parameters, p and, where these require some, the model's ϑ, the weights
    of its residual and those of networks in the cost. Second derivatives there are none.

    The plan must have converged, with multipliers (MultipleShooting, SQP and ILQR give them).
    Raises ValueError naming the argument where it has not, where the numbers are not those it is
    optimal for, and where it has no derivative: a constraint is weakly active (met, with a
    multiplier of zero), active constraints depend on each other, or other plans near it are as
    good; and for a problem with a risk, `chance` or `stop`.
    """
    at = _numbers(problem, plan, x0, parameters, p)
    found = _linearised(problem, plan, at, weak)
    return _Implicit.apply(found.residual, torch.tensor(plan.u), found)  # type: ignore[return-value]


def sensitivity(
    problem: OptimalControlProblem,
    plan: Plan,
    *,
    parameters: np.ndarray | None = None,
    weak: float = WEAK,
) -> Sensitivity:
    """All derivatives of a plan's inputs in x₀, π and p, as arrays; arguments as `differentiable`.

    Raises ValueError as that does.
    """
    at = _numbers(problem, plan, None, parameters, None)
    pi, p = at.pi.clone().requires_grad_(), at.p.clone().requires_grad_()
    found = _linearised(problem, plan, Numbers(at.x0, pi, p), weak)
    count = len(found.inputs)
    right = np.zeros((len(found.residual), count))
    right[found.inputs, np.arange(count)] = 1.0
    adjoint = found.solve(right) if count else right

    def in_all(rows: np.ndarray) -> np.ndarray:
        """Of rows for the free inputs those for all, zero where a bound holds the input."""
        whole = np.zeros((*found.free.shape, *rows.shape[1:]))
        whole[found.free] = rows
        return whole

    def by(theta: Tensor) -> np.ndarray:
        if not (count and theta.numel()):
            return in_all(np.zeros((count, *theta.shape)))
        slopes = torch.autograd.grad(
            found.residual,
            theta,
            torch.tensor(-adjoint.T),
            retain_graph=True,
            is_grads_batched=True,
            materialize_grads=True,
        )
        return in_all(slopes[0].numpy())

    return Sensitivity(x0=in_all(adjoint[found.start].T), parameters=by(pi), p=by(p))


class _Implicit(torch.autograd.Function):
    """r ↦ u, with du/dr = −Eᵤᵀ K⁻¹."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, u: Tensor, found: Linearisation) -> Tensor:
        ctx.found = found
        return u.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        found: Linearisation = ctx.found
        right = np.zeros(len(found.residual))
        right[found.inputs] = grads[0].numpy()[found.free]
        return torch.tensor(-found.solve(right)), None, None


def _numbers(
    problem: OptimalControlProblem,
    plan: Plan,
    x0: Tensor | None,
    parameters: Tensor | np.ndarray | None,
    p: Tensor | None,
) -> Numbers:
    """Checked: those that the plan was made for, in their full shapes."""
    if problem.risk is not None:
        raise ValueError(f"problem: the members' own ways under {problem.risk} are not derived")
    if problem.adaptive:
        names = ", ".join(type(adaptive).__name__ for adaptive in problem.adaptive)
        raise ValueError(f"problem: {names} follows from the plan itself, which is not derived")
    model = problem.model
    wanted = (problem.horizon, model.system.nu), (problem.horizon + 1, model.nx)
    if (plan.u.shape, plan.x.shape) != wanted:
        raise ValueError(
            f"plan must have u {wanted[0]} and x {wanted[1]}, got {plan.u.shape} and {plan.x.shape}"
        )
    if plan.status is not Status.CONVERGED:
        raise ValueError(
            f"plan must have converged to have a derivative, its status is {plan.status.name}"
        )
    if missing := [name for name in _NAMES if name not in plan.multipliers]:
        raise ValueError(
            f"plan must have multipliers, and has none for {missing}: MultipleShooting, SQP and "
            "ILQR give them"
        )
    start = torch.tensor(plan.x[0]) if x0 is None else x0
    own = model.physical()
    physical = own if p is None else p
    for name, given, value in (("x0", start, plan.x[0]), ("p", physical, own.detach().numpy())):
        shape = tuple(value.shape)
        if not isinstance(given, Tensor) or given.dtype != torch.float64 or given.shape != shape:
            raise ValueError(f"{name} must be a float64 tensor of shape {shape}, got {given!r}")
        if not np.allclose(given.detach().numpy(), value, rtol=1e-9, atol=1e-12):
            raise ValueError(
                f"{name} must be {value}, which the plan was made for; got {given.detach()}"
            )
    if not isinstance(parameters, Tensor):
        return Numbers(start, torch.tensor(problem.problem_parameters(parameters)), physical)
    checked = problem.problem_parameters(parameters.detach().numpy())
    return Numbers(start, parameters.to(torch.float64).expand(checked.shape), physical)


def _linearised(
    problem: OptimalControlProblem, plan: Plan, at: Numbers, weak: float
) -> Linearisation:
    last = np.zeros((1, plan.u.shape[1]))
    z = torch.tensor(np.hstack([plan.x, np.vstack([plan.u, last])])).requires_grad_()
    with torch.enable_grad():
        here = stages(problem, z, at)
        g, end_g = problem.path_g.size1_out(0), problem.end_g.size1_out(0)
        values = here.path[:, :g].detach().numpy(), here.end[None, :end_g].detach().numpy()
        active = active_at(problem, plan, *values, weak)
        try:
            found = Linearisation(z, at, here, active, plan.multipliers)
        except SingularError:
            raise ValueError(
                "plan has no derivative: its KKT system is singular, so that active constraints "
                "depend on each other or other plans near it are as good"
            ) from None
    away = found.solve(found.residual.detach().numpy())[found.inputs]
    if not (np.abs(away) <= _AWAY * (1 + np.abs(plan.u).max())).all():
        raise ValueError(
            f"plan must be optimal for these parameters and the model as it is now, the optimum is "
            f"{np.abs(away).max():.1e} away; plan again, or with a smaller tolerance"
        )
    return found
