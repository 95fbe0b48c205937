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
        system, n = self.model.system, self.model.memory_steps
        self._inputs = np.zeros((0, system.nu))
        self._states = np.zeros((0, len(system.states)))
        self._kept = n

    def update(self, y: np.ndarray, previous_input: np.ndarray | None) -> np.ndarray:
        if previous_input is not None and self._kept:
            self._inputs = np.vstack([self._inputs, previous_input])[-self._kept :]
        lead = self._kept - len(self._inputs)
        inputs = np.vstack([np.zeros((lead, self.model.system.nu)), self._inputs])
        x = torch.tensor(y, dtype=torch.float64)
        full = self.model.nm and not lead and len(self._states) == self._kept
        with torch.no_grad():
            estimate = self.model.initial_state(
                x,
                torch.tensor(inputs),
                past_x=torch.tensor(self._states) if full else None,
            ).numpy()
        if self.model.nm:
            self._states = np.vstack([self._states, y])[-self._kept :]
        return estimate
