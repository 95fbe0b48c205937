"""One log: what was commanded and what was measured, on an even time grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EVEN = 1e-6  # a step may differ from dt by this share of dt and still count as even


@dataclass(frozen=True, eq=False)
class Trajectory:
    """T steps of one experiment; u[k] acts from t[k] to t[k + 1].

        t (T+1,)      time [s], even
        u (T, nu)     commanded inputs
        y (T+1, ny)   measured outputs
        d (T, nd)     exogenous signals, known but not commanded; often none
        x (T+1, nx)   true or estimated continuous state, if known
        context       numbers that hold for the whole log, by name

    Arrays are kept as read-only float64 copies.
    Raises ValueError, naming the argument and the row, for shapes that do not fit, for values
    that are not finite, and for time that does not increase evenly.
    """

    t: Array
    u: Array
    y: Array
    d: Array = None  # type: ignore[assignment]  # becomes (T, 0)
    x: Array | None = None
    context: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        t = _frozen("t", self.t, ndim=1)
        if len(t) < 2:
            raise ValueError(f"t must hold at least 2 samples, got {len(t)}")
        steps = len(t) - 1
        check_time(t)
        set_ = object.__setattr__
        set_(self, "t", t)
        set_(self, "u", _table("u", self.u, steps, "T = len(t) − 1"))
        set_(self, "y", _table("y", self.y, steps + 1, "T + 1 = len(t)"))
        d = np.empty((steps, 0)) if self.d is None else self.d
        set_(self, "d", _table("d", d, steps, "T = len(t) − 1"))
        if self.x is not None:
            set_(self, "x", _table("x", self.x, steps + 1, "T + 1 = len(t)"))
        set_(self, "context", _numbers(self.context))

    @property
    def steps(self) -> int:
        """T, the number of inputs."""
        return len(self.t) - 1

    @property
    def dt(self) -> float:
        """Sampling time [s]."""
        return float(self.t[-1] - self.t[0]) / self.steps

    @property
    def seconds(self) -> float:
        """Length of the log [s]."""
        return float(self.t[-1] - self.t[0])

    def __getitem__(self, part: slice) -> Trajectory:
        """`trajectory[a:b]`: steps a … b − 1 with the samples a … b around them."""
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise TypeError(f"a trajectory is cut by a slice of steps like [10:60], got [{part}]")
        start, stop, _ = part.indices(self.steps)
        if stop <= start:
            raise ValueError(f"[{part.start}:{part.stop}] holds no step; there are {self.steps}")
        return Trajectory(
            t=self.t[start : stop + 1],
            u=self.u[start:stop],
            y=self.y[start : stop + 1],
            d=self.d[start:stop],
            x=None if self.x is None else self.x[start : stop + 1],
            context=self.context,
        )

    def __eq__(self, other: object) -> bool:
        """The same numbers in every field."""
        if not isinstance(other, Trajectory):
            return NotImplemented
        return self.context == other.context and all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name))
            for f in fields(self)
            if f.name != "context"
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        sizes = f"nu={self.u.shape[1]}, ny={self.y.shape[1]}, nd={self.d.shape[1]}"
        return f"Trajectory({self.steps} steps of {self.dt:.6g} s, {sizes})"


def uneven_step(t: Array) -> int | None:
    """The k where t[k + 1] − t[k] is oddest; None where all steps are even."""
    step = np.diff(t)
    dt = (t[-1] - t[0]) / len(step)
    # stamps far from 0 (seconds since 1970) cannot be finer than their own rounding
    slack = EVEN * dt + 4 * np.spacing(np.abs(t).max())
    if (np.abs(step - dt) <= slack).all():
        return None
    return int(np.argmax(np.abs(step - np.median(step))))  # one gap shifts the mean, not this


def check_time(t: Array) -> None:
    """Raise ValueError where t does not increase, or not evenly."""
    falling = np.flatnonzero(np.diff(t) <= 0)
    if len(falling):
        k = int(falling[0])
        raise ValueError(f"t must increase: t[{k + 1}] = {t[k + 1]} follows t[{k}] = {t[k]}")
    if (k := uneven_step(t)) is not None:
        raise ValueError(
            f"t must be even: t[{k + 1}] − t[{k}] = {t[k + 1] - t[k]:.9g} s, where the median "
            f"step is {np.median(np.diff(t)):.9g} s; resample the log, or cut it there in two"
        )


def _table(name: str, value: Any, rows: int, why: str) -> Array:
    array = _frozen(name, value, ndim=2)
    if array.shape[0] != rows:
        raise ValueError(f"{name} must have {rows} rows ({why}), got shape {array.shape}")
    return array


def _frozen(name: str, value: Any, *, ndim: int) -> Array:
    """A read-only float64 copy with `ndim` axes and only finite numbers."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of real numbers: {error}") from None
    if array.ndim != ndim:
        hint = f"; write {name}[:, None] for one channel" if (array.ndim, ndim) == (1, 2) else ""
        raise ValueError(f"{name} must have {ndim} axes, got shape {array.shape}{hint}")
    if not np.isfinite(array).all():
        at = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise ValueError(f"{name}{at} is {array[tuple(at)]}: row {at[0]} is not finite")
    array.flags.writeable = False
    return array


def _numbers(context: Mapping[str, float]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for key, value in context.items():
        try:
            numbers[key] = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"context[{key!r}] must be a number, got {value!r}") from None
        if not (isinstance(key, str) and math.isfinite(numbers[key])):
            raise ValueError(f"context needs names and finite numbers, got {key!r}: {value!r}")
    return numbers
