"""A plan as plain arrays by name, for files and pipes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hybridmodel.planners.planner import Plan, Status

_MULTIPLIER = "multiplier "
_OPTIONAL = ("gains", "elites", "adapted")


def to_arrays(plan: Plan) -> dict[str, np.ndarray]:
    """Everything of a plan; `from_arrays` gives the same one."""
    return {
        "u": np.asarray(plan.u, dtype=float),
        "x": np.asarray(plan.x, dtype=float),
        "cost": np.array(plan.cost, dtype=float),
        "status": np.array(plan.status.name),
        "iterations": np.array(plan.iterations, dtype=int),
        "seconds": np.array(plan.seconds, dtype=float),
        **{
            name: np.asarray(rows, dtype=float)
            for name in _OPTIONAL
            if (rows := getattr(plan, name)) is not None
        },
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
        **{name: arrays.get(name) for name in _OPTIONAL},
        iterations=int(arrays["iterations"]),
        seconds=float(arrays["seconds"]),
    )
