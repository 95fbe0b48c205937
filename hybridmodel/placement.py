"""Where the residual r enters the model, as data that every path honours.

    acceleration   v̇ = f_v(x, u; p) + r              velocity rows of ẋ
    force          M v̇ + b = B u + r                 generalised forces, through M⁻¹
    derivative     ẋ = f(x, u; p) + r                any rows of ẋ but those of a quaternion
    input          ẋ = f(x, u + r; p)                delta action
    parameters     ẋ = f(x, u; p·exp r)              in the domain of each parameter
    dissipation    M v̇ + b = B u − D(r) v            D positive semidefinite: power ≤ 0
    gyroscopic     M v̇ + b = B u + S(r) v            S skew: power = 0
    potential      M v̇ + b = B u − (∂φ/∂q)ᵀ r        r = ∂U/∂z: a force that conserves H + U
    next_state     x⁺ = F(x, u; p) ⊞ r               tangent space: + r, ⊗ exp r on a quaternion
    output         y = h(x, u; p) ⊞ r                sensors

A discrete system (x⁺ = f(x, u; p), no ẋ) takes input, parameters, next_state and output; what
acts as a force needs a mechanical system.

A placement is a small function on CasADi expressions, at one of three places: the flow, the next
state, the output. No other file knows which placement is in use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Literal

import casadi as ca

from hybridmodel.features import feature_signals, features, names
from physics import Signal, System, tangent

Signals = tuple[Signal, ...]


@dataclass(frozen=True)
class Flow:
    """What a placement meets in the flow: a system, the rows it corrects, and where it is."""

    system: System
    chosen: Signals
    x: ca.SX
    u: ca.SX
    p: SimpleNamespace
    d: ca.SX

    def over(self, signals: Signals, r: ca.SX) -> ca.SX:
        """r, one number for each chosen row, laid out over `signals`, 0 elsewhere."""
        return _spread(self.chosen, signals, r)

    @property
    def chosen_velocity(self) -> ca.SX:
        """v of the chosen rows."""
        at = {s.name: i for i, s in enumerate(self.system.states)}
        return self.x[[at[s.name] for s in self.chosen], :]

    def forced(self, force: ca.SX) -> ca.SX:
        """ẋ under a further generalised force on the chosen velocities."""
        tau = self.over(_velocities(self.system), force)
        return self.system.forced_dynamics(self.x, self.u, tau, self.p, self.d)


def _physics(at: Flow, r: ca.SX) -> ca.SX:
    return at.system.dynamics(at.x, at.u, at.p, at.d)


def _add(at: Flow, r: ca.SX) -> ca.SX:
    return _physics(at, r) + at.over(at.system.states, r)


def _add_to_input(at: Flow, r: ca.SX) -> ca.SX:
    u = at.u + at.over(at.system.inputs, r)
    return at.system.dynamics(at.x, u, at.p, at.d)


def _move_parameters(at: Flow, r: ca.SX) -> ca.SX:
    known, moved = at.system.parameters, SimpleNamespace(**vars(at.p))
    for signal, step in zip(at.chosen, ca.vertsplit(r), strict=True):
        value = getattr(at.p, signal.name)
        setattr(moved, signal.name, known[signal.name].moved(value, step))
    return at.system.dynamics(at.x, at.u, moved, at.d)


def _force(at: Flow, r: ca.SX) -> ca.SX:
    return at.forced(r)


def _dissipate(at: Flow, r: ca.SX) -> ca.SX:
    # D = |γ| (1 + L)(1 + L)ᵀ: zero at r = 0, where the slope in γ is one-sided and not zero
    gate, n = r[0], len(at.chosen)
    root, entries = type(r).eye(n), iter(ca.vertsplit(r[1:, :]))
    for row in range(n):
        for column in range(row + 1):
            root[row, column] += next(entries)
    size = ca.if_else(gate >= 0, gate, -gate)
    return at.forced(-size * (root @ (root.T @ at.chosen_velocity)))


def _turn(at: Flow, r: ca.SX) -> ca.SX:
    n, entries = len(at.chosen), iter(ca.vertsplit(r))
    skew = type(r).zeros(n, n)
    for row in range(n):
        for column in range(row):
            entry = next(entries)
            skew[row, column], skew[column, row] = entry, -entry
    return at.forced(skew @ at.chosen_velocity)


def _descend(at: Flow, r: ca.SX) -> ca.SX:
    coordinates = _coordinates(at.system)
    velocities = _velocities(at.system)
    q, v = ca.SX.sym("q", len(coordinates)), ca.SX.sym("v", len(velocities))
    z = features(coordinates, q, names(coordinates))
    # a generalised force is conjugate to v, of which q̇ = T(q) v
    slope = ca.jacobian(z, q) @ ca.jacobian(tangent.rates(coordinates, q, v), v)
    here = ca.Function("slope", [q], [slope])(at.x[: len(coordinates), :])
    tau = ca.densify(-(here.T @ r))
    return at.system.forced_dynamics(at.x, at.u, tau, at.p, at.d)


def _same_next(states: Signals, x: ca.SX, r: ca.SX) -> ca.SX:
    return x


def _spread(chosen: Signals, signals: Signals, r: ca.SX) -> ca.SX:
    value = dict(zip((s.name for s in chosen), ca.vertsplit(r), strict=True))
    return ca.vertcat(type(r)(0, 1), *(value.get(s.name, type(r)(0)) for s in signals))


def _velocities(system: System) -> Signals:
    return tuple(s for s in system.states if s.rate_of is not None)


def _coordinates(system: System) -> Signals:
    moving = {s.rate_of for s in system.states}
    return tuple(s for s in system.states if (s.quaternion or s.name) in moving)


def _coordinate_features(system: System) -> tuple[str, ...]:
    """The features of coordinates alone, which a potential is a function of."""
    return names(_coordinates(system))


def _forced(system: System) -> Signals:
    return _velocities(system) if system.takes_force else ()


def _flowing(system: System) -> Signals:
    return tuple(s for s in system.states if s.quaternion is None)


# functions with names, not lambdas: a placement crosses to worker processes


def _inputs(system: System) -> Signals:
    return system.inputs


def _parameters(system: System) -> Signals:
    return tuple(Signal(name) for name in system.parameters)


def _potential_slopes(system: System) -> Signals:
    if not system.takes_force:
        return ()
    return feature_signals(_coordinates(system), _coordinate_features(system))


def _tangent_states(system: System) -> Signals:
    return tangent.signals(system.states)


def _tangent_outputs(system: System) -> Signals:
    return tangent.signals(system.outputs)


def _itself(chosen: Signals) -> Signals:
    return chosen


def _damping_entries(chosen: Signals) -> Signals:
    return (Signal("damping"), *_triangle(chosen, diagonal=True))


def _skew_entries(chosen: Signals) -> Signals:
    return _triangle(chosen, diagonal=False)


def _triangle(chosen: Signals, *, diagonal: bool) -> Signals:
    entries = [(i, j) for i in range(len(chosen)) for j in range(i + diagonal)]
    return tuple(Signal(f"{chosen[i].name}×{chosen[j].name}") for i, j in entries)


@dataclass(frozen=True)
class Placement:
    """One way for r to enter.

    name      its name in checkpoints and reports
    targets   the signals that r may correct, a function of the System
    rows      names of those it does correct; None means all
    numbers   the rows of r, a function of the signals that it corrects; one each unless given
    flow      (where, r) ↦ ẋ, of a discrete system x⁺
    on_next   (states, x⁺, r over the tangent space of the states) ↦ x⁺
    on_output (outputs, y, r over the tangent space of the outputs) ↦ y
    needs_ode   whether it corrects ẋ, which a discrete system has not
    sees      the only features that it takes, a function of the System; None is any
    """

    name: str
    targets: Callable[[System], Signals]
    rows: tuple[str, ...] | None = None
    numbers: Callable[[Signals], Signals] = _itself
    flow: Callable[[Flow, ca.SX], ca.SX] = _physics
    on_next: Callable[[Signals, ca.SX, ca.SX], ca.SX] = _same_next
    on_output: Callable[[Signals, ca.SX, ca.SX], ca.SX] = _same_next
    needs_ode: bool = False
    sees: Callable[[System], tuple[str, ...]] | None = None

    def on(self, *rows: str) -> Placement:
        """The same placement, correcting only the named signals."""
        return replace(self, rows=rows)

    @property
    def enters(self) -> Literal["flow", "next state", "output"]:
        """Where r acts: in every stage, on the discrete step, or on what is measured."""
        if self.on_next is not _same_next:
            return "next state"
        return "output" if self.on_output is not _same_next else "flow"

    def corrects(self, system: System) -> Signals:
        """The signals that are corrected, in order.

        Raises ValueError for an unknown name or none, or where a discrete system has no ẋ.
        """
        if system.dt is not None and self.needs_ode:
            raise ValueError(
                f"placement {self.name!r} corrects ẋ, and {type(system).__name__} is discrete, "
                f"x⁺ = f(x, u, p, d): use placement.next_state, or placement.input"
            )
        targets = {s.name: s for s in self.targets(system)}
        if not targets:
            raise ValueError(
                f"placement {self.name!r} finds nothing to correct in {type(system).__name__}"
            )
        if self.sees is not None and self.rows is not None:
            raise ValueError(f"placement {self.name!r} takes all its rows {list(targets)} or none")
        if unknown := [name for name in self.rows or () if name not in targets]:
            raise ValueError(
                f"placement {self.name!r} has no row {unknown[0]!r}; rows are {list(targets)}"
            )
        if self.rows is not None and len(set(self.rows)) < len(self.rows):
            raise ValueError(f"placement {self.name!r} names a row twice: {self.rows}")
        if self.rows == ():
            raise ValueError(
                f"placement {self.name!r} finds nothing to correct in {type(system).__name__}: "
                f"it was given no rows; rows are {list(targets)}"
            )
        return tuple(targets.values() if self.rows is None else (targets[n] for n in self.rows))

    def signals(self, system: System) -> Signals:
        """The rows of r, in order."""
        rows = self.numbers(self.corrects(system))
        if not rows:
            raise ValueError(
                f"placement {self.name!r} has no freedom in {type(system).__name__}: "
                f"it corrects {[s.name for s in self.corrects(system)]} alone"
            )
        return rows

    def over(self, system: System, signals: Signals, r: ca.SX) -> ca.SX:
        """r laid out over `signals`, 0 where it does not act."""
        return _spread(self.corrects(system), signals, r)


acceleration = Placement("acceleration", _velocities, flow=_add, needs_ode=True)
force = Placement("force", _forced, flow=_force, needs_ode=True)
derivative = Placement("derivative", _flowing, flow=_add, needs_ode=True)
input = Placement("input", _inputs, flow=_add_to_input)
parameters = Placement("parameters", _parameters, flow=_move_parameters)
dissipation = Placement(
    "dissipation", _forced, numbers=_damping_entries, flow=_dissipate, needs_ode=True
)
gyroscopic = Placement("gyroscopic", _forced, numbers=_skew_entries, flow=_turn, needs_ode=True)
potential = Placement(
    "potential",
    _potential_slopes,
    flow=_descend,
    needs_ode=True,
    sees=_coordinate_features,
)
next_state = Placement("next_state", _tangent_states, on_next=tangent.retract)
output = Placement("output", _tangent_outputs, on_output=tangent.retract)
ALL = (
    acceleration,
    force,
    derivative,
    input,
    parameters,
    dissipation,
    gyroscopic,
    potential,
    next_state,
    output,
)
