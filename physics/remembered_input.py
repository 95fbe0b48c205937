"""The input before, as state: what bounds of an input's rate look at."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics.around import Around
from physics.system import Signal


@dataclass(frozen=True, kw_only=True)
class RememberedInput(Around):
    """A system that remembers the input of the step before: x̃ = (x, m, u_{k−1}).

    m is the memory of the system itself; nothing about how it moves is changed.
    """

    @property
    def memory(self) -> tuple[Signal, ...]:  # type: ignore[override]
        before = (Signal(f"{s.name}_before", s.unit, s.low, s.high) for s in self.inputs)
        return (*self.system.memory, *before)

    @property
    def memory_steps(self) -> int:  # type: ignore[override]
        return max(self.system.memory_steps, 1)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return self.system.dynamics(x, u, p, d)

    @property
    def takes_force(self) -> bool:
        return self.system.takes_force

    def forced_dynamics(
        self, x: ca.SX, u: ca.SX, tau: ca.SX, p: SimpleNamespace, d: ca.SX
    ) -> ca.SX:
        return self.system.forced_dynamics(x, u, tau, p, d)

    def applied_input(self, m: ca.SX, u: ca.SX, p: SimpleNamespace) -> ca.SX:
        return self.system.applied_input(m[: len(self.system.memory), :], u, p)

    def advance_memory(self, m: ca.SX, u: ca.SX, p: SimpleNamespace) -> ca.SX:
        own = m[: len(self.system.memory), :]
        return ca.vertcat(self.system.advance_memory(own, u, p), u)

    def initial_memory(self, past_u: ca.SX) -> ca.SX:
        recent = past_u[:, past_u.shape[1] - self.system.memory_steps :]
        return ca.vertcat(self.system.initial_memory(recent), past_u[:, -1])
