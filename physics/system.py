"""The one noun of this package: a System, ẋ = f(x, u, p, d), written once in CasADi.

    x  states            (nx,)  continuous states, then memory advanced once a step
    u  inputs            (nu,)  what a controller commands
    p  parameters        (np,)  those *declared* for fitting; all others are baked in
    d  exogenous signals (nd,)  known but not commanded: time, voltage, payload of a log
    y  outputs           (ny,)  what is measured

f gives ẋ unless the system has a step `dt` of its own: then it gives x⁺. SI units and radians
throughout.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Real
from types import SimpleNamespace
from typing import Any, Self

import casadi as ca

from physics.parameter import Parameter, as_number


@dataclass(frozen=True)
class Signal:
    """One named channel: `Signal("angle", "rad", angle=True)`.

    `low`, `high` bound it; `angle` marks a coordinate on the circle (kept unwrapped in states
    and plans); `rate_of` names the state that this one is the time derivative of, which makes
    this row of ẋ an acceleration. `quaternion` names the rotation, body to world, of which this is
    a component: four signals in a row are its w, x, y, z. Body rates are `rate_of` its name.
    """

    name: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    angle: bool = False
    rate_of: str | None = None
    quaternion: str | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name):
            raise ValueError(f"name of a Signal must be a str that is not empty, got {self.name!r}")
        for bound in ("low", "high"):  # plain floats, whose repr is one everywhere
            value = as_number(f"{bound} of signal {self.name!r}", getattr(self, bound))
            object.__setattr__(self, bound, value)
        if not self.low <= self.high:
            raise ValueError(
                f"bounds of signal {self.name!r} are reversed: low {self.low} > high {self.high}"
            )


class System(ABC):
    """Analytic dynamics ẋ = f(x, u, p, d) with named signals.

    A subclass is a frozen dataclass: Parameter fields are p (a field that is a tuple of pairs
    (name, Parameter) holds several), tuples of Signal name the channels, and `dynamics` is the
    one method it must give. `states`, `inputs`, `exogenous`, `outputs`, `dt` and `symbols` are
    read as attributes (class attribute, field or property alike).

    A system with a step `dt` [s] is discrete, x⁺ = f(x, u, p, d).

    Memory (delays, lags) is state that advances once a step instead of flowing: a system with
    `memory` signals appends them to x and gives `applied_input`, `advance_memory` and
    `initial_memory`.
    """

    states: tuple[Signal, ...]
    inputs: tuple[Signal, ...]
    exogenous: tuple[Signal, ...] = ()
    memory: tuple[Signal, ...] = ()
    memory_steps: int = 0  # how many past inputs `initial_memory` needs

    @abstractmethod
    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        """ẋ, or x⁺ of a discrete system, without memory.

        `p.name` is an expression where declared, a float elsewhere. Expressions are SX unless
        `symbols` says MX.
        """

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        """y = h(x, u, p, d); the continuous states unless given."""
        return x

    @property
    def takes_force(self) -> bool:
        """Whether there is `forced_dynamics`: mechanical systems, and what wraps one."""
        return False

    def forced_dynamics(
        self, x: ca.SX, u: ca.SX, tau: ca.SX, p: SimpleNamespace, d: ca.SX
    ) -> ca.SX:
        """ẋ under a further generalised force τ (one row a velocity)."""
        raise ValueError(f"{type(self).__name__} is not mechanical: no generalised force acts")

    @property
    def outputs(self) -> tuple[Signal, ...]:
        """Names of y; the continuous states unless given."""
        return self.states

    @property
    def dt(self) -> float | None:
        """Step of a discrete system [s], None where f gives ẋ; a wrapped System's unless given."""
        return next((s.dt for s in self._wrapped() if s.dt is not None), None)

    @property
    def symbols(self) -> Any:
        """What the methods are given, casadi.SX or casadi.MX; a wrapped System's unless given.

        SX is faster; MX is for functions that have no scalar form (interpolants, callbacks).
        """
        return next((s.symbols for s in self._wrapped() if s.symbols is not ca.SX), ca.SX)

    def applied_input(self, m: ca.SX, u: ca.SX, p: SimpleNamespace) -> ca.SX:
        """The input that f sees during this step, from memory m and the commanded u."""
        return u

    def advance_memory(self, m: ca.SX, u: ca.SX, p: SimpleNamespace) -> ca.SX:
        """m⁺, the memory after a step in which u was commanded."""
        return m

    def initial_memory(self, past_u: ca.SX) -> ca.SX:
        """m from the last `memory_steps` commanded inputs (nu, memory_steps), oldest first."""
        return type(past_u)(0, 1)

    # -- what follows is final ---------------------------------------------------------------

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            number = type(field.default) is float and field.name != "dt"
            if number and not isinstance(value, Parameter):
                plain = as_number(f"{type(self).__name__}: {field.name}", value)
                object.__setattr__(self, field.name, plain)
            if isinstance(field.default, Parameter) and not isinstance(value, Parameter):
                try:
                    object.__setattr__(self, field.name, field.default.replace(value))
                except (ValueError, TypeError) as error:
                    raise ValueError(f"{type(self).__name__}({field.name}=…): {error}") from None
        known = (*self.states, *self.memory, *self.inputs, *self.exogenous)
        for kind, signals in {"signal": known, "output": self.outputs}.items():
            names = [s.name for s in signals]
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{type(self).__name__}: {kind} names must differ, {twice} repeat")
        others = {s.name for s in (*self.memory, *self.inputs, *self.exogenous)}
        for signal in self.states:
            if signal.rate_of in others | {signal.name}:
                raise ValueError(
                    f"{type(self).__name__}: rate_of of {signal.name!r} must name another state, "
                    f"one of {[s.name for s in self.states if s != signal]}, got {signal.rate_of!r}"
                )
        for signals in (known, self.outputs):
            _check_quaternions(type(self).__name__, signals)
        rates = [s.rate_of for s in self.states]
        for name in {s.quaternion for s in self.states} - {None}:
            if rates.count(name) not in (0, 3):
                raise ValueError(
                    f"{type(self).__name__}: {rates.count(name)} states are the rate of the "
                    f"rotation {name!r}, wanted its three body rates or none"
                )
        if self.dt is not None:
            number = isinstance(self.dt, Real) and not isinstance(self.dt, bool)
            if not (number and 0 < self.dt < math.inf):
                raise ValueError(f"{type(self).__name__}: dt must be seconds > 0, got {self.dt!r}")
            if "dt" in vars(self):
                object.__setattr__(self, "dt", float(self.dt))

    @property
    def nx(self) -> int:
        """Number of states, memory included."""
        return len(self.states) + len(self.memory)

    @property
    def nu(self) -> int:
        return len(self.inputs)

    @property
    def nd(self) -> int:
        return len(self.exogenous)

    @property
    def ny(self) -> int:
        return len(self.outputs)

    @property
    def angle_rows(self) -> tuple[int, ...]:
        """Rows of x that are angles."""
        return tuple(i for i, s in enumerate(self.states) if s.angle)

    @property
    def velocity_rows(self) -> tuple[int, ...]:
        """Rows of x whose derivative is an acceleration."""
        return tuple(i for i, s in enumerate(self.states) if s.rate_of is not None)

    @property
    def quaternion_rows(self) -> tuple[int, ...]:
        """Rows of x at which a unit quaternion (w, x, y, z) begins."""
        groups = [s.quaternion for s in self.states]
        return tuple(i for i, g in enumerate(groups) if g is not None and g not in groups[:i])

    @property
    def neutral(self) -> tuple[float, ...]:
        """The continuous state at zero, or at the bound nearest to it; rotations are none."""
        first = self.quaternion_rows
        return tuple(min(max(float(i in first), s.low), s.high) for i, s in enumerate(self.states))

    @property
    def parameters(self) -> dict[str, Parameter]:
        """All physical parameters by name, those of a wrapped System included."""
        found: dict[str, Parameter] = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, System):
                found |= value.parameters
            elif _are_named(value):
                found |= dict(value)
            elif _is_parameter(field.name, value):
                found[field.name] = value if isinstance(value, Parameter) else Parameter(value)
        return found

    def with_parameters(self, /, **values: float) -> Self:
        """A copy with other parameter values; domains and units stay.

        Raises ValueError for a name that is no parameter, or a value outside its domain.
        """
        self.check_declared(values)
        changes: dict[str, object] = {}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, System):
                inner = {k: v for k, v in values.items() if k in value.parameters}
                changes[field.name] = value.with_parameters(**inner)
            elif _are_named(value):
                changes[field.name] = tuple(
                    (name, old.replace(values.get(name, old))) for name, old in value
                )
            elif field.name in values and _is_parameter(field.name, value):
                changes[field.name] = self.parameters[field.name].replace(values[field.name])
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def check_declared(self, names: Iterable[str]) -> tuple[str, ...]:
        """The names as a tuple; ValueError where one is unknown or stands twice."""
        names = tuple(names)
        known = self.parameters
        if unknown := [name for name in names if name not in known]:
            raise ValueError(
                f"{type(self).__name__} has no parameter {unknown[0]!r}; it has {sorted(known)}"
            )
        if len(set(names)) < len(names):
            raise ValueError(f"parameters are named twice in {names}")
        return names

    def namespace(self, declared: tuple[str, ...] = (), p: ca.SX | None = None) -> SimpleNamespace:
        """Parameters as `dynamics` sees them: the declared ones from p (np,), the rest floats."""
        values: dict[str, object] = {name: float(v) for name, v in self.parameters.items()}
        if p is not None:
            values |= dict(zip(declared, ca.vertsplit(p), strict=True))
        return SimpleNamespace(**values)

    def _wrapped(self) -> Iterator[System]:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, System):
                yield value


def _check_quaternions(owner: str, signals: tuple[Signal, ...]) -> None:
    """ValueError unless the components of each quaternion are four signals in a row."""
    groups = [s.quaternion for s in signals]
    for i, group in enumerate(groups):
        if group is None or group in groups[:i]:
            continue
        if groups[i : i + 4] != [group] * 4 or groups.count(group) != 4:
            raise ValueError(
                f"{owner}: quaternion {group!r} must be four signals in a row, w, x, y, z; it has "
                f"{[s.name for s in signals if s.quaternion == group]}"
            )
        if group in {s.name for s in signals}:
            raise ValueError(f"{owner}: quaternion {group!r} has the name of a signal")
        if any(s.angle for s in signals[i : i + 4]):
            raise ValueError(f"{owner}: the components of quaternion {group!r} are no angles")


def _is_parameter(field: str, value: object) -> bool:
    """Whether this field is one parameter; a field `dt` is the step of a discrete system."""
    return isinstance(value, float) and field != "dt"


def _are_named(value: object) -> bool:
    """Whether this is a tuple of pairs (name, Parameter)."""
    return isinstance(value, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Parameter)
        for pair in value
    )
