"""The plant in closed form, for oracles and for drawing what a residual should have learned."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca

from hybridmodel.envs.hidden import HiddenEffects
from physics import Around, Mechanical, Parameter, tangent


@dataclass(frozen=True, kw_only=True)
class Disturbed(Around):
    """A system with its hidden effects written into f.

        M(q) v̇ + b(q, v) = B(q) k·dz(u) + τ − c(q) tanh(v/ε) − D v + force(x, k·dz(u))

    with the true parameters in M, b, B, and dz the dead zone. ε is the `smoothing` of the sign
    [rad/s, m/s], 0 is exact. Systems that are not mechanical keep their f, with k·dz(u) for u.
    What is no function of (x, u) stays outside: delay (wrap in `physics.InputDelay`), lag, noise,
    push and wind.

    Raises ValueError where an effect does not fit the system, or the system has memory.
    """

    hidden: HiddenEffects = HiddenEffects()
    smoothing: float = Parameter(0.01, "rad/s, m/s", "real")

    def __post_init__(self) -> None:
        if self.system.memory:
            raise ValueError(
                f"system: {type(self.system).__name__} has memory; wrap the disturbed system "
                "instead: InputDelay(system=Disturbed(…), steps=…)"
            )
        self.hidden.check(self.system)
        if only := self.hidden.engine_only:
            raise ValueError(f"{only[0]} has no closed form: it acts in PyBullet alone")
        if self.smoothing < 0:
            raise ValueError(f"smoothing must be ≥ 0, got {float(self.smoothing)!r}")
        domain = "positive" if self.smoothing > 0 else "real"
        object.__setattr__(self, "smoothing", Parameter(self.smoothing, "rad/s, m/s", domain))
        # The true values move into the system, once: later changes of parameters then hold.
        object.__setattr__(self, "system", self.hidden.true_system(self.system))
        object.__setattr__(self, "hidden", self.hidden.beyond_system())
        super().__post_init__()

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return self.flow(x, self.hidden.actuated(u), type(x)(0), p, d)

    def flow(self, x: ca.SX, applied: ca.SX, force: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        """ẋ under what the actuator applies (nu,) and a further generalised force τ (nv,)."""
        system, hidden = self.system, self.hidden
        if not isinstance(system, Mechanical):
            return system.dynamics(x, applied, p, d)
        q, v = x[: system.nq], x[system.nq :]
        tau = system.input_map(q, p) @ applied + force + hidden.force(system, x, applied)
        where = tangent.positions(system.states[: system.nq], q)
        return system.flow(q, v, tau - hidden.friction(where, v, p.smoothing), p)
