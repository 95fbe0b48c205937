"""Where the whole state is measured."""

from __future__ import annotations

import numpy as np
import torch

from hybridmodel.model import HybridModel


class MeasuredState:
    """The identity: y is the continuous state, memory is made of the steps so far.

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
        self.model = model
        self.reset()

    def reset(self) -> None:
        system, n = self.model.system, self.model.memory_steps
        self._inputs = np.zeros((0, system.nu))
        self._exogenous = np.zeros((0, system.nd))
        self._states = np.zeros((0, len(system.states)))
        self._kept = n

    def update(
        self, y: np.ndarray, previous_input: np.ndarray | None, d: np.ndarray | None = None
    ) -> np.ndarray:
        y, n = np.array(y, dtype=float), len(self.model.system.states)
        if y.shape != (n,):
            raise ValueError(f"y must have shape ({n},), got {y.shape}")
        if self.model.nx == n:
            return y
        if previous_input is not None and self._kept:
            acted = np.zeros(self.model.system.nd) if d is None else d
            self._inputs = np.vstack([self._inputs, previous_input])[-self._kept :]
            self._exogenous = np.vstack([self._exogenous, acted])[-self._kept :]
        lead = self._kept - len(self._inputs)
        inputs, exogenous = (
            np.vstack([np.zeros((lead, rows.shape[1])), rows])
            for rows in (self._inputs, self._exogenous)
        )
        full = self.model.nm and not lead and len(self._states) == self._kept
        with torch.no_grad():
            estimate = self.model.initial_state(
                torch.tensor(y, dtype=torch.float64),
                torch.tensor(inputs),
                past_x=torch.tensor(self._states) if full else None,
                past_d=torch.tensor(exogenous) if self._kept else None,
            ).numpy()
        if self.model.nm:
            self._states = np.vstack([self._states, y])[-self._kept :]
        return estimate
