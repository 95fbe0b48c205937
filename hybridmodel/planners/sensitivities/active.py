"""Which constraints hold a plan: those whose multiplier is larger than the distance left to them.

    0 ≤ λ ⟂ −c ≥ 0:   active λ > 0 = c,   inactive λ = 0 > c,   weakly active λ = 0 = c

A plan is differentiable where none is weakly active (strict complementarity; Fiacco, Introduction
to Sensitivity and Stability Analysis in Nonlinear Programming, 1983, theorem 3.2.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hybridmodel.planners.planner import Plan
from hybridmodel.problem import OptimalControlProblem


@dataclass(frozen=True, eq=False)
class Active:
    """Masks of what holds a plan.

    u (H, nu) inputs and x (H+1, nx) states at a bound, path (H, m) and end (m,) the rows of
    inequality and equality at each step and at the end, equalities among them.
    """

    u: np.ndarray
    x: np.ndarray
    path: np.ndarray
    end: np.ndarray


def active_at(
    problem: OptimalControlProblem, plan: Plan, g: np.ndarray, end_g: np.ndarray, weak: float
) -> Active:
    """Of a plan with multipliers, whose inequalities have the values g (H, m) and end_g (1, m).

    weak   multipliers and distances up to this count as zero

    Raises ValueError naming the constraint that is weakly active.
    """
    given: Mapping[str, np.ndarray] = plan.multipliers

    def acting(name: str, multiplier: np.ndarray, distance: np.ndarray) -> np.ndarray:
        left = np.maximum(distance, 0.0)
        both = (np.maximum(multiplier, 0.0) <= weak) & (left <= weak)
        if both.any():
            step, row = np.argwhere(both)[0]
            raise ValueError(
                f"plan has no derivative: row {row} of {name} is weakly active at step {step}, it "
                f"is met but its multiplier is {multiplier[step, row]:.1e}; up to weak={weak:g} "
                "counts as zero"
            )
        return multiplier > left

    def bounded(name: str, multiplier: np.ndarray, v: np.ndarray) -> np.ndarray:
        low, high = getattr(problem, f"{name}_low"), getattr(problem, f"{name}_high")
        fixed = low == high
        above, below = (np.where(fixed, np.inf, left) for left in (high - v, v - low))
        upper = acting(f"{name}_bounds (above)", multiplier, above)
        return upper | acting(f"{name}_bounds (below)", -multiplier, below) | fixed

    x = np.zeros(plan.x.shape, bool)
    x[1:] = bounded("state", given["x"][1:], plan.x[1:])  # x₀ is given, not bounded
    path = acting("inequality", given["inequality"], -g)
    end = acting("terminal_inequality", given["terminal_inequality"], -end_g)
    return Active(
        u=bounded("input", given["u"], plan.u),
        x=x,
        path=np.hstack([path, np.ones(given["equality"].shape, bool)]),
        end=np.hstack([end, np.ones(given["terminal_equality"].shape, bool)])[0],
    )
