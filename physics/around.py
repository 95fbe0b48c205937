"""A system around another one."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics.system import Signal, System


@dataclass(frozen=True, kw_only=True)
class Around(System):
    """A `system` of which something is changed: signals and outputs are its own, unless given."""

    system: System

    @property
    def states(self) -> tuple[Signal, ...]:  # type: ignore[override]
        return self.system.states

    @property
    def inputs(self) -> tuple[Signal, ...]:  # type: ignore[override]
        return self.system.inputs

    @property
    def exogenous(self) -> tuple[Signal, ...]:  # type: ignore[override]
        return self.system.exogenous

    @property
    def outputs(self) -> tuple[Signal, ...]:
        return self.system.outputs

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return self.system.output(x, u, p, d)
