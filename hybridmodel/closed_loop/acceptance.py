"""Whether a plan may come near the plant: its status is never taken at its word.

u, x, J finite,  u_low ≤ u ≤ u_high,  and under the model from x̂
violation ≤ 2·10⁻⁴,  J(x̂, u) ≤ J + ε (1 + |J|),  |x(x̂, u) − x| ≤ ε (1 + |x|)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hybridmodel.planners import Plan, Planner, Status
from hybridmodel.planners.planner import FEASIBLE
from hybridmodel.problem import OptimalControlProblem

APART = 1e-3  # ε, far above what two ways to the same rollout differ by
_OVERSTEP = 1e-6  # of bounds, relative: IPOPT takes 1e-8; it is clipped


@dataclass(frozen=True)
class Answer:
    """What a planning call gave: a plan with own arrays of the right shapes, and what is wrong."""

    plan: Plan | None
    fault: str  # "" where the plan may be followed
    gains_fault: bool = False


def accepted(
    given: object, problem: OptimalControlProblem, x: np.ndarray, pi: np.ndarray, *, verify: bool
) -> Answer:
    """Judge what a planner returned for x̂ (nx,) and π; with `verify` against a rollout."""
    if not isinstance(given, Plan) or not isinstance(given.status, Status):
        return Answer(None, "plan unusable")
    H, nu, nx = problem.horizon, problem.model.system.nu, problem.model.nx
    u, states = _own(given.u, (H, nu)), _own(given.x, (H + 1, nx))
    if u is None or states is None:
        return Answer(None, "plan unusable")
    adapted, gains = problem.n_parameters - problem.n_given, None
    if given.gains is not None:
        gains = _own(given.gains, (H, nu, nx))
        gains = gains if gains is not None and np.isfinite(gains).all() else None
    plan = Plan(
        u=u,
        x=states,
        cost=float(given.cost),
        status=given.status,
        multipliers=_multipliers(given.multipliers),
        gains=gains,
        elites=_elites(given.elites, u.shape),
        adapted=None if given.adapted is None else _own(given.adapted, (H + 1, adapted)),
        iterations=int(given.iterations),
        seconds=float(given.seconds),
    )
    fault = _fault(plan, problem, x, pi, verify)
    return Answer(plan, fault, gains_fault=gains is None and given.gains is not None)


def checks_itself(planner: object) -> bool:
    """Whether its plans were held against a rollout already, by `Planner.plan` of this package."""
    kind = type(planner)
    ours = kind.__module__.startswith("hybridmodel.planners.")
    return ours and getattr(kind, "plan", None) is Planner.plan


def _fault(
    plan: Plan, problem: OptimalControlProblem, x: np.ndarray, pi: np.ndarray, verify: bool
) -> str:
    if not plan.usable:
        return f"plan {plan.status.name.lower()}"
    if not (np.isfinite(plan.u).all() and np.isfinite(plan.x).all() and np.isfinite(plan.cost)):
        return "plan unusable"
    low, high = problem.input_low, problem.input_high
    slack = _OVERSTEP * (1 + np.abs(np.clip(plan.u, low, high)))
    if (plan.u < low - slack).any() or (plan.u > high + slack).any():
        return "plan outside bounds"
    if verify and _contradicts(plan, problem, x, pi):
        return "plan contradicts its rollout"
    return ""


def _contradicts(plan: Plan, problem: OptimalControlProblem, x: np.ndarray, pi: np.ndarray) -> bool:
    u = np.clip(plan.u, problem.input_low, problem.input_high)
    pi = problem.problem_parameters(pi[:, : problem.n_given], plan.adapted)
    cost, states, violation = problem.evaluate(x, u, pi)
    with np.errstate(all="ignore"):  # numbers may be of any size here
        honest = cost - plan.cost <= APART * (1 + abs(plan.cost))
        near = np.abs(states - plan.x) <= APART * (1 + np.abs(states))
        return not (honest and near.all() and violation <= 2 * FEASIBLE)


def _own(rows: object, shape: tuple[int, ...]) -> np.ndarray | None:
    """A copy, since a planner may reuse its arrays; None where it is of another shape."""
    array = np.array(rows, dtype=float)
    return array if array.shape == shape else None


def _elites(rows: object, shape: tuple[int, ...]) -> np.ndarray | None:
    """(H, n, nu) where they are finite; they only start the next search."""
    if rows is None:
        return None
    array = np.array(rows, dtype=float)
    fits = array.ndim == 3 and array.shape[::2] == shape and bool(np.isfinite(array).all())
    return array if fits else None


def _multipliers(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those that are finite; they only start the next search."""
    own = {str(name): np.array(rows, dtype=float) for name, rows in dict(given).items()}
    return {name: rows for name, rows in own.items() if rows.ndim and np.isfinite(rows).all()}
