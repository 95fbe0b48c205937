"""Forces that nobody commands: a push and the wind."""

from __future__ import annotations

import math

import numpy as np

from hybridmodel.envs.hidden import HiddenEffects


class Disturbance:
    """The generalised force τ(t) in each engine step.

    push   constant over [start, start + duration], exact in impulse
    wind   wₖ₊₁ = a wₖ + σ √(1 − a²) ε,   a = e^{−dt/T}    on the first coordinate,
           an Ornstein–Uhlenbeck process sampled and held each control step
    """

    def __init__(self, hidden: HiddenEffects, nv: int, dt: float, substeps: int) -> None:
        self._push, self._sigma = hidden.push, hidden.wind
        self._keep = math.exp(-dt / hidden.wind_time)
        self._nv, self._dt, self._substeps = nv, dt, substeps
        self._wind: float | None = None

    def reset(self) -> None:
        """Forget the wind; it is drawn anew from its long-run distribution."""
        self._wind = None

    def advance(self, k: int, random: np.random.Generator) -> np.ndarray:
        """τ (substeps, nv) in the k-th control step."""
        force = np.zeros((self._substeps, self._nv))
        if self._push is not None:
            start, duration, forces = self._push
            h = self._dt / self._substeps
            begin = k * self._dt + h * np.arange(self._substeps)
            overlap = np.minimum(begin + h, start + duration) - np.maximum(begin, start)
            force += np.clip(overlap / h, 0.0, 1.0)[:, None] * np.asarray(forces)
        if self._sigma > 0:
            fresh = self._sigma * random.standard_normal()
            a = 0.0 if self._wind is None else self._keep
            self._wind = a * (self._wind or 0.0) + math.sqrt(1 - a * a) * fresh
            force[:, 0] += self._wind
        return force
