"""Bounds as users give them, checked and as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from physics import Signal

Bounds = tuple[Sequence[float], Sequence[float]]


def rates(
    signals: tuple[Signal, ...], given: Sequence[float] | np.ndarray | None
) -> np.ndarray | None:
    """Largest rates (nu,) of inputs, None where all are free. Raises ValueError."""
    if given is None:
        return None
    rate = np.array(given, dtype=float)
    if rate.shape != (len(signals),) or not (rate > 0).all():
        names = [s.name for s in signals]
        raise ValueError(
            f"input_rate must be {len(names)} positive numbers a second for {names}, got {given!r}"
        )
    return rate if np.isfinite(rate).any() else None


def bounds(
    name: str, signals: tuple[Signal, ...], given: Bounds | None
) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of these signals, their own unless given. Raises ValueError."""
    if given is None:
        return (
            np.array([s.low for s in signals], dtype=float),
            np.array([s.high for s in signals], dtype=float),
        )
    if len(given) != 2:
        raise ValueError(f"{name} must be a pair (low, high), got {len(given)} entries")
    low, high = (np.array(b, dtype=float) for b in given)
    if low.shape != (len(signals),) or high.shape != low.shape:
        raise ValueError(
            f"{name} must be two rows of {len(signals)} numbers for "
            f"{[s.name for s in signals]}, got shapes {low.shape} and {high.shape}"
        )
    if not (low <= high).all():
        row = int(np.flatnonzero(~(low <= high))[0])
        raise ValueError(
            f"{name} are reversed for {signals[row].name!r}: low {low[row]} > high {high[row]}"
        )
    return low, high
