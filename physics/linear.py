"""Linear systems: the domain with known answers, and the empty one."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Self

import casadi as ca

from physics import tangent
from physics.system import Signal, System


@dataclass(frozen=True, kw_only=True)
class Linear(System):
    """ẋ = A x + B u, with A (nx, nx) and B (nx, nu) as tuples of rows.

    The oracle: its finite-horizon optimum is the discrete Riccati recursion.
    Raises ValueError where A is not square or B has another number of rows.
    """

    A: tuple[tuple[float, ...], ...] = ((0.0, 1.0), (0.0, 0.0))
    B: tuple[tuple[float, ...], ...] = ((0.0,), (1.0,))
    states: tuple[Signal, ...] = ()
    inputs: tuple[Signal, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.A)
        if any(len(row) != n for row in self.A):
            raise ValueError(f"A must be square, got rows of {[len(row) for row in self.A]}")
        if len(self.B) != n or len({len(row) for row in self.B}) != 1:
            raise ValueError(f"B must have {n} rows of one length, got {self.B}")
        if not self.states:
            object.__setattr__(self, "states", tuple(Signal(f"x{i}") for i in range(n)))
        if not self.inputs:
            inputs = tuple(Signal(f"u{i}") for i in range(len(self.B[0])))
            object.__setattr__(self, "inputs", inputs)
        super().__post_init__()

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.DM(self.A) @ x + ca.DM(self.B) @ u


@dataclass(frozen=True, kw_only=True)
class Trivial(System):
    """No physics but kinematics: q̇ = v where a state is the rate of another, 0 elsewhere.

    Three rates of a quaternion are its body rates: q̇ = ½ q ⊗ (0, ω).

    With a residual it is a model learned end to end: `Trivial.like(CartPole())`.
    """

    states: tuple[Signal, ...]
    inputs: tuple[Signal, ...]
    exogenous: tuple[Signal, ...] = ()

    @classmethod
    def like(cls, system: System) -> Self:
        """The trivial system with the signals of another."""
        return cls(states=system.states, inputs=system.inputs, exogenous=system.exogenous)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        known: dict[str | None, list[ca.SX]] = {}
        for i, signal in enumerate(self.states):
            known.setdefault(signal.rate_of, []).append(x[i])
        v: list[ca.SX] = []
        for i, signal in enumerate(self.states):
            if signal.quaternion is None:
                v += known.get(signal.name, [ca.SX(0)])
            elif i in self.quaternion_rows:
                v += known.get(signal.quaternion, [ca.SX(0)] * 3)
        return tangent.rates(self.states, x, ca.vertcat(*v))
