"""The step of which a channel's values are multiples."""

from __future__ import annotations

import numpy as np

from hybridmodel.data.trajectory import Array

_MULTIPLES = 0.9  # share of increments that must be whole multiples; chance gives 0.2
_OFF = 0.1  # of a step, what rounding in print may add
_SAMPLES = 50_000
_TRIED = 12


def smallest_increment(y: Array) -> float | None:
    """q where increments y_{k+1} − y_k are whole multiples of q; None where there is none.

    q is the smallest increment that repeats, refined over all others. Steps finer than 1e-6 of
    the range are how numbers are printed.
    """
    y = y[np.isfinite(y)][:_SAMPLES]
    increments = np.abs(np.diff(y))
    floor = 1e-6 * float(np.ptp(y)) if len(y) else 0.0
    increments = np.sort(increments[increments > floor])
    if len(increments) < 8:
        return None
    # values that agree to a thousandth are one
    starts = np.flatnonzero(np.diff(increments, prepend=0.0) > 2e-3 * increments)
    counts = np.diff(np.append(starts, len(increments)))
    repeated = np.flatnonzero(counts >= max(3, len(increments) // 500))
    for i in repeated[:_TRIED]:
        q = float(np.median(increments[starts[i] : starts[i] + counts[i]]))
        multiples = increments / q
        near = multiples < 200  # an error in q grows with the multiple
        off = np.abs(multiples[near] - np.round(multiples[near]))
        whole = (off < _OFF) & (np.round(multiples[near]) > 0)
        if near.sum() >= 8 and whole.mean() >= _MULTIPLES:
            a, m = increments[near][whole], np.round(multiples[near][whole])
            return float(a @ m / (m @ m))
    return None
