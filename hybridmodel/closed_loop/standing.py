"""Where a policy stands between two steps, and the input that its plan gives there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hybridmodel.model import HybridModel
from hybridmodel.planners import Plan


@dataclass(frozen=True, eq=False)
class Standing:
    """All that one step of a policy leaves to the next.

    plan      the one being followed
    age       how many of its inputs were used
    previous  (nu,) the input emitted last
    asked     planning calls so far
    warm      whether the plan may start the next search: not after a failure
    bridged   steps since the plan ended
    """

    plan: Plan | None = None
    age: int = 0
    previous: np.ndarray | None = None
    asked: int = 0
    warm: bool = True
    bridged: int = 0


def followed(model: HybridModel, plan: Plan, k: int, x: np.ndarray | None) -> np.ndarray:
    """u = u*ₖ + Kₖ (x̂ − x*ₖ); u*ₖ alone without gains or x̂ (nx,), or where that overflows."""
    u = plan.u[k]
    if plan.gains is None or x is None:
        return u
    with np.errstate(all="ignore"):
        corrected = u + plan.gains[k] @ _difference(model, x, plan.x[k])
    return corrected if np.isfinite(corrected).all() else u


def _difference(model: HybridModel, x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """x − x' (nx,), turns of angles left out, of q and −q the nearer one."""
    apart, rows = x - other, list(model.system.angle_rows)
    apart[rows] -= 2 * np.pi * np.round(apart[rows] / (2 * np.pi))
    for row in model.system.quaternion_rows:
        block = slice(row, row + 4)
        if x[block] @ other[block] < 0:
            apart[block] = -x[block] - other[block]
    return apart
