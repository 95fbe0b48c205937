"""What the physics does not know: the gap between a System and its plant.

`HiddenEffects` fit any system; `hybridmodel.envs.effects` has those of one kind of machine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import casadi as ca

from physics import Mechanical, System, tangent

Push = tuple[float, float, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class HiddenEffects:
    """True parameters, friction, actuator flaws, noise and disturbances; the default is none.

        M(q) v̇ + b(q, v) = B(q) uᵃ + τ(t) − c(q) sgn v − D v + force(x, uᵃ)
        cᵢ(q) = c⁰ᵢ (1 + ρ cos(w qᵢ))
        uᵃ: u ─ n steps delay ─▶ dead zone ±z ─▶ gain k ─▶ lag T u̇ᵃ + uᵃ = k·sgn u·max(|u| − z, 0)
        yₖ = h(xₖ, uₖ₋₁) + σ ε                                           ε ~ N(0, 1)

    parameters    true values of the System's parameters, by name
    coulomb       c⁰ dry friction of each coordinate [N, N·m]; () is none
    ripple        ρ share of c⁰ that varies with the coordinate [–], 0 … 1
    ripple_waves  w periods of the ripple in 2π of the coordinate [1/rad, 1/m]
    viscous       D viscous friction of each coordinate, beyond the modelled [N·s/m, N·m·s/rad]
    input_gain    k actuator gain [–]
    dead_zone     z what the actuator swallows [input unit]
    input_lag     T time constant of the actuator [s]
    input_delay   n control steps until a command arrives
    observation_noise  σ of all outputs, or of each [output unit]; of a rotation three [rad]
    push          (start [s], duration [s], generalised force (nv,) [N, N·m]), or None
    wind          standard deviation of a slowly varying force on the first coordinate [N, N·m]
    wind_time     its correlation time [s]

    Raises ValueError where a value is not finite or has the wrong sign.
    """

    parameters: Mapping[str, float] = field(default_factory=dict, hash=False)
    coulomb: tuple[float, ...] = ()
    ripple: float = 0.0
    ripple_waves: float = 1.0
    viscous: tuple[float, ...] = ()
    input_gain: float = 1.0
    dead_zone: float = 0.0
    input_lag: float = 0.0
    input_delay: int = 0
    observation_noise: float | tuple[float, ...] = 0.0
    push: Push | None = None
    wind: float = 0.0
    wind_time: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", dict(self.parameters))
        for name in ("coulomb", "viscous"):
            values = getattr(self, name)
            _require(not isinstance(values, int | float), name, values, "a tuple of values")
            values = tuple(map(float, values))
            object.__setattr__(self, name, values)
            _require(all(_not_negative(value) for value in values), name, values, "values ≥ 0")
        noise = self.observation_noise
        noise = float(noise) if isinstance(noise, int | float) else tuple(map(float, noise))
        object.__setattr__(self, "observation_noise", noise)
        stds = noise if isinstance(noise, tuple) else (noise,)
        _require(all(map(_not_negative, stds)), "observation_noise", noise, "values ≥ 0")
        for name in ("dead_zone", "input_lag", "wind"):
            value = getattr(self, name)
            _require(_not_negative(value), name, value, "a finite number ≥ 0")
        for name in ("ripple_waves", "input_gain"):
            value = getattr(self, name)
            _require(math.isfinite(value), name, value, "a finite number")
        _require(0 <= self.ripple <= 1, "ripple", self.ripple, "a share within 0 … 1")
        _require(0 < self.wind_time < math.inf, "wind_time", self.wind_time, "seconds > 0")
        delay = self.input_delay
        _require(isinstance(delay, int) and delay >= 0, "input_delay", delay, "an integer ≥ 0")
        if self.push is not None:
            _require(len(self.push) == 3, "push", self.push, "(start, duration, forces)")
            start, duration, forces = self.push
            object.__setattr__(self, "push", (start, duration, tuple(map(float, forces))))
            fine = math.isfinite(start) and _not_negative(duration)
            _require(fine, "push", self.push, "a finite start and a duration ≥ 0 in seconds")
            _require(all(map(math.isfinite, forces)), "push", self.push, "finite forces")

    @property
    def acts_on_coordinates(self) -> tuple[str, ...]:
        """Names of the effects in use that need coordinates: friction, push, wind."""
        names = ("coulomb", "viscous", "push", "wind")
        return tuple(name for name in names if getattr(self, name))

    def check(self, system: System) -> None:
        """ValueError where an effect does not fit the system, naming the effect."""
        system.check_declared(self.parameters)
        if isinstance(system, Mechanical):
            nv = system.nv
            lengths = {"coulomb": len(self.coulomb), "viscous": len(self.viscous)}
            lengths["push"] = len(self.push[2]) if self.push else 0
            for name, length in lengths.items():
                wanted = f"{nv} values, one for each velocity of {type(system).__name__}"
                _require(length in (0, nv), name, getattr(self, name), wanted)
        elif self.acts_on_coordinates:
            raise ValueError(
                f"{self.acts_on_coordinates[0]} acts on coordinates, and "
                f"{type(system).__name__} is no physics.Mechanical: give input effects and "
                "parameters only"
            )
        noise = self.observation_noise
        if isinstance(noise, tuple):
            count = len(tangent.signals(system.outputs))
            wanted = f"one number or {count}, one for each output and three for a rotation"
            _require(len(noise) == count, "observation_noise", noise, wanted)

    @property
    def engine_only(self) -> tuple[str, ...]:
        """Names of the effects in use that have no closed form, and act in PyBullet alone."""
        return ()

    def true_system(self, system: System) -> System:
        """The system with all that changes its parameters."""
        return system.with_parameters(**self.parameters)

    def beyond_system(self) -> Self:
        """What is left to hide once the true system is known."""
        return dataclasses.replace(self, parameters={})

    def force(self, system: System, x: ca.SX, u: ca.SX) -> ca.SX:
        """Further generalised force (nv,) at state x under the applied input u: none here."""
        return ca.SX.zeros(system.nv if isinstance(system, Mechanical) else 0)

    def actuated(self, u: ca.SX) -> ca.SX:
        """k·sgn u·max(|u| − z, 0), the settled input force of a command u (nu,)."""
        if not self.dead_zone:
            return self.input_gain * u  # the same, with a slope at 0
        return self.input_gain * ca.sign(u) * ca.fmax(ca.fabs(u) - self.dead_zone, 0)

    def friction_limit(self, q: ca.SX) -> ca.SX:
        """c(q) (nv,), the largest dry friction [N, N·m], at one coordinate a velocity."""
        if not self.coulomb:
            return ca.SX.zeros(q.shape[0])
        return ca.DM(self.coulomb) * (1 + self.ripple * ca.cos(self.ripple_waves * q))

    def friction(self, q: ca.SX, v: ca.SX, smoothing: float | ca.SX) -> ca.SX:
        """c(q) tanh(v / smoothing) + D v (nv,); smoothing 0 is the exact sign."""
        exact = isinstance(smoothing, float | int) and smoothing == 0
        sign = ca.sign(v) if exact else ca.tanh(v / smoothing)
        viscous = ca.DM(self.viscous) * v if self.viscous else 0
        return self.friction_limit(q) * sign + viscous


def _not_negative(value: float) -> bool:
    return 0 <= value < math.inf


def _require(condition: bool, name: str, value: object, wanted: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
