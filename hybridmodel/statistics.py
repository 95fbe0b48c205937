"""Figures over seeds: the interquartile mean and its bootstrap interval.

Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS
2021, section 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def interquartile_mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the middle half; where n/4 is no whole number, the outermost count in part.

    Raises ValueError where there are none.
    """
    return float(_middle(_numbers(values)[None])[0])


def interval(
    values: Sequence[float] | np.ndarray, *, share: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the interquartile mean; raises ValueError as above."""
    if not 0 < share < 1:
        raise ValueError(f"share must lie in (0, 1), got {share}")
    numbers = _numbers(values)
    generator = np.random.default_rng(seed)
    means = _middle(generator.choice(numbers, (draws, len(numbers))))
    ends = [(1 - share) / 2, (1 + share) / 2]
    low, high = np.quantile(means, ends, method="nearest")  # between ∞ and ∞ there is nothing
    return float(low), float(high)


def _middle(rows: np.ndarray) -> np.ndarray:
    """Interquartile means of rows (R, n)."""
    n = rows.shape[1]
    k = np.arange(n)
    weight = np.clip(np.minimum(k + 1, 3 * n / 4) - np.maximum(k, n / 4), 0, 1)
    ordered = np.where(weight > 0, np.sort(rows, axis=1), 0.0)  # 0 · ∞ is no number
    return ordered @ weight / weight.sum()


def _numbers(values: Sequence[float] | np.ndarray) -> np.ndarray:
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or not len(numbers) or np.isnan(numbers).any():
        raise ValueError(f"values must be at least one number, got {values!r}")
    return numbers
