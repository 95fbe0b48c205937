"""Random motions with known derivatives, for machines that must be led instead of pushed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hybridmodel.data.trajectory import Array

_FINER = 16  # samples of a period for each of the highest harmonic's


class Sample(NamedTuple):
    """y, ẏ, ÿ (n,) of a motion at one time."""

    value: Array
    rate: Array
    acceleration: Array


class FourierMotion:
    """A band-limited periodic motion of n channels that starts at rest.

        y_j(t) = c_j + w(t) a_j s_j(t),    s_j = (1/P_j) Σ_l (1/l) cos(2π l f t + φ_jl)

    c `center` and a `reach` (n,) in the channels' units; f = 1/`period` [Hz], l = 1 … `harmonics`,
    phases φ uniform, drawn anew from each seed. 1/l makes the rates of all harmonics alike. P_j
    bounds the sum for all t, so that |y_j − c_j| ≤ a_j. w rises from 0 to 1 in the first `rise`
    seconds, with its first two derivatives 0 at both ends.
    Swevers, Ganseman, Tükel, de Schutter, Van Brussel, Optimal robot excitation and
    identification, IEEE Trans. Robotics and Automation 1997, eq. 12 (there with optimised
    coefficients).

    Raises ValueError naming the argument.
    """

    def __init__(
        self,
        center: Sequence[float],
        reach: Sequence[float],
        *,
        period: float = 10.0,
        harmonics: int = 5,
        rise: float = 1.0,
    ) -> None:
        self.center, self.reach = np.array(center, dtype=float), np.array(reach, dtype=float)
        if self.center.ndim != 1 or self.center.shape != self.reach.shape or not len(self.center):
            raise ValueError(
                f"center and reach must hold a number for each channel, got shapes "
                f"{self.center.shape} and {self.reach.shape}"
            )
        if not (np.isfinite(self.center).all() and np.isfinite(self.reach).all()):
            raise ValueError(f"center and reach must be finite, got {center} and {reach}")
        if (self.reach < 0).any():
            raise ValueError(f"reach must be at least 0, got {reach}")
        for name, value in (("period", period), ("rise", rise)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be a positive time [s], got {value}")
        if harmonics < 1:
            raise ValueError(f"harmonics must be at least 1, got {harmonics}")
        self.period, self.rise = period, rise
        self._order = np.arange(1, harmonics + 1)
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Draw the phases of the next log; no seed is seed 0, so that results repeat."""
        rng = np.random.default_rng((4, seed or 0))
        K = len(self._order)
        self._phases = rng.uniform(0, 2 * np.pi, (len(self.center), K))
        # a polynomial of degree K on N points of the period is nowhere larger than its largest
        # over cos(πK/N) (Ehlich and Zeller, 1964)
        points = _FINER * K
        turns = np.arange(points)[:, None, None] / points
        waves = (np.cos(2 * np.pi * self._order * turns + self._phases) / self._order).sum(-1)
        self._peak = np.abs(waves).max(0) / math.cos(math.pi * K / points)

    def __call__(self, t: float) -> Sample:
        """y, ẏ, ÿ at time t [s]."""
        omega = 2 * np.pi * self._order / self.period
        angle = omega * t + self._phases
        weight = 1 / (self._order * self._peak[:, None])
        s = (weight * np.cos(angle)).sum(-1)
        ds = -(weight * omega * np.sin(angle)).sum(-1)
        dds = -(weight * omega**2 * np.cos(angle)).sum(-1)
        w, dw, ddw = _risen(t / self.rise)
        dw, ddw = dw / self.rise, ddw / self.rise**2
        return Sample(
            self.center + self.reach * w * s,
            self.reach * (w * ds + dw * s),
            self.reach * (w * dds + 2 * dw * ds + ddw * s),
        )


def _risen(z: float) -> tuple[float, float, float]:
    """10 z³ − 15 z⁴ + 6 z⁵ within 0 … 1, and its first two derivatives."""
    z = min(max(z, 0.0), 1.0)
    return (
        z**3 * (10 - 15 * z + 6 * z**2),
        30 * z**2 * (1 - z) ** 2,
        60 * z * (1 - 3 * z + 2 * z**2),
    )
