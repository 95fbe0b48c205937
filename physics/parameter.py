"""Physical parameters: numbers that know their unit and the set they may be fitted in.

    real       p = p₀ + s·ϑ                     s = |p₀|, or 1 where p₀ = 0
    positive   p = p₀·exp ϑ
    (a, b)     p = p₀ + (b − a)(σ(c + ϑ) − σ(c)),   c = logit((p₀ − a)/(b − a))

ϑ is what an optimiser moves, without bounds; ϑ = 0 gives p₀ exactly.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import casadi as ca

Domain = Literal["real", "positive"] | tuple[float, float]


def as_number(name: str, value: object) -> float:
    """The value as a plain float; ValueError with this name where it is no number."""
    try:
        if isinstance(value, str | bytes | bool):  # float() would take these
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):  # the last is casadi's, of an expression
        raise ValueError(f"{name} must be a number, got {value!r}") from None


class Parameter(float):
    """A physical constant: `Parameter(value, unit, domain)` is a float with a unit and a domain.

    Arithmetic gives plain floats, so a Parameter can stand wherever a number can. A plain
    float given for a field that has a Parameter as its default takes over unit and domain.

    Raises ValueError where the value is not finite or lies outside its domain.
    """

    unit: str
    domain: Domain

    def __new__(cls, value: float, unit: str = "", domain: Domain = "real") -> Self:
        self = super().__new__(cls, value)
        if isinstance(domain, list | tuple):
            low, high = (float(bound) for bound in domain)
            inside, domain = low < self < high, (low, high)
        elif domain in ("real", "positive"):
            inside = self > 0 or domain == "real"
        else:
            raise ValueError(f"domain must be 'real', 'positive' or (low, high), got {domain!r}")
        if not (math.isfinite(self) and inside):
            raise ValueError(f"value {float(self)!r} is not inside its domain {domain!r}")
        self.unit, self.domain = unit, domain
        return self

    def __getnewargs__(self) -> tuple[float, str, Domain]:  # type: ignore[override]
        return float(self), self.unit, self.domain

    def __repr__(self) -> str:
        return f"Parameter({float(self)!r}, {self.unit!r}, {self.domain!r})"

    def replace(self, value: float) -> Parameter:
        """The same quantity with another value: unit and domain stay."""
        return Parameter(value, self.unit, self.domain)

    def constrain(self, theta: ca.SX) -> ca.SX:
        """p(ϑ): from the unbounded ϑ to the parameter's domain, p(0) = p₀ exactly."""
        value = float(self)
        if self.domain == "positive":
            return value * ca.exp(theta)
        if self.domain == "real":
            return value + (abs(value) or 1.0) * theta
        low, high = self.domain
        share = (value - low) / (high - low)
        start = math.log(share / (1 - share))
        # written through tanh, so that the difference is exactly 0 at ϑ = 0
        offset = ca.tanh((start + theta) / 2) - ca.tanh(ca.SX(start) / 2)
        return value + (high - low) / 2 * offset

    def moved(self, p: ca.SX, step: ca.SX) -> ca.SX:
        """p moved by `step` in ϑ from wherever it is: p·exp r of a positive parameter."""
        if self.domain == "positive":
            return p * ca.exp(step)
        if self.domain == "real":
            return p + (abs(float(self)) or 1.0) * step
        low, high = self.domain
        at = ca.log((p - low) / (high - p))
        return p + (high - low) / 2 * (ca.tanh((at + step) / 2) - ca.tanh(at / 2))
