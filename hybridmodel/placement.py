"""Where the residual r enters the model, as data that every path honours.

    acceleration   v̇ = f_v(x, u; p) + r              (velocity rows of ẋ)
    derivative     ẋ = f(x, u; p) + r                (any rows of ẋ but those of a quaternion)
    input          ẋ = f(x, u + r; p)                (delta action)
    next_state     x⁺ = F(x, u; p) ⊞ r               (tangent space: + r, ⊗ exp r on a quaternion)

A discrete system (x⁺ = f(x, u; p), no ẋ) takes the last two.

A placement is two small functions on CasADi expressions, each the identity where it is not
given; no other file knows which placement is in use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import casadi as ca

from physics import Signal, System, tangent


def _unchanged(value: ca.SX, r: ca.SX) -> ca.SX:
    return value


def _unmoved(states: tuple[Signal, ...], x: ca.SX, r: ca.SX) -> ca.SX:
    return x


def _plus(value: ca.SX, r: ca.SX) -> ca.SX:
    return value + r


def _acceleration_rows(system: System) -> tuple[Signal, ...]:
    return tuple(s for s in system.states if s.rate_of is not None)


def _flowing_rows(system: System) -> tuple[Signal, ...]:
    return tuple(s for s in system.states if s.quaternion is None)


def _tangent_rows(system: System) -> tuple[Signal, ...]:
    return tangent.signals(system.states)


def _inputs(system: System) -> tuple[Signal, ...]:
    return system.inputs


@dataclass(frozen=True)
class Placement:
    """One way for r to enter.

    name      its name in checkpoints and reports
    targets   the signals that r may correct, a function of the System
    rows      names of those it does correct; None means all
    on_input, on_derivative   (value, r spread over all its rows) ↦ value, SX or MX
    on_next   (states, x⁺, r spread over the tangent space of the states) ↦ x⁺
    """

    name: str
    targets: Callable[[System], tuple[Signal, ...]]
    rows: tuple[str, ...] | None = None
    on_input: Callable[[ca.SX, ca.SX], ca.SX] = _unchanged
    on_derivative: Callable[[ca.SX, ca.SX], ca.SX] = _unchanged
    on_next: Callable[[tuple[Signal, ...], ca.SX, ca.SX], ca.SX] = _unmoved

    def on(self, *rows: str) -> Placement:
        """The same placement, correcting only the named signals."""
        return replace(self, rows=rows)

    @property
    def once_a_step(self) -> bool:
        """Whether r acts on the discrete step instead of the ODE."""
        return self.on_next is not _unmoved

    def signals(self, system: System) -> tuple[Signal, ...]:
        """The signals that r corrects, in order.

        Raises ValueError for an unknown name or none, or where a discrete system has no ẋ.
        """
        if system.dt is not None and self.on_derivative is not _unchanged:
            raise ValueError(
                f"placement {self.name!r} corrects ẋ, and {type(system).__name__} is discrete, "
                f"x⁺ = f(x, u, p, d): use placement.next_state, or placement.input"
            )
        targets = {s.name: s for s in self.targets(system)}
        if unknown := [name for name in self.rows or () if name not in targets]:
            raise ValueError(
                f"placement {self.name!r} has no row {unknown[0]!r}; rows are {list(targets)}"
            )
        if self.rows is not None and len(set(self.rows)) < len(self.rows):
            raise ValueError(f"placement {self.name!r} names a row twice: {self.rows}")
        chosen = tuple(targets.values() if self.rows is None else (targets[n] for n in self.rows))
        if not chosen:
            raise ValueError(
                f"placement {self.name!r} finds nothing to correct in {type(system).__name__}"
            )
        return chosen

    def spread(self, system: System, signals: tuple[Signal, ...], r: ca.SX) -> ca.SX:
        """r (nr,) laid out over `signals`, 0 where it does not act."""
        value = dict(zip((s.name for s in self.signals(system)), ca.vertsplit(r), strict=True))
        return ca.vertcat(*(value.get(s.name, type(r)(0)) for s in signals))


acceleration = Placement("acceleration", _acceleration_rows, on_derivative=_plus)
derivative = Placement("derivative", _flowing_rows, on_derivative=_plus)
input = Placement("input", _inputs, on_input=_plus)
next_state = Placement("next_state", _tangent_rows, on_next=tangent.retract)
ALL = (acceleration, derivative, input, next_state)
