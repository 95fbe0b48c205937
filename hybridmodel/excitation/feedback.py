"""Constant commands, and waves added to a feedback."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hybridmodel.collection import Policy
from hybridmodel.data.trajectory import Array
from hybridmodel.excitation.waves import Excitation
from physics import Signal


class Hold:
    """One constant command, u(t) = u₀.

    Raises ValueError where u₀ does not fit the inputs or leaves their bounds.
    """

    def __init__(self, inputs: Sequence[Signal], value: Sequence[float]) -> None:
        self._u = np.array(value, dtype=np.float64)
        if self._u.shape != (len(inputs),):
            raise ValueError(f"value must hold {len(inputs)} numbers, got shape {self._u.shape}")
        for signal, u in zip(inputs, self._u, strict=True):
            if not signal.low <= u <= signal.high:
                raise ValueError(
                    f"value {u} of input {signal.name!r} is outside {signal.low} … {signal.high}"
                )

    def reset(self, seed: int | None = None) -> None:
        """There is nothing to forget."""

    def __call__(self, t: float, y: Array) -> Array:
        """u₀ (nu,)."""
        return self._u.copy()


class Centered:
    """An excitation with a weak pull to y = 0 that keeps the plant where it may be.

        u = clip(wave(t) − K y)

    K (nu, ny) in input units per output unit. Logs made so are closed-loop logs: the input
    knows the noise of the output, which biases identification where K is large.

    Raises ValueError where K has another shape.
    """

    def __init__(self, wave: Excitation, gains: Sequence[Sequence[float]]) -> None:
        self._wave = wave
        self._gains = np.array(gains, dtype=np.float64)
        if self._gains.ndim != 2 or len(self._gains) != len(wave.inputs):
            raise ValueError(
                f"gains must have {len(wave.inputs)} rows, one an input, got {self._gains.shape}"
            )
        self._low = np.array([s.low for s in wave.inputs])
        self._high = np.array([s.high for s in wave.inputs])

    def reset(self, seed: int | None = None) -> None:
        """Draw the wave of the next log."""
        self._wave.reset(seed)

    def __call__(self, t: float, y: Array) -> Array:
        """u (nu,), inside the bounds."""
        return np.clip(self._wave(t, y) - self._gains @ y, self._low, self._high)


class Dithered:
    """Any policy with an excitation about its centre c added, u = clip(policy(t, y) + wave(t) − c).

    For logs that lie where a controller goes, and yet tell its inputs' effects apart.
    """

    def __init__(self, policy: Policy, wave: Excitation) -> None:
        self._policy, self._wave = policy, wave
        self._low = np.array([s.low for s in wave.inputs])
        self._high = np.array([s.high for s in wave.inputs])

    def reset(self, seed: int | None = None) -> None:
        """Reset both."""
        self._policy.reset(seed)
        self._wave.reset(seed)

    def __call__(self, t: float, y: Array) -> Array:
        """u (nu,), inside the bounds."""
        added = self._wave(t, y) - self._wave.center
        return np.clip(self._policy(t, y) + added, self._low, self._high)
