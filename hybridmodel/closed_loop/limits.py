"""What an emitted input must keep, whoever chose it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybridmodel.problem import OptimalControlProblem


@dataclass(frozen=True, eq=False)
class Limits:
    """u ∈ [low, high] ∩ [u₋ − r dt, u₋ + r dt], u₋ the input emitted before.

    low, high (nu,) the bounds of the input, step (nu,) = r dt, infinite where the rate r is free.
    """

    low: np.ndarray
    high: np.ndarray
    step: np.ndarray

    def nearest(self, u: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
        """The admissible input nearest to u (nu,), row by row; the first one has no rate."""
        if previous is None:
            return np.clip(u, self.low, self.high)
        low = np.maximum(self.low, previous - self.step)
        return np.clip(u, low, np.minimum(self.high, previous + self.step))


def limits_of(
    problem: OptimalControlProblem, rate_limit: Sequence[float] | np.ndarray | None
) -> Limits:
    """Those of a problem; `rate_limit` (nu,) in units of u per second goes before its own.

    Raises ValueError where the rates are not positive numbers.
    """
    nu = problem.model.system.nu
    given = problem.input_rate if rate_limit is None else rate_limit
    rate = np.full(nu, np.inf) if given is None else np.asarray(given, dtype=float)
    if rate.shape != (nu,) or not (rate > 0).all():
        raise ValueError(f"rate_limit must be {nu} positive numbers a second, got {given!r}")
    return Limits(problem.input_low.copy(), problem.input_high.copy(), rate * problem.model.dt)
