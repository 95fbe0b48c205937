"""Whether a plan is what it says: checked by other means than those that found it.

    L(u) = J(u) + Σ λᵀ(g, h) + Σ λₓᵀ x,     ∂L/∂u + λᵤ = 0 at an optimum

x follows from u by a rollout in torch, whose derivatives are torch's own and are held against
differences; planners take theirs from CasADi or from the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.planners.planner import Plan
from hybridmodel.problem import OptimalControlProblem

_STEP = 1e-5  # of central differences, in input ranges
_LAYOUT = ("inequality", "equality", "terminal_inequality", "terminal_equality", "x", "u")


@dataclass(frozen=True)
class PlanCheck:
    """What was found at a plan.

    stationarity     largest |∂L/∂u + λᵤ|, of a plan without multipliers the projected gradient,
                     in units of cost per unit of input; relative to the mean size of the
                     multipliers where that is above 1
    complementarity  largest |λ g| of inequalities and bounds, 0 without multipliers
    violation        of bounds and constraints, summed over the horizon
    cost_gap         |J − J of the rollout| / (1 + |J|)
    gradient_gap     between ∂J/∂u and central differences along a random direction, relative
    fine             largest distance between its states and those of ten times as many substeps,
                     relative to each state's range; None where the system is discrete
    """

    stationarity: float
    complementarity: float
    violation: float
    cost_gap: float
    gradient_gap: float
    fine: float | None


def check_plan(
    problem: OptimalControlProblem,
    plan: Plan,
    *,
    parameters: np.ndarray | None = None,
    seed: int = 0,
) -> PlanCheck:
    """Check a plan of a problem under the π (H+1, nπ) that it was made for.

    Raises ValueError where its shapes do not fit or it is not finite, and for a problem with a
    risk, whose multipliers are not defined.
    """
    problem.refuse_risk("check_plan")
    wanted = (problem.horizon, problem.model.system.nu), (problem.horizon + 1, problem.model.nx)
    if (plan.u.shape, plan.x.shape) != wanted:
        raise ValueError(f"plan must have u {wanted[0]} and x {wanted[1]}, got {plan.u.shape}")
    if not (np.isfinite(plan.u).all() and np.isfinite(plan.x).all()):
        raise ValueError("plan must be finite")
    pi = torch.tensor(problem.problem_parameters(parameters, plan.adapted))
    x0, u = torch.tensor(plan.x[0]), torch.tensor(plan.u)
    given = _multipliers(problem, plan)
    lagrangian, pairs = _lagrangian(problem, x0, u, pi, given)
    found = _projected(problem, u, lagrangian) if given is None else lagrangian + given["u"]
    scale = 1.0
    if given is not None:
        sizes = np.concatenate([np.abs(v.numpy()).ravel() for v in given.values()])
        scale = max(1.0, float(sizes.mean()))
        pairs.append(_bound_pairs(problem.input_low, problem.input_high, u, given["u"]))
        x, of_x = torch.tensor(plan.x[1:]), given["x"][1:]
        pairs.append(_bound_pairs(problem.state_low, problem.state_high, x, of_x))
    cost, _, violation = problem.evaluate(plan.x[0], plan.u, pi.numpy())
    apart = max((float(p.abs().max()) for p in pairs if p.numel()), default=0.0)
    return PlanCheck(
        stationarity=float(found.abs().max()) / scale,
        complementarity=apart / scale,
        violation=violation,
        cost_gap=abs(cost - plan.cost) / (1 + abs(cost)),
        gradient_gap=_gradient_gap(problem, x0, u, pi, seed),
        fine=_fine(problem, plan, pi),
    )


def _multipliers(problem: OptimalControlProblem, plan: Plan) -> dict[str, Tensor] | None:
    """Those of every constraint, None where the plan has none or lacks some."""
    if not all(name in plan.multipliers for name in _LAYOUT):
        return None
    return {name: torch.tensor(plan.multipliers[name]) for name in _LAYOUT}


def _lagrangian(
    problem: OptimalControlProblem,
    x0: Tensor,
    u: Tensor,
    pi: Tensor,
    given: dict[str, Tensor] | None,
) -> tuple[Tensor, list[Tensor]]:
    """∂/∂u of L without λᵤᵀu, and λ g of the inequalities."""
    H = problem.horizon
    free = u.clone().requires_grad_()
    nd = problem.model.system.nd
    x = problem.model.rollout(x0, free, pi[:H, :nd] if nd else None)
    total, pairs = problem.judged(x, free, pi)[0], []
    if given is not None:
        path, last = (x[:-1], free, pi[:-1]), (x[-1:], pi[-1:])
        for name, function, arguments in (
            ("inequality", problem.path_g, path),
            ("equality", problem.path_h, path),
            ("terminal_inequality", problem.end_g, last),
            ("terminal_equality", problem.end_h, last),
        ):
            value = to_torch(function)(*arguments)
            product = given[name] * value
            total = total + product.sum()
            if "inequality" in name:
                pairs.append(product.detach())
        total = total + (given["x"][1:] * x[1:]).sum()
    return torch.autograd.grad(total, free)[0], pairs


def _projected(problem: OptimalControlProblem, u: Tensor, gradient: Tensor) -> Tensor:
    low, high = (torch.as_tensor(b) for b in (problem.input_low, problem.input_high))
    return u - (u - gradient).clamp(low, high)


def _bound_pairs(low: np.ndarray, high: np.ndarray, v: Tensor, multipliers: Tensor) -> Tensor:
    """λ times the distance to the bound that its sign tells."""
    above, below = torch.as_tensor(high) - v, v - torch.as_tensor(low)
    distance = torch.where(multipliers > 0, above, below)
    return torch.where(multipliers == 0, 0.0, multipliers * distance)


def _gradient_gap(
    problem: OptimalControlProblem, x0: Tensor, u: Tensor, pi: Tensor, seed: int
) -> float:
    generator = torch.Generator().manual_seed(seed)
    span = torch.as_tensor(problem.input_high - problem.input_low)
    span = torch.where(torch.isfinite(span), span, 1.0)
    way = span * torch.randn(u.shape, generator=generator, dtype=u.dtype)
    slope, _ = _lagrangian(problem, x0, u, pi, None)
    with torch.no_grad():
        ends = [problem.objective(x0, u + s * _STEP * way, pi)[0] for s in (1, -1)]
    along, difference = float((slope * way).sum()), float(ends[0] - ends[1]) / (2 * _STEP)
    return abs(along - difference) / (1 + abs(difference))


def _fine(problem: OptimalControlProblem, plan: Plan, pi: Tensor) -> float | None:
    model = problem.model
    if model.system.dt is not None:
        return None
    finer = model.rebuilt(substeps=10 * model.substeps)
    nd = model.system.nd
    with torch.no_grad():
        x = finer.rollout(
            torch.tensor(plan.x[0]),
            torch.tensor(plan.u),
            pi[: problem.horizon, :nd] if nd else None,
        ).numpy()
    span = np.maximum(np.ptp(plan.x, axis=0), 1e-9)
    return float((np.abs(x - plan.x) / span).max())
