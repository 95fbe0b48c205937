"""Open-loop policies that make logs worth learning from.

    u(t) = c + a·h·s(t),    |s(t)| ≤ 1

c centre and h half width of the inputs' bounds, a amplitude (a share of h), s the wave, drawn
anew for each log from its seed. All are policies for `collect`, and always inside the bounds.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from hybridmodel.data.trajectory import Array
from physics import Signal


class Excitation(ABC):
    """A wave inside the bounds of the inputs.

    Raises ValueError where an input has no finite bounds, or amplitude is not in (0, 1].
    """

    def __init__(self, inputs: Sequence[Signal], *, amplitude: float = 0.5) -> None:
        if not inputs:
            raise ValueError("inputs is empty: there is nothing to excite")
        for signal in inputs:
            if not (math.isfinite(signal.low) and math.isfinite(signal.high)):
                raise ValueError(
                    f"input {signal.name!r} has bounds {signal.low} … {signal.high}; an "
                    f"excitation needs finite ones: Signal({signal.name!r}, low=…, high=…)"
                )
        if not 0 < amplitude <= 1:
            raise ValueError(f"amplitude is a share of the bounds in (0, 1], got {amplitude}")
        self.inputs = tuple(inputs)
        self.amplitude = amplitude
        self._low = np.array([s.low for s in self.inputs])
        self._high = np.array([s.high for s in self.inputs])
        self.center = (self._low + self._high) / 2
        self._swing = amplitude * (self._high - self._low) / 2

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> None:
        """Choose the wave of one log."""

    @abstractmethod
    def wave(self, t: float) -> Array:
        """s(t) (nu,), within ±1."""

    def reset(self, seed: int | None = None) -> None:
        """Draw the wave of the next log; no seed is seed 0, so that results repeat."""
        # a stream of its own: the plant draws its initial state from the same seed
        self.draw(np.random.default_rng((1, seed or 0)))

    def __call__(self, t: float, y: Array) -> Array:
        """u(t) (nu,); measurements are ignored."""
        u = self.center + self._swing * self.wave(t)
        return np.clip(u, self._low, self._high)  # rounding only


class Multisine(Excitation):
    """K tones per input at frequencies that no other input has.

        s_j(t) = (1/P_j) Σ_k cos(2π f_jk t + φ_jk),    f_jk = f_low + (k n_u + j) δ

    δ = (f_high − f_low)/(K n_u − 1) [Hz]. P_j bounds the envelope |Σ_k exp i(2πk n_u δ t + φ_jk)|
    for all t, so the whole swing is used and nothing is clipped. Phases φ are uniform.
    """

    def __init__(
        self,
        inputs: Sequence[Signal],
        *,
        band: tuple[float, float] = (0.1, 3.0),
        tones: int = 12,
        amplitude: float = 0.5,
    ) -> None:
        super().__init__(inputs, amplitude=amplitude)
        check_band(band)
        if tones < 2:
            raise ValueError(f"tones must be at least 2 per input, got {tones}")
        frequencies = np.linspace(*band, tones * len(self.inputs))  # Hz
        self.frequencies = frequencies.reshape(tones, -1).T  # (nu, K)
        self.reset()

    def draw(self, rng: np.random.Generator) -> None:
        self._phases = rng.uniform(0, 2 * np.pi, self.frequencies.shape)  # (nu, K)
        # a polynomial of degree n on N points is nowhere larger than its largest / cos(πn/N)
        # (Ehlich and Zeller, 1964); the envelope has degree (K − 1)/2 about its middle tone
        tones = self.frequencies.shape[1]
        points = 16 * tones
        envelope = np.abs(np.fft.fft(np.exp(1j * self._phases), points, axis=1))
        self._peak = envelope.max(axis=1) / np.cos(np.pi * (tones - 1) / (2 * points))

    def wave(self, t: float) -> Array:
        return np.cos(2 * np.pi * self.frequencies * t + self._phases).sum(axis=1) / self._peak


class Chirp(Excitation):
    """A sine that sweeps through a band and back, at constant pace.

        s_j(t) = sin(φ_j + 2π g(t + 2 T j/n_u)),    ġ: f_low → f_high → f_low every 2T

    T time of one sweep [s]. Inputs are staggered, so that they seldom share a frequency; the
    phases φ are uniform.
    """

    def __init__(
        self,
        inputs: Sequence[Signal],
        *,
        band: tuple[float, float] = (0.1, 3.0),
        sweep: float = 10.0,
        amplitude: float = 0.5,
    ) -> None:
        super().__init__(inputs, amplitude=amplitude)
        check_band(band)
        if not 0 < sweep < math.inf:
            raise ValueError(f"sweep must be a positive time [s], got {sweep}")
        self.band = band
        self.sweep = sweep
        self.reset()

    def draw(self, rng: np.random.Generator) -> None:
        self._phases = rng.uniform(0, 2 * np.pi, len(self.inputs))

    def wave(self, t: float) -> Array:
        stagger = 2 * self.sweep * np.arange(len(self.inputs)) / len(self.inputs)
        return np.sin(self._phases + 2 * np.pi * self._turns(t + stagger))

    def _turns(self, t: Array) -> Array:
        """g(t), turns since t = 0."""
        low, high = self.band
        rounds, rest = np.divmod(t, 2 * self.sweep)
        up = np.minimum(rest, self.sweep)
        down = rest - up
        slope = (high - low) / (2 * self.sweep)
        turns = low * up + slope * up**2 + high * down - slope * down**2
        return rounds * (low + high) * self.sweep + turns


class RandomSteps(Excitation):
    """Levels uniform in ±1, each held for a time uniform in `hold` [s]."""

    def __init__(
        self,
        inputs: Sequence[Signal],
        *,
        hold: tuple[float, float] = (0.1, 1.0),
        amplitude: float = 0.5,
    ) -> None:
        super().__init__(inputs, amplitude=amplitude)
        if not (len(hold) == 2 and 0 < hold[0] <= hold[1] < math.inf):
            raise ValueError(f"hold must be (shortest, longest) > 0 in s, got {hold}")
        self.hold = hold
        self.reset()

    def draw(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._begins: list[float] = []
        self._levels: list[Array] = []
        self._ends = 0.0

    def wave(self, t: float) -> Array:
        while self._ends <= t or not self._begins:  # drawn as far as it is asked for
            self._begins.append(self._ends)
            self._levels.append(self._rng.uniform(-1, 1, len(self.inputs)))
            self._ends += self._rng.uniform(*self.hold)
        return self._levels[max(0, bisect_right(self._begins, t) - 1)]


def check_band(band: tuple[float, float]) -> None:
    if not (len(band) == 2 and 0 < band[0] < band[1] < math.inf):
        raise ValueError(f"band must be (low, high) with 0 < low < high in Hz, got {band}")
