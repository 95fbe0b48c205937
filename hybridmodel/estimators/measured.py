"""Where the whole state is measured."""

from __future__ import annotations

import numpy as np
import torch

from hybridmodel.estimators.beginning import Beginning
from hybridmodel.model import HybridModel


class MeasuredState:
    """The identity: y is the continuous state, the model advances memory from `initial_state(y₀)`.

    Raises ValueError where the system does not measure its whole state.
    """

    def __init__(self, model: HybridModel) -> None:
        system = model.system
        if system.outputs != system.states:
            seen = {s.name for s in system.outputs}
            hidden = [s.name for s in system.states if s.name not in seen]
            missing = f", {', '.join(hidden)} among it" if hidden else ""
            raise ValueError(
                f"{type(system).__name__} does not measure its whole state{missing}: give an "
                "estimator, such as hybridmodel.estimators.EKF(model, measurement_noise=…)"
            )
        self.model, self._beginning = model, Beginning(model, None, None)
        self.reset()

    def reset(self) -> None:
        self._beginning.reset()
        self._x: torch.Tensor | None = None  # with memory, whole where y was lost

    def update(
        self, y: np.ndarray, previous_input: np.ndarray | None, d: np.ndarray | None = None
    ) -> np.ndarray:
        y, n = np.array(y, dtype=float), len(self.model.system.states)
        if y.shape != (n,):
            raise ValueError(f"y must have shape ({n},), got {y.shape}")
        if self.model.nx == n:
            return y
        acted = np.zeros(self.model.system.nd) if d is None else d
        if previous_input is not None:
            self._beginning.passed(previous_input, acted)
        if self._x is None:
            estimate = self._beginning.remembering(y)
            if np.isfinite(estimate).all():
                self._x = torch.tensor(estimate)
            return estimate
        x = self._x
        if previous_input is not None:
            with torch.no_grad():
                x = self.model(
                    x,
                    torch.as_tensor(previous_input, dtype=torch.float64),
                    torch.as_tensor(acted, dtype=torch.float64),
                )
        measured = torch.tensor(y)
        whole = torch.where(measured.isfinite(), measured, x[:n])
        ahead = torch.cat([whole, x[n:]])
        self._x = ahead if bool(ahead.isfinite().all()) else None  # else it begins anew
        return np.concatenate([y, x[n:].numpy()])
