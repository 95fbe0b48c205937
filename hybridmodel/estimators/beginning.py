"""The first estimate: what the first measurement tells, and what is known before it."""

from __future__ import annotations

import numpy as np
import torch

from hybridmodel.batches import guessed
from hybridmodel.estimators.linearization import Deviations, deviations
from hybridmodel.model import HybridModel
from physics import tangent


class Beginning:
    """Waits for a first measurement; until then it remembers what was commanded.

    state       x̂₀ (n,) before it; None: where a state is an output, the measurement, else the
                system's neutral value
    deviation   of x̂₀ from the truth; None: half of the range of a bounded state, else 1
    """

    def __init__(
        self, model: HybridModel, state: np.ndarray | None, deviation: Deviations | None
    ) -> None:
        rows, n = tangent.signals(model.system.states), len(model.system.states)
        if state is not None:
            state = np.array(state, dtype=float)
            if state.shape != (n,) or not np.isfinite(state).all():
                raise ValueError(f"initial_state must be {n} finite numbers, got {state!r}")
        self.model, self.state = model, state
        if deviation is None:
            half = [(s.high - s.low) / 2 for s in rows]
            deviation = [h if 0 < h < np.inf else 1.0 for h in half]
        self.deviation = deviations("initial_deviation", deviation, rows)
        self.reset()

    def reset(self) -> None:
        steps, system = self.model.memory_steps, self.model.system
        self._inputs = np.zeros((steps, system.nu))
        self._exogenous = np.zeros((steps, system.nd))

    def passed(self, u: np.ndarray, d: np.ndarray) -> None:
        """Note a step before the first measurement."""
        if len(self._inputs):
            self._inputs = np.vstack([self._inputs[1:], u])
            self._exogenous = np.vstack([self._exogenous[1:], d])

    def estimate(self, y: np.ndarray) -> np.ndarray | None:
        """x̂₀ (n,) of continuous states before y is weighed, None where nothing is known."""
        if self.state is not None:
            return self.state.copy()
        if not np.isfinite(y).any():
            return None
        system = self.model.system
        neutral = dict(zip((s.name for s in system.states), system.neutral, strict=True))
        known = np.array([neutral.get(s.name, 0.0) for s in system.outputs])
        lost = {s.quaternion or s.name for s, v in zip(system.outputs, y, strict=True) if v != v}
        usable = [(s.quaternion or s.name) not in lost for s in system.outputs]  # rotations whole
        whole = np.where(usable, y, known)
        return guessed(system, torch.as_tensor(whole, dtype=torch.float64)).numpy()

    def remembering(self, x: np.ndarray) -> np.ndarray:
        """x̃ (nx,), the continuous state with the memory of what was commanded so far."""
        with torch.no_grad():
            return self.model.initial_state(
                torch.as_tensor(x, dtype=torch.float64),
                torch.tensor(self._inputs),
                past_d=torch.tensor(self._exogenous) if len(self._exogenous) else None,
            ).numpy()
