"""An input lag, as state: motors and valves that follow a command."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics.around import Around
from physics.parameter import Parameter
from physics.system import Signal, System


@dataclass(frozen=True, kw_only=True)
class InputLag(Around):
    """A system whose input follows the commanded one with a first-order lag.

        ẋ = f(x, a),    ȧ = (u − a)/T

    a what acts on the system (nu,), appended to x, in the units of u and within its bounds
    wherever u is; T time constant [s], one for all inputs. Outputs are the system's own: a is
    not measured.
    Raises ValueError where the system has no inputs, is discrete, has memory of its own, or has a
    parameter `time_constant` already.
    """

    time_constant: float = Parameter(0.05, "s", "positive")

    def __post_init__(self) -> None:
        if not isinstance(self.system, System):
            raise ValueError(f"system must be a physics.System, got {type(self.system).__name__}")
        name = type(self.system).__name__
        if self.system.dt is not None:
            raise ValueError(f"system: {name} is discrete (dt = {self.system.dt}), a lag needs ẋ")
        if not self.system.inputs:
            raise ValueError(f"system: {name} has no inputs that could lag")
        if self.system.memory:
            raise ValueError(f"system: {name} has memory; put the lag inside: {name}(InputLag(…))")
        if "time_constant" in self.system.parameters:
            raise ValueError(f"system: {name} has a parameter 'time_constant' already")
        super().__post_init__()

    @property
    def states(self) -> tuple[Signal, ...]:  # type: ignore[override]
        # no bounds: those of u hold a too, and a plan need not ask for them twice
        lagged = (Signal(f"{s.name}_lagged", s.unit) for s in self.system.inputs)
        return (*self.system.states, *lagged)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        x, a = self._split(x)
        return ca.vertcat(self.system.dynamics(x, a, p, d), (u - a) / p.time_constant)

    @property
    def takes_force(self) -> bool:
        return self.system.takes_force

    def forced_dynamics(
        self, x: ca.SX, u: ca.SX, tau: ca.SX, p: SimpleNamespace, d: ca.SX
    ) -> ca.SX:
        x, a = self._split(x)
        inner = self.system.forced_dynamics(x, a, tau, p, d)
        return ca.vertcat(inner, (u - a) / p.time_constant)

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return self.system.output(*self._split(x), p, d)

    def _split(self, x: ca.SX) -> tuple[ca.SX, ca.SX]:
        rows = len(self.system.states)
        return x[:rows, :], x[rows:, :]
