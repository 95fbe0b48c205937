"""A system whose time may run faster or slower, as one more input."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics.around import Around
from physics.system import Signal

PACE = "pace"


@dataclass(frozen=True, kw_only=True)
class Paced(Around):
    """ẋ = σ f(x, u),  so that a step of dt is one of σ dt of the system; the inputs are (u, σ).

    low, high  bounds of σ

    Raises ValueError for bounds that are not 0 < low ≤ high, a discrete system, one with memory,
    or one that has an input `pace` already.
    """

    low: float = 0.2
    high: float = 2.0

    def __post_init__(self) -> None:
        name = type(self.system).__name__
        if not 0 < self.low <= self.high < float("inf"):
            raise ValueError(f"low, high must be 0 < low <= high, got {self.low} and {self.high}")
        if self.system.dt is not None:
            raise ValueError(f"system: {name} is discrete (dt = {self.system.dt}), a pace needs ẋ")
        if self.system.memory:
            raise ValueError(f"system: {name} has memory, which counts steps of equal length")
        super().__post_init__()

    @property
    def inputs(self) -> tuple[Signal, ...]:  # type: ignore[override]
        return (*self.system.inputs, Signal(PACE, "", self.low, self.high))

    @property
    def parameters(self):
        return self.system.parameters  # the bounds of the pace are none

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return u[-1] * self.system.dynamics(x, u[:-1, :], p, d)

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return self.system.output(x, u[:-1, :], p, d)
