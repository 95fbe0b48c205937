"""States from encoded coordinates: the model says what images cannot, velocities above all.

    an encoded q̂ₖ with |q̂ₖ − q⁻ₖ| > g √S is left out,   S = diag(A P Aᵀ + Q + R)

The rest is `EKF` and its smoother, with the covariances kept.
"""

from __future__ import annotations

import numpy as np

from hybridmodel.estimators import EKF


class Gated:
    """An estimator that does not believe an encoding far from what the model expects.

    ekf       of a model that measures its states; rates come as NaN
    gate      g, in standard deviations
    patience  after so many in a row that were left out, the next is believed: it is the filter
              then that has lost its way
    """

    def __init__(self, ekf: EKF, *, gate: float = 5.0, patience: int = 3) -> None:
        if not gate > 0:
            raise ValueError(f"gate must be positive, got {gate}")
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        self.ekf, self.gate, self.patience, self._refused = ekf, gate, patience, 0

    def reset(self) -> None:
        self.ekf.reset()
        self._refused = 0

    def update(
        self, y: np.ndarray, previous_input: np.ndarray | None, d: np.ndarray | None = None
    ) -> np.ndarray:
        """x̂ (nx,); see `Estimator`."""
        ekf = self.ekf
        if ekf.x is not None and previous_input is not None:
            acted = np.zeros(ekf.model.system.nd) if d is None else d
            ahead, A = ekf.linear.step(ekf.x, previous_input, acted)
            expected = np.diag(A @ ekf.covariance @ A.T + ekf.Q + ekf.R)
            off = np.abs(ekf.linear.innovation(y, ahead))
            strange = off > self.gate * np.sqrt(expected)
            if strange.any() and self._refused < self.patience:
                y, self._refused = np.where(strange, np.nan, y), self._refused + 1
            else:
                self._refused = 0
        return ekf.update(y, previous_input, d)


def smoothed(estimator: Gated, y: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x̂ (T+1, n) and its variances (T+1, n) from y (T+1, ny) and u (T, nu) (Rauch et al. 1965).

    x̂ˢ_k = x̂_k ⊞ G (x̂ˢ_{k+1} ⊟ F(x̂_k)),   Pˢ_k = P_k + G (Pˢ_{k+1} − P⁻_{k+1}) Gᵀ
    """
    ekf, states, covariances = estimator.ekf, [], []
    estimator.reset()
    for k in range(len(y)):
        states.append(estimator.update(y[k], u[k - 1] if k else None))
        covariances.append(ekf.covariance)
    for k in range(len(u) - 1, -1, -1):
        ahead, A = ekf.linear.step(states[k], u[k], np.zeros(0))
        P = covariances[k]
        before = A @ P @ A.T + ekf.Q
        G = np.linalg.solve(before, A @ P).T
        off = ekf.linear.difference(states[k + 1], ahead)
        states[k] = ekf.linear.retract(states[k], G @ off)
        covariances[k] = P + G @ (covariances[k + 1] - before) @ G.T
    variances = np.array([np.diag(P) for P in covariances])
    return np.array(states), np.maximum(variances, 0.0)
