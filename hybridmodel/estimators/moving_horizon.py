"""Moving-horizon estimation on the model itself.

    min over x₀ … x_N inside their bounds of
        ‖x₀ ⊟ x̄‖²_{P⁻¹} + Σ ‖x_{k+1} ⊟ F(x_k)‖²_{Q⁻¹} + Σ ‖y_k ⊟ h(x_k)‖²_{R⁻¹}

over the last N steps; x̄, P hold what was before them (Rao, Rawlings, Mayne, IEEE Trans. Automatic
Control 2003). By Gauss–Newton: its normal equations in all ξ, with bounds by Bertsekas's
projected Newton steps (SIAM J. Control and Optimization 1982). A linear model without active
bounds gives the Kalman filter's estimate for any N.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from hybridmodel.estimators.beginning import Beginning
from hybridmodel.estimators.ekf import corrected
from hybridmodel.estimators.linearization import (
    Deviations,
    Linearization,
    deviations,
    process_deviations,
)
from hybridmodel.model import HybridModel

_ROUNDS = 30  # of projected Newton steps; a handful is usual


@dataclass
class Sample:
    """A measurement, the step (u, d) that ended in it, and the present estimate there."""

    y: np.ndarray
    u: np.ndarray
    d: np.ndarray
    x: np.ndarray


class MovingHorizon:
    """Moving-horizon estimator.

    window        N steps that are weighed anew at each measurement
    iterations    Gauss–Newton steps at each measurement, from the estimates before
    bounded       keep states within the bounds of their Signals
    measurement_noise, process_noise, initial_state, initial_deviation   as of `EKF`

    Memory is advanced with x̂; rows of y that are NaN are skipped. A step costs N times as much as
    an EKF's, and is worth it where bounds, nonlinearity over the window or a poor start matter.
    Raises ValueError naming the argument.
    """

    def __init__(
        self,
        model: HybridModel,
        *,
        measurement_noise: Deviations,
        process_noise: Deviations | None = None,
        initial_state: np.ndarray | None = None,
        initial_deviation: Deviations | None = None,
        window: int = 20,
        iterations: int = 2,
        bounded: bool = True,
    ) -> None:
        if window < 1 or iterations < 1:
            raise ValueError(
                f"window and iterations must be at least 1, got {window} and {iterations}"
            )
        self.model, self.linear, system = model, Linearization(model), model.system
        self.window, self.iterations = window, iterations
        self.Q = np.diag(process_deviations(model, process_noise) ** 2)
        noise = deviations("measurement_noise", measurement_noise, self.linear.output_rows)
        self.R = np.diag(noise**2)
        self.beginning = Beginning(model, initial_state, initial_deviation)
        rows = self.linear.rows
        self._low, self._high = (
            np.array([getattr(s, end) if bounded else far for s in rows])
            for end, far in (("low", -np.inf), ("high", np.inf))
        )
        # rotations have no bounds, so the bounded tangent rows are columns of x themselves
        names = [s.name for s in system.states]
        self._columns = [names.index(s.name) if s.name in names else 0 for s in rows]
        self._free = np.isinf(self._low) & np.isinf(self._high)
        self._rest = np.clip(
            np.zeros(system.nu), [s.low for s in system.inputs], [s.high for s in system.inputs]
        )
        self.reset()

    def reset(self) -> None:
        self.beginning.reset()
        self._samples: deque[Sample] = deque()
        self._prior: np.ndarray | None = None  # x̄
        self._covariance = np.diag(self.beginning.deviation**2)  # P

    def update(
        self, y: np.ndarray, previous_input: np.ndarray | None, d: np.ndarray | None = None
    ) -> np.ndarray:
        """x̂ (nx,); see `Estimator`. NaN before the first measurement, unless x̂₀ was given."""
        u = self._rest if previous_input is None else previous_input
        acted = np.zeros(self.model.system.nd) if d is None else d
        if not self._samples:
            if previous_input is not None:
                self.beginning.passed(u, acted)
            start = self.beginning.estimate(y)
            if start is None:
                return np.full(self.model.nx, np.nan)
            self._prior = self.beginning.remembering(start)
            self._samples.append(Sample(y, u, acted, self._within(self._prior)))
        else:
            ahead, _ = self.linear.step(self._samples[-1].x, u, acted)
            self._samples.append(Sample(y, u, acted, self._within(ahead)))
            if len(self._samples) > self.window + 1:
                self._forget()
        for _ in range(self.iterations):
            self._improve()
        estimate = self._samples[-1].x
        if not np.isfinite(estimate).all():
            self.reset()
            return np.full_like(estimate, np.nan)
        return estimate.copy()

    def _improve(self) -> None:
        """One Gauss–Newton step for all states of the window."""
        linear, samples, n = self.linear, self._samples, len(self.linear.rows)
        assert self._prior is not None
        count = len(samples)
        x, u, d = (np.array([getattr(s, name) for s in samples]) for name in "xud")
        (predicted, C), (ahead, A) = linear.along(x, u, d)
        H, right = np.zeros((count, n, count, n)), np.zeros((count, n))
        known = np.linalg.inv(self._covariance)
        H[0, :, 0] += known
        right[0] += known @ self._off(self._prior, x[0])
        for k, sample in enumerate(samples):
            error = linear.innovation(sample.y, predicted[k])
            seen = np.isfinite(error)
            scaled = C[k, seen].T / np.diag(self.R)[seen]
            H[k, :, k] += scaled @ C[k, seen]
            right[k] += scaled @ error[seen]
        weight = 1 / np.diag(self.Q)
        for k in range(count - 1):
            defect = self._off(ahead[k], x[k + 1])  # ξ_{k+1} − A ξ_k = defect
            pulled = A[k].T * weight
            H[k, :, k] += pulled @ A[k]
            H[k, :, k + 1] -= pulled
            H[k + 1, :, k] -= pulled.T
            H[k + 1, :, k + 1] += np.diag(weight)
            right[k] -= pulled @ defect
            right[k + 1] += weight * defect
        H, right = H.reshape(count * n, count * n), right.ravel()
        xi = scipy.linalg.solve(H, right, assume_a="pos")
        low, high = self._room()
        if (xi < low).any() or (xi > high).any():
            xi = _bounded(H, right, np.clip(xi, low, high), low, high)
        self._move(xi.reshape(count, n))

    def _move(self, xi: np.ndarray) -> None:
        linear, samples = self.linear, self._samples
        m = len(self.model.system.states)
        for k, (sample, moved) in enumerate(zip(samples, xi, strict=True)):
            x = linear.retract(sample.x, moved)
            if self.model.nx > m and k:  # memory is what the states before make of it
                before = samples[k - 1].x
                x[m:] = linear.step(before, sample.u, sample.d)[0][m:]
            sample.x = self._within(x)

    def _forget(self) -> None:
        """Put the oldest measurement into x̄ and P, linearised where it is estimated now."""
        linear = self.linear
        assert self._prior is not None
        old = self._samples.popleft()
        predicted, C = linear.observe(old.x, old.u, old.d)
        off = self._off(self._prior, old.x)
        error = linear.innovation(old.y, predicted) - C @ off
        seen = np.isfinite(error)
        P, shift = self._covariance, np.zeros(len(off))
        if seen.any():
            shift, P = corrected(P, C[seen], self.R[np.ix_(seen, seen)], error[seen])
        after = self._samples[0]
        ahead, A = linear.step(old.x, after.u, after.d)
        self._prior = linear.retract(ahead, A @ (off + shift))
        self._covariance = A @ P @ A.T + self.Q

    def _off(self, x: np.ndarray, other: np.ndarray) -> np.ndarray:
        n = len(self.model.system.states)
        return self.linear.difference(x[:n], other[:n])

    def _room(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of ξ at all samples."""
        at = np.array([sample.x[self._columns] for sample in self._samples])
        low = np.where(self._free, -np.inf, self._low - at)
        high = np.where(self._free, np.inf, self._high - at)
        return low.ravel(), high.ravel()

    def _within(self, x: np.ndarray) -> np.ndarray:
        """x with its bounded rows inside their bounds."""
        inside = x.copy()
        for row, column in enumerate(self._columns):
            if not self._free[row]:
                inside[column] = np.clip(x[column], self._low[row], self._high[row])
        return inside


def _bounded(
    H: np.ndarray, g: np.ndarray, xi: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """argmin ½ ξᵀHξ − gᵀξ within the bounds, from a ξ inside them."""

    def cost(v: np.ndarray) -> float:
        return float(0.5 * v @ H @ v - g @ v)

    for _ in range(_ROUNDS):
        slope = H @ xi - g
        held = ((xi <= low) & (slope > 0)) | ((xi >= high) & (slope < 0))
        free = np.flatnonzero(~held)
        step = np.zeros_like(xi)
        step[free] = -np.linalg.solve(H[np.ix_(free, free)], slope[free])
        share, before, moved = 1.0, cost(xi), np.clip(xi + step, low, high)
        while share > 1e-6 and cost(moved) > before + 1e-4 * slope @ (moved - xi):
            share /= 2
            moved = np.clip(xi + share * step, low, high)
        if np.abs(moved - xi).max() <= 1e-10 * (1 + np.abs(xi).max()):
            return moved
        xi = moved
    return xi
