"""An uneven or incomplete record put on an even time grid; nan marks what is missing.

samples (n, ·)   linear between those that are there
held (n, ·)      zero-order hold: of each new step, the value held at its middle, so that
                 jitter in the stamps neither delays an input nor mixes two
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hybridmodel.data.trajectory import Array

_TURN = 1.05  # a wrapped encoder with noise may span a little more than one turn
_GAP = 1.5  # of the median step: longer ones miss a sample
_FAST = 0.95  # of the steps


def longest_gap(t: Array, column: Array) -> tuple[float, int]:
    """The longest time [s] without a sample, both ends included, and the row that ends it."""
    present = np.flatnonzero(np.isfinite(column))
    marks = np.concatenate([[0], present, [len(t) - 1]])
    lengths = np.diff(t[marks])
    widest = int(np.argmax(lengths))
    return float(lengths[widest]), int(marks[widest + 1])


def span(t: Array, samples: Array, held: Array) -> tuple[float, float]:
    """From where all columns of one clock have begun to where the first of the samples ends."""
    begun = [t[np.isfinite(column)][0] for column in (*samples.T, *held.T)]
    ended = [t[np.isfinite(column)][-1] for column in samples.T]
    return max(begun, default=-np.inf), min(ended, default=np.inf)


def even_grid(start: float, stop: float, dt: float) -> Array:
    """start + k·dt as far as stop."""
    steps = max(0, int(np.floor((stop - start) / dt + 1e-6)))
    return start + dt * np.arange(steps + 1, dtype=np.float64)


def interpolate(t: Array, samples: Array, grid: Array) -> Array:
    """(n, ·) at stamps t → (T + 1, ·) on the grid."""
    result = np.empty((len(grid), samples.shape[1]))
    for i, column in enumerate(samples.T):
        there = np.isfinite(column)
        result[:, i] = np.interp(grid, t[there], column[there])
    return result


def hold(t: Array, held: Array, grid: Array) -> Array:
    """(n, ·) at stamps t → (T, ·) for the steps of the grid."""
    middle = (grid[:-1] + grid[1:]) / 2
    result = np.empty((len(middle), held.shape[1]))
    for i, column in enumerate(held.T):
        there = np.isfinite(column)
        result[:, i] = column[there][np.searchsorted(t[there], middle, side="right") - 1]
    return result


@dataclass(frozen=True, eq=False)
class Unwrapped:
    """A continuous angle (n,), and the first row after a gap that leaves its turn open."""

    values: Array
    unsure: int | None = None


def unwrap(
    column: Array, t: Array | None = None, rate: tuple[Array, Array] | None = None
) -> Unwrapped:
    """An encoder's angle (n,) made continuous.

    Only a column that fits into one turn, noise included, can be wrapped: what spans more is
    unwrapped already and comes back as it was, however fast it turns. From one sample to the
    next an angle moves less than half a turn. Over a gap in the stamps t (n,) [s] it may move
    further, at the speed that 95 % of the steps do not exceed: then it moves by what is nearest to
    ∫ rate dt, of `rate` (stamps, values), and is unsure without a rate, or where the rate is a
    quarter of a turn off.
    """
    there = np.flatnonzero(np.isfinite(column))
    if not len(there) or not np.pi < np.ptp(column[there]) <= 2 * np.pi * _TURN:
        return Unwrapped(column)
    result = column.copy()
    result[there] = np.unwrap(column[there])
    t = np.arange(len(column), dtype=np.float64) if t is None else t
    if not (np.diff(t) > 0).all():
        return Unwrapped(result)  # out of order or unstamped: a fault of its own
    step, took = np.diff(result[there]), np.diff(t[there])
    gap = took > _GAP * np.median(took)
    if not gap.any():
        return Unwrapped(result)
    fast = float(np.quantile(np.abs(step[~gap]) / took[~gap], _FAST))
    open_turn = gap & (fast * took > np.pi)
    if rate is not None and (known := np.isfinite(rate[0]) & np.isfinite(rate[1])).any():
        stamps, values = rate[0][known], rate[1][known]
        moved = np.concatenate([[0.0], np.cumsum(np.diff(stamps) * (values[1:] + values[:-1]) / 2)])
        expected = np.diff(np.interp(t[there], stamps, moved))
        step[open_turn] += 2 * np.pi * np.round((expected - step)[open_turn] / (2 * np.pi))
        open_turn &= np.abs(step - expected) > np.pi / 2
    result[there[1:]] = result[there[0]] + np.cumsum(step)
    first = np.flatnonzero(open_turn)
    return Unwrapped(result, int(there[first[0] + 1]) if first.size else None)
