"""Costs, written once in CasADi and used by every planner. Reward is −cost.

ℓ(x, u, k, π) stage cost,  V(x, π) terminal cost,  π problem parameters of that step
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import casadi as ca

from physics import Signal, System


class Cost(ABC):
    """Stage and terminal cost; `parameters` names the entries of π it reads."""

    parameters: tuple[str, ...] = ()

    @abstractmethod
    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        """ℓ(x, u, k, π), a scalar; k counts steps from the start of the plan."""

    @abstractmethod
    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        """V(x, π), a scalar."""


class Quadratic(Cost):
    """ℓ = Σ wᵢ eᵢ² + Σ vⱼ uⱼ²,  V = Σ tᵢ eᵢ²,  e = x − target.

    For an angle e² is 2 (1 − cos e): the same to second order, smooth and whole-circle, so that
    no turn is preferred. Weights and targets are given by signal name, in the signal's units:
    1 on an angle makes one radian cost 1. What is not named has weight and target 0; `terminal`
    is `state` unless given.

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
        states = system.states
        self.state = _by_row("state", states, state)
        self.input = _by_row("input", system.inputs, input)
        self.final = self.state if terminal is None else _by_row("terminal", states, terminal)
        self.target = _by_row("target", states, target or {}, signed=True)
        self.angles = [s.angle for s in states]

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        if u.shape[0] != len(self.input):
            raise ValueError(f"cost is for {len(self.input)} inputs, the model has {u.shape[0]}")
        effort = sum(v * u[j] ** 2 for j, v in enumerate(self.input) if v)
        return self._distance(x, self.state) + effort

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return self._distance(x, self.final)

    def _distance(self, x: ca.SX, weights: tuple[float, ...]) -> ca.SX:
        if x.shape[0] != len(weights):
            raise ValueError(f"cost is for {len(weights)} states, the model has {x.shape[0]}")
        total = ca.SX(0)
        for i, (weight, goal) in enumerate(zip(weights, self.target, strict=True)):
            error = x[i] - goal
            total += weight * (2 * (1 - ca.cos(error)) if self.angles[i] else error**2)
        return total


def _by_row(
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
