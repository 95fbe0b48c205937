"""Estimators: from what is measured to the model's state, memory included."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from hybridmodel.model import HybridModel


class Estimator(Protocol):
    """y₀, u₀, y₁, u₁, … ↦ x̂."""

    def reset(self) -> None:
        """Forget the past."""
        ...

    def update(self, y: np.ndarray, previous_input: np.ndarray | None) -> np.ndarray:
        """x̂ (nx,) after measuring y (ny,), `previous_input` (nu,) having been commanded.

        A lost measurement comes as NaN: the input still counts, and x̂ is NaN where it cannot be
        told without.
        """
        ...


class MeasuredState:
    """The identity: y is the continuous state, memory is made of the inputs commanded so far.

    Raises ValueError where the system does not measure its whole state.
    """

    def __init__(self, model: HybridModel) -> None:
        if model.system.outputs != model.system.states:
            raise ValueError(
                f"{type(model.system).__name__} does not measure its whole state: give an estimator"
            )
        self.model = model
        self.reset()

    def reset(self) -> None:
        self._past = np.zeros((self.model.system.memory_steps, self.model.system.nu))

    def update(self, y: np.ndarray, previous_input: np.ndarray | None) -> np.ndarray:
        if previous_input is not None and len(self._past):
            self._past = np.vstack([self._past[1:], previous_input])
        with torch.no_grad():
            return self.model.initial_state(
                torch.tensor(y, dtype=torch.float64), torch.tensor(self._past)
            ).numpy()
