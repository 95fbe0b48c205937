"""Differences of logged samples as numbers, in the tangent space of their signals."""

from __future__ import annotations

import numpy as np

from physics import Signal, tangent

Signals = tuple[Signal, ...]


def deviations(signals: Signals, values: np.ndarray) -> np.ndarray:
    """values (N, n) ⊟ their mean, (N, tangent rows).

    The mean of rotations is the one with the least sum of squared sin of the half angle: the
    largest eigenvector of Σ q qᵀ (Markley et al., Averaging quaternions, 2007, eq. 12).
    """
    mean = values.mean(axis=0)
    groups = [s.quaternion for s in signals]
    for row in (groups.index(group) for group in dict.fromkeys(groups) if group is not None):
        q = values[:, row : row + 4]
        mean[row : row + 4] = np.linalg.eigh(q.T @ q)[1][:, -1]
    if not any(groups):
        return values - mean
    every = tangent.difference_function(signals).map(len(values))
    return np.asarray(every(values.T, mean)).T
