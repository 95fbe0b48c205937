"""How late one channel shows what another does: y(t) ≈ a x(t − τ) + b.

The highest cross-correlation of the differenced channels gives τ within a sample. Both are then
low-passed without phase to the band in which they are coherent, γ²(f) > 1/2, and τ maximises the
correlation ρ(τ) of ẋ(t − τ) and ẏ(t), ẏ shifted by fractions of a sample with cubic splines. In a
channel so limited the spline is exact to 1e-3, and ρ has one smooth peak.

The standard error is that of the slope of least squares: with residuals e = ẏ − aẋ, summed over
blocks that are longer than their correlation (so that it need not be known),

    σ_τ² = Σ_blocks (Σ ÿ e)² / (Σ ÿ²)²
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # which loads `signal` when it is first used, for a second
from scipy.interpolate import make_interp_spline
from scipy.optimize import minimize_scalar

from hybridmodel.data.trajectory import Array

_MAIN_LOBE = 0.5  # of the highest correlation; until below it, lags are one peak
_RIVAL = 0.9  # a second peak of this share of the highest makes τ ambiguous
_SPLINE = 0.02  # samples, what the spline and the ends of the log add without any noise
_FLOOR = 1e-4  # of the power density; below, coherence is of what leaks from other frequencies
_LEAST = 0.3  # correlation below which channels do not show the same thing


@dataclass(frozen=True)
class Delay:
    """By how much the second channel lags behind the first; negative where it leads.

    seconds          τ [s]
    samples          τ/dt
    standard_error   σ_τ [s], of the noise alone
    correlation      of the differenced channels once shifted, −1 … 1
    ambiguity        height of the second highest peak of the correlation over the highest
    """

    seconds: float
    samples: float
    standard_error: float
    correlation: float
    ambiguity: float

    @property
    def certain(self) -> bool:
        """One clear peak: the channels show the same thing, and not once per period."""
        return self.correlation >= _LEAST and self.ambiguity <= _RIVAL

    def __str__(self) -> str:
        how = "" if self.certain else ", uncertain"
        return (
            f"{self.seconds:.4g} ± {self.standard_error:.2g} s ({self.samples:.3g} samples, "
            f"correlation {self.correlation:.2f}{how})"
        )


def estimate_delay(
    first: Array,
    second: Array,
    dt: float,
    *,
    max_delay: float | None = None,
    max_frequency: float | None = None,
) -> Delay:
    """τ by which `second` (n,) lags behind `first` (n,), both every dt [s].

    Both must show the same quantity up to scale, offset and noise: a position differentiated
    and a velocity, what was commanded and what was measured. τ is looked for within
    ±`max_delay` [s] (a tenth of the log unless given), by frequencies up to `max_frequency`
    [Hz] (0.8 of the half of 1/dt).

    Raises ValueError for unequal, short, constant or incomplete channels.
    """
    x, y = (np.asarray(channel, dtype=np.float64) for channel in (first, second))
    if x.ndim != 1 or x.shape != y.shape or len(x) < 64:
        raise ValueError(
            f"first and second must be (n,) each, n at least 64, got {x.shape} and {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("first and second must be finite; read_log fills missing samples")
    if not dt > 0:
        raise ValueError(f"dt must be positive, got {dt}")
    for name, channel in (("first", x), ("second", y)):
        if np.ptp(channel) == 0:
            raise ValueError(f"{name} is constant, it shows no delay")
    n = len(x)
    most = n // 10 if max_delay is None else int(np.ceil(max_delay / dt))
    if not 1 <= most <= n // 2:
        raise ValueError(f"max_delay must be within 1 … {n // 2} samples, got {most}")
    highest = 0.4 / dt if max_frequency is None else max_frequency
    lag, correlation, ambiguity = _whole_samples(x, y, most)
    fraction, error = _fraction(*_shifted(x, y, lag), highest * dt)
    if abs(fraction) > 0.5:  # a rounding of the peak; once more about the nearer sample
        lag += round(fraction)
        fraction, error = _fraction(*_shifted(x, y, lag), highest * dt)
    samples = lag + fraction
    return Delay(samples * dt, samples, error * dt, correlation, ambiguity)


def _whole_samples(x: Array, y: Array, most: int) -> tuple[int, float, float]:
    """Lag, correlation there, and the highest other peak over it."""
    # differences: a slow drift common to both would correlate at every lag
    x, y = (np.diff(c) for c in (x, y))
    x, y = (c - c.mean() for c in (x, y))
    products = scipy.signal.correlate(y, x, mode="full", method="fft")
    middle = len(x) - 1
    lags = np.arange(-most, most + 1)
    shared = len(x) - np.abs(lags)
    scale = np.sqrt(np.sum(x**2) * np.sum(y**2)) * shared / len(x)
    c = products[middle - most : middle + most + 1] / scale
    peak = int(np.argmax(c))
    left = right = peak
    while left > 0 and c[left - 1] > _MAIN_LOBE * c[peak]:
        left -= 1
    while right < len(c) - 1 and c[right + 1] > _MAIN_LOBE * c[peak]:
        right += 1
    others = np.concatenate([c[:left], c[right + 1 :]])
    rival = float(others.max() / c[peak]) if others.size and c[peak] > 0 else 0.0
    return int(lags[peak]), float(np.clip(c[peak], -1, 1)), max(0.0, rival)


def _shifted(x: Array, y: Array, lag: int) -> tuple[Array, Array]:
    """The parts that show the same time once y is taken `lag` samples later."""
    n = len(x) - abs(lag)
    return (x[:n], y[lag : lag + n]) if lag >= 0 else (x[-lag : -lag + n], y[:n])


def _fraction(x: Array, y: Array, highest: float) -> tuple[float, float]:
    """τ within two samples and its standard error, in samples."""
    band = min(highest, _coherent_band(x, y))
    sections = scipy.signal.butter(4, 2 * band, output="sos")
    reach = min(len(x) - 1, int(np.ceil(3 / band)))
    x, y = (np.gradient(scipy.signal.sosfiltfilt(sections, c, padlen=reach)) for c in (x, y))
    n, edge = len(x), min(len(x) // 4, reach + 3)
    inner = np.arange(edge, n - edge)
    spline = make_interp_spline(np.arange(n), y, k=3)
    template = x[inner] - x[inner].mean()

    def correlation(tau: float) -> float:
        shifted = spline(inner + tau)
        return float(np.corrcoef(template, shifted)[0, 1])

    found = minimize_scalar(lambda tau: -correlation(tau), bounds=(-2, 2), method="bounded")
    tau = float(found.x)
    shifted, slope = spline(inner + tau), spline(inner + tau, 1)
    shifted = shifted - shifted.mean()
    residual = shifted - template * (template @ shifted) / (template @ template)
    block = max(int(np.ceil(2 / band)), len(inner) // 100)
    sums = np.add.reduceat(slope * residual, np.arange(0, len(inner), block))
    error = float(np.sqrt(np.sum(sums**2)) / np.sum(slope**2))
    return tau, float(np.hypot(error, _SPLINE))


def _coherent_band(x: Array, y: Array) -> float:
    """Where coherence falls below a half, in cycles per sample."""
    length = int(min(1024, max(32, len(x) // 8)))
    f, coherence = scipy.signal.coherence(np.diff(x), np.diff(y), nperseg=length, detrend="linear")
    power = scipy.signal.welch(np.diff(x), nperseg=length, detrend="linear")[1]
    strong = (coherence > 0.5) & (power > _FLOOR * power.max()) & (f > 0)
    return float(np.clip(f[strong].max(initial=0.0) + 2 / length, 4 / length, 0.4))
