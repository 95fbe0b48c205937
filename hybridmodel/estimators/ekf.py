"""The extended Kalman filter on the model itself.

    x̂⁻ = F(x̂),  P⁻ = A P Aᵀ + Q
    K = P⁻ Cᵀ (C P⁻ Cᵀ + R)⁻¹,  x̂ = x̂⁻ ⊞ K (y ⊟ h(x̂⁻)),  P = (1 − KC) P⁻ (1 − KC)ᵀ + K R Kᵀ

Joseph's form (Simon, Optimal State Estimation, 2006, eq. 3.19 and section 13.2). x̂ has rotations,
P the errors in their tangent space.
"""

from __future__ import annotations

import numpy as np

from hybridmodel.data import Trajectory
from hybridmodel.estimators.beginning import Beginning
from hybridmodel.estimators.linearization import (
    Deviations,
    Linearization,
    deviations,
    process_deviations,
)
from hybridmodel.model import HybridModel


class EKF:
    """Extended Kalman filter.

    measurement_noise   standard deviation of each output: a number, one for each or by name; of a
                        rotation three [rad]
    process_noise       likewise of what one step leaves in each continuous state; None: the
                        square roots of `model.noise`, which holds the noise of the logs too
    initial_state       x̂₀ (n,) before the first measurement; None: where a state is an output,
                        the measurement, else the system's neutral value
    initial_deviation   how far x̂₀ may be off; None: half the range of a bounded state, else 1

    Memory (delays, a recurrent residual's) has no error of its own: it is advanced with x̂. Rows of
    y that are NaN are skipped. Parameters and weights are read from the model at each step.
    `covariance` is P (tangent rows). Raises ValueError naming the argument.
    """

    def __init__(
        self,
        model: HybridModel,
        *,
        measurement_noise: Deviations,
        process_noise: Deviations | None = None,
        initial_state: np.ndarray | None = None,
        initial_deviation: Deviations | None = None,
    ) -> None:
        self.model, self.linear = model, Linearization(model)
        self.Q = np.diag(process_deviations(model, process_noise) ** 2)
        noise = deviations("measurement_noise", measurement_noise, self.linear.output_rows)
        self.R = np.diag(noise**2)
        self.beginning = Beginning(model, initial_state, initial_deviation)
        system = model.system
        self._rest = np.clip(
            np.zeros(system.nu), [s.low for s in system.inputs], [s.high for s in system.inputs]
        )
        self.reset()

    def reset(self) -> None:
        self.beginning.reset()
        self.x: np.ndarray | None = None
        self.covariance = np.diag(self.beginning.deviation**2)

    def update(
        self, y: np.ndarray, previous_input: np.ndarray | None, d: np.ndarray | None = None
    ) -> np.ndarray:
        """x̂ (nx,); see `Estimator`. NaN before the first measurement, unless x̂₀ was given."""
        u = self._rest if previous_input is None else previous_input
        acted = np.zeros(self.model.system.nd) if d is None else d
        if self.x is not None and previous_input is not None:
            self._predict(u, acted)
        elif self.x is None:
            if previous_input is not None:
                self.beginning.passed(u, acted)
            start = self.beginning.estimate(y)
            if start is None:
                return np.full(self.model.nx, np.nan)
            self.x = self.beginning.remembering(start)
            self._correct(y, u, acted)
            self.x = self.beginning.remembering(self.x[: len(start)])
            return self._checked()
        self._correct(y, u, acted)
        return self._checked()

    def smooth(self, log: Trajectory) -> np.ndarray:
        """x̂ (T+1, n) of a log with all of it known (Rauch, Tung, Striebel 1965).

        x̂ˢ_k = x̂_k ⊞ G (x̂ˢ_{k+1} ⊟ F(x̂_k)),  G = P_k Aᵀ (A P_k Aᵀ + Q)⁻¹
        """
        self.reset()
        states, covariances = [], []
        for k in range(len(log.t)):
            u, d = (log.u[k - 1], log.d[k - 1]) if k else (None, None)
            states.append(self.update(log.y[k], u, d))
            covariances.append(self.covariance)
        n = len(self.model.system.states)
        for k in range(log.steps - 1, -1, -1):
            ahead, A = self.linear.step(states[k], log.u[k], log.d[k])
            P = covariances[k]
            G = np.linalg.solve(A @ P @ A.T + self.Q, A @ P).T
            off = self.linear.difference(states[k + 1][:n], ahead[:n])
            states[k] = self.linear.retract(states[k], G @ off)
        return np.array(states)[:, :n]

    def _predict(self, u: np.ndarray, d: np.ndarray) -> None:
        assert self.x is not None
        self.x, A = self.linear.step(self.x, u, d)
        self.covariance = A @ self.covariance @ A.T + self.Q

    def _correct(self, y: np.ndarray, u: np.ndarray, d: np.ndarray) -> None:
        assert self.x is not None
        predicted, C = self.linear.observe(self.x, u, d)
        error = self.linear.innovation(y, predicted)
        seen = np.isfinite(error)
        if seen.any():
            xi, self.covariance = corrected(
                self.covariance, C[seen], self.R[np.ix_(seen, seen)], error[seen]
            )
            self.x = self.linear.retract(self.x, xi)

    def _checked(self) -> np.ndarray:
        """The estimate; a filter that has left the range of numbers begins anew."""
        estimate = self.x
        assert estimate is not None
        if not (np.isfinite(estimate).all() and np.isfinite(self.covariance).all()):
            self.reset()
            return np.full_like(estimate, np.nan)
        return estimate.copy()


def corrected(
    P: np.ndarray, C: np.ndarray, R: np.ndarray, error: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kε and (1 − KC) P (1 − KC)ᵀ + K R Kᵀ."""
    K = np.linalg.solve(C @ P @ C.T + R, C @ P).T
    rest = np.eye(len(P)) - K @ C
    return K @ error, rest @ P @ rest.T + K @ R @ K.T
