"""The analytic pieces of one model, and the one discrete step that is made of them.

    uᵃ = applied(x, u, p)              memory (delays) decides which input acts
    z  = features(x, uᵃ, d)            what the network sees
    ẋ  = derivative(x, uᵃ, p, d[, r])  physics with the residual placed; x⁺ of a discrete system
    x⁺ = finish(x', x, u, p[, r])      memory advanced, next-state residual added, quaternions of
                                       length one
    y  = output(x, u, p, d)
    e  = x ⊟ x', y ⊟ y'                errors, rotations as rotation vectors

`step` below is the only place where they are put together. It runs on casadi expressions with
the Functions themselves and on tensors with their torch forms, so both paths are one text.
x includes memory; its rows of ẋ are zero and `finish` sets them. Every piece is SX that can be;
of a system whose `symbols` are MX only those stay MX that have no scalar form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import casadi as ca

from hybridmodel.placement import Placement
from physics import System, quaternion, tangent
from physics.binding import scalar_form
from physics.integrators import Integrator


@dataclass(frozen=True)
class Equations:
    """Every analytic piece of a model: casadi.Functions, or their torch forms (`map`)."""

    constrain: Any  # ϑ ↦ p
    initial: Any  # (x without memory, past u flattened) ↦ x
    applied: Any
    features: Any
    derivative: Any
    finish: Any
    output: Any
    state_difference: Any  # (x, x') ↦ x ⊟ x' of continuous states
    output_difference: Any  # (y, y') ↦ y ⊟ y'

    def map(self, transform: Callable[[ca.Function], Any]) -> Equations:
        return Equations(**{f.name: transform(getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True)
class Scheme:
    """How one step is taken: integrator, substeps, where and how often r is evaluated."""

    integrator: Integrator
    substeps: int
    hold: bool  # r evaluated once a step and held over all stages
    in_ode: bool  # r enters the derivative; otherwise it enters `finish`


def build(
    system: System,
    placement: Placement | None,
    declared: tuple[str, ...],
    features: tuple[str, ...],
) -> Equations:
    """All pieces of a model; p holds the declared parameters, everything else is baked."""
    n, states, X = len(system.states), system.states, system.symbols
    x, u, d = (X.sym(s, k) for s, k in (("x", system.nx), ("u", system.nu), ("d", system.nd)))
    p, theta = X.sym("p", len(declared)), ca.SX.sym("theta", len(declared))
    flow, memory, names = x[:n, :], x[n:, :], system.namespace(declared, p)

    r = X.sym("r", len(placement.signals(system)) if placement else 0)
    acting, after = u, flow
    if placement is not None:
        acting = placement.on_input(u, placement.spread(system, system.inputs, r))
        step = placement.spread(system, tangent.signals(states), r)
        after = placement.on_next(states, flow, step)
    after = tangent.normalise(states, after)  # an integrator leaves the sphere a little
    in_ode = {"r": r} if placement and not placement.once_a_step else {}
    in_step = {"r": r} if placement and placement.once_a_step else {}

    xdot = X(system.dynamics(flow, acting, names, d))
    if xdot.shape != (n, 1):
        raise ValueError(
            f"{type(system).__name__}.dynamics must return {n} rows, one a state; got {xdot.shape}"
        )
    if placement is not None:
        xdot = placement.on_derivative(xdot, placement.spread(system, states, r))
    y = X(system.output(flow, u, names, d))
    if y.shape != (system.ny, 1):
        raise ValueError(
            f"{type(system).__name__}.output must return {system.ny} rows, one an output; "
            f"got {y.shape}"
        )
    if system.outputs == system.states and not ca.is_equal(y, flow):
        raise ValueError(
            f"{type(system).__name__}.output is not the state, yet its signals are the states: "
            f"give `outputs` names of their own"
        )
    known = [system.parameters[name] for name in declared]
    values = [k.constrain(t) for k, t in zip(known, ca.vertsplit(theta), strict=True)]
    start, past = X.sym("x0", n), X.sym("past_u", system.nu * system.memory_steps)
    recalled = system.initial_memory(ca.reshape(past, system.nu, system.memory_steps))
    before = X.sym("before", system.nx)
    advanced = system.advance_memory(before[n:, :], u, names)
    seen = _features(system, features, x, u, d)
    idle = X.zeros(system.nx - n)  # memory does not flow, it advances once a step

    def function(name: str, inputs: dict[str, Any], value: Any) -> ca.Function:
        made = ca.Function(name, [*inputs.values()], [value], [*inputs], [name + "_out"])
        return scalar_form(made) or made

    return Equations(
        constrain=function("constrain", {"theta": theta}, ca.vertcat(ca.SX(0, 1), *values)),
        initial=function("initial", {"x0": start, "past_u": past}, ca.vertcat(start, recalled)),
        applied=function(
            "applied", {"x": x, "u": u, "p": p}, system.applied_input(memory, u, names)
        ),
        features=function("features", {"x": x, "u": u, "d": d}, seen),
        derivative=function(
            "derivative", {"x": x, "u": u, "p": p, "d": d} | in_ode, ca.vertcat(xdot, idle)
        ),
        finish=function(
            "finish",
            {"x": x, "before": before, "u": u, "p": p} | in_step,
            ca.vertcat(after, advanced),
        ),
        output=function("output", {"x": x, "u": u, "p": p, "d": d}, y),
        state_difference=tangent.difference_function(states),
        output_difference=tangent.difference_function(system.outputs),
    )


def default_features(system: System) -> tuple[str, ...]:
    """All continuous states, inputs and exogenous signals; a quaternion under its own name."""
    signals = (*system.states, *system.inputs, *system.exogenous)
    return tuple(dict.fromkeys(s.quaternion or s.name for s in signals))


def _features(system: System, chosen: tuple[str, ...], x: Any, u: Any, d: Any) -> Any:
    """z: the chosen signals, an angle as its sine and cosine, a rotation as the nine entries of
    its matrix (q and −q are one rotation)."""
    signals = (*system.states, *system.memory, *system.inputs, *system.exogenous)
    columns: dict[str, Any] = {}
    for signal, value in zip(signals, ca.vertsplit(ca.vertcat(x, u, d)), strict=True):
        if signal.quaternion is not None:
            so_far = columns.get(signal.quaternion, type(x)(0, 1))
            columns[signal.quaternion] = ca.vertcat(so_far, value)
        elif signal.angle:
            columns[signal.name] = ca.vertcat(ca.sin(value), ca.cos(value))
        else:
            columns[signal.name] = value
    for group in {s.quaternion for s in signals if s.quaternion is not None}:
        columns[group] = ca.vec(quaternion.rotation_matrix(columns[group]))
    if unknown := [name for name in chosen if name not in columns]:
        raise ValueError(f"features: no signal {unknown[0]!r}; signals are {list(columns)}")
    return ca.vertcat(type(x)(0, 1), *(columns[name] for name in chosen))


def step(
    equations: Equations,
    network: Callable[[Any], Any] | None,
    scheme: Scheme,
    x: Any,
    u: Any,
    p: Any,
    d: Any,
    *,
    dt: Any,
    velocity: Any,
) -> Any:
    """x⁺ = F(x, u, p, d): one step of dt; `velocity` is 1 on velocity rows of x, 0 elsewhere."""
    acting = equations.applied(x, u, p)

    def residual(s: Any) -> tuple[Any, ...]:
        return () if network is None else (network(equations.features(s, acting, d)),)

    held = residual(x) if scheme.hold or not scheme.in_ode else ()

    def derivative(s: Any) -> Any:
        r = () if not scheme.in_ode else held if scheme.hold else residual(s)
        return equations.derivative(s, acting, p, d, *r)

    s = x
    for _ in range(scheme.substeps):
        s = scheme.integrator.advance(derivative, s, dt / scheme.substeps, velocity)
    return equations.finish(s, x, u, p, *(() if scheme.in_ode else held))
