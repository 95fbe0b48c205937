"""Squares of errors and inputs, smooth on circles and rotations."""

from __future__ import annotations

import math
from collections.abc import Mapping

import casadi as ca

from hybridmodel.costs.cost import Cost
from physics import Signal, System, quaternion, tangent

_UNIT = 1e-6  # how far a target quaternion's length may be from 1


class Quadratic(Cost):
    """ℓ = Σ wᵢ eᵢ² + Σ vⱼ (uⱼ − uⱼ*)²,  V = Σ tᵢ eᵢ²,  e = x ⊟ target.

    For an angle e² is 2 (1 − cos e): the same to second order, smooth and whole-circle, so that
    no turn is preferred; for a rotation by θ about the axis a it is 2 (1 − cos θ) aᵢ² in each of
    its three rows. Weights and targets are given by signal name, in the signal's units: 1 on an
    angle makes one radian cost 1. A rotation's weight is given under its own name, or by row as
    "attitude_x"; its target by component. What is not named has weight 0 and the neutral target;
    `terminal` is `state` unless given.

    Raises ValueError for a name that is no signal, a negative weight, or a state of another size.
    """

    def __init__(
        self,
        system: System,
        *,
        state: Mapping[str, float],
        input: Mapping[str, float],
        terminal: Mapping[str, float] | None = None,
        target: Mapping[str, float] | None = None,
    ) -> None:
        rows = tangent.signals(system.states)
        self.signals = system.states
        self.state = by_row("state", rows, _each_row(system, state))
        self.input = by_row("input", system.inputs, input)
        self.final = (
            self.state
            if terminal is None
            else by_row("terminal", rows, _each_row(system, terminal))
        )
        goals = dict.fromkeys((s.name for s in (*system.states, *system.inputs)), 0.0)
        goals |= {system.states[i].name: 1.0 for i in system.quaternion_rows}
        all_targets = by_row(
            "target", (*system.states, *system.inputs), goals | dict(target or {}), signed=True
        )
        n = len(system.states)
        for row in system.quaternion_rows:
            length = math.hypot(*all_targets[row : row + 4])
            if abs(length - 1) > _UNIT:
                names = [s.name for s in system.states[row : row + 4]]
                raise ValueError(
                    f"target of rotation {system.states[row].quaternion!r} must be a quaternion "
                    f"of length 1, all four of {names}, got {all_targets[row : row + 4]}"
                )
        self.target, self.input_target = all_targets[:n], all_targets[n:]

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        if u.shape[0] != len(self.input):
            raise ValueError(f"cost is for {len(self.input)} inputs, the model has {u.shape[0]}")
        effort = sum(
            v * (u[j] - goal) ** 2
            for j, (v, goal) in enumerate(zip(self.input, self.input_target, strict=True))
            if v
        )
        return self._distance(x, self.state) + effort

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return self._distance(x, self.final)

    def _distance(self, x: ca.SX, weights: tuple[float, ...]) -> ca.SX:
        if x.shape[0] != len(self.signals):
            raise ValueError(f"cost is for {len(self.signals)} states, the model has {x.shape[0]}")
        squares = ca.vertsplit(_squares(self.signals, x, ca.SX(ca.DM(self.target))))
        return sum((w * e for w, e in zip(weights, squares, strict=True)), ca.SX(0))


def _squares(signals: tuple[Signal, ...], x: ca.SX, goal: ca.SX) -> ca.SX:
    """e² (tangent rows): smooth on the circle and on the sphere."""
    found, i = [], 0
    while i < len(signals):
        if signals[i].quaternion is None:
            error = x[i] - goal[i]
            found.append(2 * (1 - ca.cos(error)) if signals[i].angle else error**2)
            i += 1
        else:
            error = quaternion.multiply(quaternion.conjugate(goal[i : i + 4]), x[i : i + 4])
            found.append(4 * error[1:4] ** 2)  # 4 sin²(θ/2) aᵢ² = 2 (1 − cos θ) aᵢ²
            i += 4
    return ca.vertcat(ca.SX(0, 1), *found)


def _each_row(system: System, weights: Mapping[str, float]) -> Mapping[str, float]:
    """Weights by row, where a rotation's own name stands for its three."""
    groups = {s.quaternion for s in system.states} - {None}
    return {
        row: weight
        for name, weight in weights.items()
        for row in (tangent.names(name) if name in groups else (name,))
    }


def by_row(
    argument: str, signals: tuple[Signal, ...], values: Mapping[str, float], signed: bool = False
) -> tuple[float, ...]:
    names = [s.name for s in signals]
    for name, value in values.items():
        if name not in names:
            raise ValueError(f"{argument} names {name!r}; signals are {names}")
        if not signed and not value >= 0:
            raise ValueError(f"{argument}[{name!r}] must be a weight of at least 0, got {value}")
        if not math.isfinite(value):
            raise ValueError(f"{argument}[{name!r}] must be finite, got {value}")
    return tuple(float(values.get(name, 0.0)) for name in names)
