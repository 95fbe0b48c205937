"""An uneven or incomplete record put on an even time grid; nan marks what is missing.

samples (n, ·)   linear between those that are there
held (n, ·)      zero-order hold: of each new step, the value held at its middle, so that
                 jitter in the stamps neither delays an input nor mixes two
"""

from __future__ import annotations

import numpy as np

from hybridmodel.data.trajectory import Array

_TURN = 1.05  # a wrapped encoder with noise may span a little more than one turn


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


def unwrap(column: Array) -> Array:
    """An encoder's angle (n,) made continuous.

    Only a column that fits into one turn, noise included, can be wrapped: what spans more is
    unwrapped already and comes back as it was, however fast it turns.
    """
    there = np.isfinite(column)
    result = column.copy()
    if there.any() and np.ptp(column[there]) <= 2 * np.pi * _TURN:
        result[there] = np.unwrap(column[there])
    return result
