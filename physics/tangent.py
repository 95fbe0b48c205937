"""States with rotations: differences, steps and noise live in the tangent space.

    x ⊞ ξ:  x + ξ on ordinary rows,  q ⊗ exp ξ on a quaternion
    x ⊟ y:  x − y on ordinary rows,  log(y⁻¹ ⊗ x) on a quaternion

so that y ⊞ (x ⊟ y) = x up to the quaternion's sign. A quaternion has four rows in x and three,
a rotation vector [rad] in the body's frame, in ξ. What an x is made of is said by its Signals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import casadi as ca

from physics import quaternion
from physics.system import Signal

Signals = tuple[Signal, ...]
AXES = ("x", "y", "z")


def names(group: str) -> tuple[str, ...]:
    """Names of a quaternion's three rows in the tangent space."""
    return tuple(f"{group}_{axis}" for axis in AXES)


def signals(of: Signals) -> Signals:
    """The signals of ξ: a quaternion's four become three, the others stay."""
    found: dict[str, Signal] = {}
    for signal in of:
        if signal.quaternion is None:
            found[signal.name] = signal
        else:
            found |= {name: Signal(name, "rad") for name in names(signal.quaternion)}
    return tuple(found.values())


def retract(of: Signals, x: ca.SX, xi: ca.SX) -> ca.SX:
    """x ⊞ ξ (n,)."""

    def turn(q: ca.SX, xi: ca.SX) -> ca.SX:
        return quaternion.multiply(q, quaternion.exp(xi))

    return _joined(
        turn(a, b) if rotates else a + b for rotates, a, b in _pairs(of, x, xi, tangent=True)
    )


def difference(of: Signals, x: ca.SX, y: ca.SX) -> ca.SX:
    """x ⊟ y (tangent rows); angles are not wrapped."""

    def turn(q: ca.SX, p: ca.SX) -> ca.SX:
        return quaternion.log(quaternion.multiply(quaternion.conjugate(p), q))

    return _joined(
        turn(a, b) if rotates else a - b for rotates, a, b in _pairs(of, x, y, tangent=False)
    )


def difference_function(of: Signals) -> ca.Function:
    """(a, b) ↦ a ⊟ b as a Function, for numbers."""
    a, b = (ca.SX.sym(name, len(of)) for name in "ab")
    return ca.Function("difference", [a, b], [difference(of, a, b)], ["a", "b"], ["e"])


def normalise(of: Signals, x: ca.SX) -> ca.SX:
    """x with its quaternions of length one."""
    return _joined(
        quaternion.normalise(a) if rotates else a
        for rotates, a, _ in _pairs(of, x, x, tangent=False)
    )


def rates(of: Signals, q: ca.SX, v: ca.SX) -> ca.SX:
    """q̇ of coordinates q with velocities v (tangent rows): v itself, and ½ q ⊗ (0, ω)."""
    return _joined(
        quaternion.rate(a, b) if rotates else b for rotates, a, b in _pairs(of, q, v, tangent=True)
    )


def positions(of: Signals, q: ca.SX) -> ca.SX:
    """Each tangent row's own coordinate: q, and 0 for the three of a rotation."""
    return _joined(
        type(q).zeros(3) if rotates else a for rotates, a, _ in _pairs(of, q, q, tangent=False)
    )


def _pairs(of: Signals, x: ca.SX, y: ca.SX, *, tangent: bool) -> Iterator[tuple[bool, Any, Any]]:
    """(is it a quaternion, its rows of x, its rows of y); y has tangent rows or those of x."""
    i = j = 0
    while i < len(of):
        rotates = of[i].quaternion is not None
        n = 4 if rotates else 1
        m = 3 if rotates and tangent else n
        yield rotates, x[i : i + n, :], y[j : j + m, :]
        i, j = i + n, j + m


def _joined(values: Iterable[ca.SX]) -> ca.SX:
    return ca.vertcat(*values)
