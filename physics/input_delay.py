"""An input delay, as state."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from physics.around import Around
from physics.system import Signal


@dataclass(frozen=True, kw_only=True)
class InputDelay(Around):
    """A system whose input arrives `steps` control steps late: uᵃ_k = u_{k−n}.

    The n inputs under way are memory, oldest first: x̃ = (x, u_{k−n}, …, u_{k−1}), so all that
    plans or rolls out stays Markov.
    Raises ValueError where steps < 1, or where the system has memory of its own.
    """

    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.system.memory:
            raise ValueError(
                f"system: {type(self.system).__name__} has memory, which a delay around it would "
                "lose; add up the steps instead"
            )
        super().__post_init__()

    @property
    def memory(self) -> tuple[Signal, ...]:  # type: ignore[override]
        return tuple(
            Signal(f"{s.name}_{age}_ago", s.unit, s.low, s.high)
            for age in range(self.steps, 0, -1)
            for s in self.inputs
        )

    @property
    def memory_steps(self) -> int:  # type: ignore[override]
        return self.steps

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
        return m[: self.nu, :]

    def advance_memory(self, m: ca.SX, u: ca.SX, p: SimpleNamespace) -> ca.SX:
        return ca.vertcat(m[self.nu :, :], u)  # one index would make a row of a scalar m

    def initial_memory(self, past_u: ca.SX) -> ca.SX:
        return ca.vec(past_u)
