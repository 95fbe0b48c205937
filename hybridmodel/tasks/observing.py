"""What a model knows beyond the plant's state: lags that no sensor sees, delays.

x̃₀ from y₀ and the system's neutral values, no command under way
x̃ₖ = (yₖ, what F(x̃ₖ₋₁, uₖ₋₁) says of all else)
"""

from __future__ import annotations

import numpy as np
import torch

from hybridmodel.estimators import Estimator
from hybridmodel.estimators.beginning import Beginning
from hybridmodel.model import HybridModel


class Predicted:
    """An estimator for a system that measures its first states: the model tells the others.

    Raises ValueError where the outputs are not the first of the states.
    """

    def __init__(self, model: HybridModel) -> None:
        system = model.system
        if system.outputs != system.states[: system.ny]:
            raise ValueError(
                f"model: the outputs of {type(system).__name__} must be the first of its states, "
                f"got {[s.name for s in system.outputs]}; give hybridmodel.estimators.EKF instead"
            )
        self.model = model
        self.reset()

    def reset(self) -> None:
        self._x: np.ndarray | None = None

    def update(
        self, y: np.ndarray, previous_input: np.ndarray | None, d: np.ndarray | None = None
    ) -> np.ndarray:
        """x̃ (nx,); rows of y that are NaN are predicted too."""
        x = self._x
        if x is None:
            x = beginning(self.model, y)
        elif previous_input is not None:
            with torch.no_grad():
                ahead = self.model(
                    torch.as_tensor(x),
                    torch.as_tensor(previous_input, dtype=torch.float64),
                    None if d is None else torch.as_tensor(d, dtype=torch.float64),
                ).numpy()
            x = np.concatenate([np.where(np.isfinite(y), y, ahead[: len(y)]), ahead[len(y) :]])
        self._x = x
        return x.copy()


def observer(model: HybridModel) -> Estimator | None:
    """What a closed loop on this model needs, None where the usual will do."""
    system = model.system
    return None if system.outputs == system.states else Predicted(model)


def beginning(model: HybridModel, y: np.ndarray) -> np.ndarray:
    """x̃₀ (nx,) from y₀ (ny,), all of it known."""
    known = Beginning(model, None, None)
    estimate = known.estimate(np.asarray(y, dtype=float))
    if estimate is None:
        raise ValueError(f"y must have a finite entry, got {y}")
    return known.remembering(estimate)
