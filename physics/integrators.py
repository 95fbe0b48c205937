"""Explicit one-step methods, written once for CasADi expressions and torch tensors.

x⁺ = advance(f, x, h, v)      f: x ↦ ẋ,  h step [s],  v: 1 on velocity rows, 0 elsewhere

`ALL` are those for ẋ; `discrete` is for systems whose f gives x⁺.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Integrator:
    """A named one-step method and its order."""

    name: str
    order: int
    advance: Callable[[Callable[[Any], Any], Any, Any, Any], Any]


def _euler(f: Callable[[Any], Any], x: Any, h: Any, v: Any) -> Any:
    return x + h * f(x)


def _semi_implicit_euler(f: Callable[[Any], Any], x: Any, h: Any, v: Any) -> Any:
    # velocities first, then positions with the new velocities: what physics engines do
    x = x + h * (v * f(x))
    return x + h * ((1 - v) * f(x))


def _rk4(f: Callable[[Any], Any], x: Any, h: Any, v: Any) -> Any:
    k1 = f(x)
    k2 = f(x + h / 2 * k1)
    k3 = f(x + h / 2 * k2)
    k4 = f(x + h * k3)
    return x + h / 6 * (k1 + 2 * (k2 + k3) + k4)


def _discrete(f: Callable[[Any], Any], x: Any, h: Any, v: Any) -> Any:
    return f(x)


euler = Integrator("euler", 1, _euler)
semi_implicit_euler = Integrator("semi_implicit_euler", 1, _semi_implicit_euler)
rk4 = Integrator("rk4", 4, _rk4)
discrete = Integrator("discrete", 0, _discrete)  # no order: there is nothing to approximate
ALL = (euler, semi_implicit_euler, rk4)
