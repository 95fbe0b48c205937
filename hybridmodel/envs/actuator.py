"""The way from a command to a force, the same for every engine."""

from __future__ import annotations

import math

import casadi as ca
import numpy as np

from hybridmodel.envs.hidden import HiddenEffects


class Actuator:
    """Delay, dead zone, gain and lag, exact over each engine step h.

        T u̇ᵃ + uᵃ = w,   w = k·dz(u_{k−n})
        mean of uᵃ over [ih, (i+1)h] = w + (uᵃ₀ − w) e^{−ih/T} (1 − e^{−h/T}) T/h

    The engine holds its input over a step, so it is given the mean: the impulse is exact.
    """

    def __init__(self, hidden: HiddenEffects, rest: np.ndarray, h: float, substeps: int) -> None:
        u = ca.SX.sym("u", rest.size)
        self._law = ca.Function("actuated", [u], [hidden.actuated(u)])
        self._delay, self._rest, self._substeps = hidden.input_delay, rest, substeps
        lag = hidden.input_lag
        ratio = h / lag if lag > 0 else math.inf
        decay = np.exp(-ratio * np.arange(1, substeps)) if lag > 0 else np.zeros(substeps - 1)
        decay = np.concatenate([[1.0], decay])
        mean = -math.expm1(-ratio) / ratio if lag > 0 else 0.0
        self._fade = (mean * decay)[:, None]  # (substeps, 1)
        self._end = math.exp(-ratio * substeps)
        self.reset()

    def reset(self) -> None:
        """At rest: no command is under way."""
        self._queue = [self._rest] * self._delay
        self._applied = self.settled(self._rest)

    def settled(self, u: np.ndarray) -> np.ndarray:
        """k·dz(u) (nu,), what a constant command comes to."""
        return np.asarray(self._law(u), dtype=np.float64).reshape(-1)

    def advance(self, u: np.ndarray) -> np.ndarray:
        """What is applied in each engine step (substeps, nu) while u is commanded for one dt."""
        self._queue.append(u)
        target = self.settled(self._queue.pop(0))
        offset = self._applied - target
        self._applied = target + self._end * offset
        return target + self._fade * offset
