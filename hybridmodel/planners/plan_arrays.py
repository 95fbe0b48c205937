"""A plan as plain arrays by name, for files and pipes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hybridmodel.planners.planner import Plan, Status

_MULTIPLIER = "multiplier "


def to_arrays(plan: Plan) -> dict[str, np.ndarray]:
    """Everything of a plan; `from_arrays` gives the same one."""
    return {
        "u": np.asarray(plan.u, dtype=float),
        "x": np.asarray(plan.x, dtype=float),
        "cost": np.array(plan.cost, dtype=float),
        "status": np.array(plan.status.name),
        "iterations": np.array(plan.iterations, dtype=int),
        "seconds": np.array(plan.seconds, dtype=float),
        **({} if plan.gains is None else {"gains": np.asarray(plan.gains, dtype=float)}),
        **({} if plan.elites is None else {"elites": np.asarray(plan.elites, dtype=float)}),
        **{
            _MULTIPLIER + name: np.asarray(rows, dtype=float)
            for name, rows in plan.multipliers.items()
        },
    }


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Plan:
    """The plan of `to_arrays`. Raises KeyError where a part is missing."""
    return Plan(
        u=arrays["u"],
        x=arrays["x"],
        cost=float(arrays["cost"]),
        status=Status[str(arrays["status"])],
        multipliers={
            name.removeprefix(_MULTIPLIER): rows
            for name, rows in arrays.items()
            if name.startswith(_MULTIPLIER)
        },
        gains=arrays.get("gains"),
        elites=arrays.get("elites"),
        iterations=int(arrays["iterations"]),
        seconds=float(arrays["seconds"]),
    )
