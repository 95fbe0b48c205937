"""The analytic pieces of one model, and the one discrete step that is made of them.

    uᵃ = applied(x, u, p)              memory (delays) decides which input acts
    z  = features(x, uᵃ, d)            what the network sees
    m  = recalled(x, uᵃ, d)            what a recurrent network remembers
    ẋ  = derivative(x, uᵃ, p, d[, r])  physics with the residual placed; x⁺ of a discrete system
    x⁺ = finish(x', x, u, p[, r][, m⁺])   memory advanced, next-state residual added, quaternions
                                       of length one
    y  = output(x, u, p, d[, r])
    e  = x ⊟ x', y ⊟ y'                errors, rotations as rotation vectors

`step` and `observe` below are the only places where they are put together. They run on casadi
expressions with the Functions themselves and on tensors with their torch forms, so both paths are
one text. x = (continuous states, memory of the system, memory of the residual); the rows of
memory in ẋ are zero and `finish` sets them. Every piece is SX that can be; of a system whose
`symbols` are MX only those stay MX that have no scalar form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

import casadi as ca

from hybridmodel.features import features, seen_by
from hybridmodel.placement import Flow, Placement
from physics import System, tangent
from physics.binding import scalar_form
from physics.integrators import Integrator

_PLACES = ("flow", "next state", "output")


@dataclass(frozen=True)
class Equations:
    """Every analytic piece of a model: casadi.Functions, or their torch forms (`map`)."""

    constrain: Any  # ϑ ↦ p
    initial: Any  # (x without memory, past u flattened) ↦ x without the residual's memory
    applied: Any
    features: Any
    recalled: Any
    derivative: Any
    finish: Any
    output: Any
    state_difference: Any  # (x, x') ↦ x ⊟ x' of continuous states
    state_retract: Any  # (x, ξ) ↦ x ⊞ ξ of continuous states
    output_difference: Any  # (y, y') ↦ y ⊟ y'

    def map(self, transform: Callable[[ca.Function], Any]) -> Equations:
        return Equations(**{f.name: transform(getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True)
class Scheme:
    """How one step is taken: integrator, substeps, where and how often r is evaluated."""

    integrator: Integrator
    substeps: int
    hold: bool  # r evaluated once a step and held over all stages
    enters: Literal["flow", "next state", "output"] | None  # where r does
    recurrent: bool = False  # the network is (z, m) ↦ (r, m⁺)


def build(
    system: System,
    placement: Placement | None,
    declared: tuple[str, ...],
    chosen: tuple[str, ...],
    nm: int = 0,
) -> Equations:
    """All pieces of a model; p holds the declared parameters, everything else is baked.

    `chosen` names the features, nm is the size of the residual's memory.
    """
    n, nx, states, X = len(system.states), system.nx, system.states, system.symbols
    x, u, d = (X.sym(s, k) for s, k in (("x", nx + nm), ("u", system.nu), ("d", system.nd)))
    p, theta = X.sym("p", len(declared)), ca.SX.sym("theta", len(declared))
    flow, memory, names = x[:n, :], x[n:nx, :], system.namespace(declared, p)

    r = X.sym("r", len(placement.signals(system)) if placement else 0)
    enters = placement.enters if placement else None
    given = {place: {"r": r} if enters == place else {} for place in _PLACES}

    xdot = X(system.dynamics(flow, u, names, d))
    if xdot.shape != (n, 1):
        raise ValueError(
            f"{type(system).__name__}.dynamics must return {n} rows, one a state; got {xdot.shape}"
        )
    if placement is not None and enters == "flow":
        at = Flow(system, placement.corrects(system), flow, u, names, d)
        xdot = X(placement.flow(at, r))
    after = flow
    if placement is not None and enters == "next state":
        after = placement.on_next(states, flow, placement.over(system, tangent.signals(states), r))
    after = tangent.normalise(states, after)  # an integrator leaves the sphere a little
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
    if placement is not None and enters == "output":
        seen = placement.over(system, tangent.signals(system.outputs), r)
        y = placement.on_output(system.outputs, y, seen)
    known = [system.parameters[name] for name in declared]
    values = [k.constrain(t) for k, t in zip(known, ca.vertsplit(theta), strict=True)]
    start, past = X.sym("x0", n), X.sym("past_u", system.nu * system.memory_steps)
    recalled = system.initial_memory(ca.reshape(past, system.nu, system.memory_steps))
    before, remembered = X.sym("before", nx + nm), X.sym("m_next", nm)
    advanced = system.advance_memory(before[n:nx, :], u, names)
    z = features(seen_by(system), ca.vertcat(x[:nx, :], u, d), chosen)
    idle = X.zeros(nx + nm - n)  # memory does not flow, it advances once a step
    xi = X.sym("xi", len(tangent.signals(states)))
    moved = tangent.retract(states, start, xi)
    kept = {"m_next": remembered} if nm else {}

    def function(name: str, inputs: dict[str, Any], value: Any) -> ca.Function:
        made = ca.Function(name, [*inputs.values()], [value], [*inputs], [name + "_out"])
        return scalar_form(made) or made

    return Equations(
        constrain=function("constrain", {"theta": theta}, ca.vertcat(ca.SX(0, 1), *values)),
        initial=function("initial", {"x0": start, "past_u": past}, ca.vertcat(start, recalled)),
        applied=function(
            "applied", {"x": x, "u": u, "p": p}, system.applied_input(memory, u, names)
        ),
        features=function("features", {"x": x, "u": u, "d": d}, z),
        recalled=function("recalled", {"x": x, "u": u, "d": d}, x[nx:, :]),
        derivative=function(
            "derivative", {"x": x, "u": u, "p": p, "d": d} | given["flow"], ca.vertcat(xdot, idle)
        ),
        finish=function(
            "finish",
            {"x": x, "before": before, "u": u, "p": p} | given["next state"] | kept,
            ca.vertcat(after, advanced, remembered),
        ),
        output=function("output", {"x": x, "u": u, "p": p, "d": d} | given["output"], y),
        state_difference=tangent.difference_function(states),
        state_retract=function("retract", {"x": start, "xi": xi}, moved),
        output_difference=tangent.difference_function(system.outputs),
    )


def step(
    equations: Equations,
    network: Callable[..., Any] | None,
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
        """(r,) or (r, m⁺) at s."""
        if network is None:
            return ()
        z = equations.features(s, acting, d)
        return network(z, equations.recalled(x, acting, d)) if scheme.recurrent else (network(z),)

    in_flow = scheme.enters == "flow"
    held = residual(x) if scheme.recurrent or scheme.hold or scheme.enters == "next state" else ()

    def derivative(s: Any) -> Any:
        r = () if not in_flow else held[:1] if scheme.hold else residual(s)[:1]
        return equations.derivative(s, acting, p, d, *r)

    s = x
    for _ in range(scheme.substeps):
        s = scheme.integrator.advance(derivative, s, dt / scheme.substeps, velocity)
    r = held[:1] if scheme.enters == "next state" else ()
    return equations.finish(s, x, u, p, *r, *held[1:])


def flow(
    equations: Equations,
    network: Callable[..., Any] | None,
    scheme: Scheme,
    x: Any,
    u: Any,
    p: Any,
    d: Any,
) -> Any:
    """ẋ = f(x, u, p, d) with the residual at x, of a model that has an ODE."""
    acting = equations.applied(x, u, p)
    if network is None or scheme.enters != "flow":
        return equations.derivative(x, acting, p, d)
    return equations.derivative(x, acting, p, d, network(equations.features(x, acting, d)))


def observe(
    equations: Equations,
    network: Callable[..., Any] | None,
    scheme: Scheme,
    x: Any,
    u: Any,
    p: Any,
    d: Any,
) -> Any:
    """y = h(x, u, p, d), with the residual where it corrects the sensors."""
    if network is None or scheme.enters != "output":
        return equations.output(x, u, p, d)
    acting = equations.applied(x, u, p)
    z = equations.features(x, acting, d)
    r = network(z, equations.recalled(x, acting, d))[0] if scheme.recurrent else network(z)
    return equations.output(x, u, p, d, r)
