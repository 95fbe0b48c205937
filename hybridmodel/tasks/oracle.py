"""The oracle: a task's system with all that the task hides, in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import casadi as ca

from hybridmodel.envs import Disturbed, HiddenEffects
from hybridmodel.model import HybridModel
from hybridmodel.tasks.task import Task
from physics import Around, InputDelay, InputLag, System

_BEND = 1.0  # of a dead zone, over which it is smooth where plans are made


def oracle(task: Task) -> HybridModel:
    """A model that knows what is hidden: no residual, nothing to fit.

        M(q) v̇ + b(q, v) = B(q) a − c(q) tanh(v/ε) − D v + force(x, a),   T ȧ = k·dz(u_{k−n}) − a

    by `envs.Disturbed`; a lag is a state more that no sensor sees (`physics.InputLag`), a delay
    is memory (`physics.InputDelay`). Dry friction is smooth over ε, the task's `smoothing`, so that
    it can be planned with, dead zones over their own width. Noise is not known ahead.
    Raises ValueError for an effect that has no closed form, by its name.
    """
    system = task.system.with_parameters(**task.engine_parameters)
    return HybridModel(
        truth(system, task.hidden, smoothing=task.smoothing, bend=_BEND),
        dt=task.dt,
        substeps=task.oracle_substeps,
    )


def truth(
    system: System, hidden: HiddenEffects, *, smoothing: float = 0.0, bend: float = 0.0
) -> System:
    """ẋ of the plant, its kinks as they are or smooth over `smoothing` [rad/s, m/s] of friction
    and over a share `bend` of the dead zone. Errors as `oracle`."""
    for name in ("push", "wind"):
        if getattr(hidden, name):
            raise ValueError(f"{name} has no closed form: nobody knows it ahead")
    inside = replace(hidden, input_gain=1.0, dead_zone=0.0)
    known: System = Driven(system=system, hidden=inside, smoothing=smoothing)
    if hidden.input_lag:
        known = InputLag(system=known, time_constant=hidden.input_lag)
    if inside != hidden:
        known = Actuated(system=known, hidden=hidden, smoothing=bend * hidden.dead_zone)
    if hidden.input_delay:
        known = InputDelay(system=known, steps=hidden.input_delay)
    return known


@dataclass(frozen=True, kw_only=True)
class Driven(Disturbed):
    """A disturbed system under what its actuator applies, ẋ = f(x, a)."""

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        # even without a dead zone sgn u·max(|u|, 0) has no slope at u = 0
        return self.flow(x, u, type(x)(0), p, d)


@dataclass(frozen=True, kw_only=True)
class Actuated(Around):
    """A system behind an actuator's gain and dead zone, ẋ = f(x, k·dz(u)).

        dz(u) = u + ½ √((u − z)² + w²) − ½ √((u + z)² + w²)  →  sgn u·max(|u| − z, 0)

    for a width w = `smoothing` → 0 [input unit]. Inside the dead zone its slope is near ½ (w/z)²:
    a planner that goes by slopes finds its way out.
    """

    hidden: HiddenEffects
    smoothing: float

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return self.system.dynamics(x, self.applied(u), p, d)

    def applied(self, u: ca.SX) -> ca.SX:
        """k·dz(u) (nu,)."""
        z, w = self.hidden.dead_zone, float(self.smoothing)
        if not w:
            return self.hidden.actuated(u)
        bent = ca.sqrt((u - z) ** 2 + w**2) - ca.sqrt((u + z) ** 2 + w**2)
        return self.hidden.input_gain * (u + bent / 2)
