"""Time derivatives of sampled channels, and what noise they let through.

    Savitzky–Golay   a polynomial of `order` fitted by least squares to the samples of a window
                     about each; its value and slope there (Savitzky and Golay 1964, eq. 4)
    zero phase       a Butterworth low-pass run forwards and backwards, |H(f)|² without delay,
                     then ẏ_k = (y_{k+1} − y_{k−1}) / 2dt

The noise gain g [1/s] is what white noise of deviation σ becomes: ẏ then has the deviation g σ.
Differences of neighbours have g = √2/dt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # which loads `signal` when it is first used, for a second

from hybridmodel.data.quantisation import smallest_increment
from hybridmodel.data.resample import unwrap
from hybridmodel.data.trajectory import Array, uneven_step

Method = Literal["savitzky_golay", "zero_phase"]

_WINDOWS = (5, 7, 9, 11, 15, 19, 25, 31, 41, 51, 65, 81, 101, 129, 161, 201)
_EXPLAINED = 1.15  # a residual up to this times the noise holds no motion
_ROWS = 20_000  # of uneven windows solved at once


@dataclass(frozen=True, eq=False)
class Derivative:
    """A smoothed channel and its time derivative.

    value, derivative (n,)
    noise_gain        deviation of the derivative per deviation of white noise in y [1/s]
    noise             estimated deviation of the noise in y, in its unit
    method            what was done, with its window or cutoff
    """

    value: Array
    derivative: Array
    noise_gain: float
    noise: float
    method: str


def differentiate(
    t: Array,
    y: Array,
    *,
    method: Method = "savitzky_golay",
    window: int | None = None,
    cutoff: float | None = None,
    order: int | None = None,
    angle: bool = False,
) -> Derivative:
    """ẏ (n,) of a channel y (n,) with stamps t (n,) [s], even or not.

    `window` [samples, odd] is for Savitzky–Golay, of `order` 3; `cutoff` [Hz] for zero phase, a
    Butterworth of `order` 2, on even stamps only. Unless given, it is the widest window (the
    lowest cutoff) whose residual y − ŷ is no larger than the noise, which is estimated from
    third differences and the quantisation step. An `angle` that fits into one turn is
    unwrapped first.

    Raises ValueError for channels that are too short, incomplete or out of order.
    """
    t, y = (np.asarray(a, dtype=np.float64) for a in (t, y))
    if t.ndim != 1 or t.shape != y.shape or len(t) < 5:
        raise ValueError(f"t and y must be (n,) each, n at least 5, got {t.shape} and {y.shape}")
    if not (np.isfinite(t).all() and np.isfinite(y).all()):
        raise ValueError("t and y must be finite; leave out samples that are missing")
    if (np.diff(t) <= 0).any():
        raise ValueError(f"t must increase, it does not after row {int(np.argmin(np.diff(t)))}")
    if method not in ("savitzky_golay", "zero_phase"):
        raise ValueError(f"method is 'savitzky_golay' or 'zero_phase', got {method!r}")
    other = cutoff if method == "savitzky_golay" else window
    if other is not None:
        raise ValueError(f"method {method!r} takes no {'cutoff' if window is None else 'window'}")
    y = unwrap(y, t).values if angle else y
    sigma = noise(t, y)
    if method == "savitzky_golay":
        return _savitzky_golay(t, y, window, 3 if order is None else order, sigma)
    return _zero_phase(t, y, cutoff, 2 if order is None else order, sigma)


def noise(t: Array, y: Array) -> float:
    """Deviation of the noise in y (n,) at stamps t (n,), from what no smooth motion gives.

    Third divided differences of white noise, scaled to unit weights, have its deviation; rounding
    to multiples of q adds q/√12, which they do not show where steps are rare.
    """
    stamps = np.lib.stride_tricks.sliding_window_view(t, 4)
    apart = (stamps[:, :, None] - stamps[:, None, :]) / np.median(np.diff(t)) + np.eye(4)
    weights = 1 / np.prod(apart, axis=2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    third = np.sum(weights * np.lib.stride_tricks.sliding_window_view(y, 4), axis=1)
    step = smallest_increment(y)
    return math.hypot(1.4826 * float(np.median(np.abs(third))), (step or 0.0) / math.sqrt(12))


def _savitzky_golay(t: Array, y: Array, window: int | None, order: int, sigma: float) -> Derivative:
    n, dt = len(t), float(t[-1] - t[0]) / (len(t) - 1)
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    if window is not None and (window % 2 == 0 or not order < window <= n):
        raise ValueError(f"window must be odd, more than order {order}, at most {n}, got {window}")
    even = uneven_step(t) is None

    def smooth(width: int) -> tuple[Array, Array]:
        if not even:
            return _local_polynomials(t, y, width, order)
        value, slope = (
            scipy.signal.savgol_filter(y, width, order, deriv=d, delta=dt, mode="interp")
            for d in (0, 1)
        )
        return value, slope

    if window is None:
        fitting = [w for w in _WINDOWS if order < w <= n]
        if not fitting:
            raise ValueError(f"{n} samples are too few for order {order}")
        window = fitting[0]
        for width in fitting[1:]:
            # what white noise leaves: σ √(1 − h), h the weight of the sample itself
            own = float(scipy.signal.savgol_coeffs(width, order)[width // 2])
            left = float(np.sqrt(np.mean((y - smooth(width)[0]) ** 2)))
            if left > _EXPLAINED * sigma * math.sqrt(1 - own):
                break
            window = width
    value, slope = smooth(window)
    weights = scipy.signal.savgol_coeffs(window, order, deriv=1, delta=dt)
    gain = float(np.linalg.norm(weights))
    return Derivative(value, slope, gain, sigma, f"Savitzky–Golay, window {window}, order {order}")


def _local_polynomials(t: Array, y: Array, window: int, order: int) -> tuple[Array, Array]:
    """Value and slope of the least-squares polynomial about each stamp, of uneven ones."""
    n, half = len(t), window // 2
    first = np.clip(np.arange(n) - half, 0, n - window)
    value, slope = np.empty(n), np.empty(n)
    scale = half * float(np.median(np.diff(t)))
    powers = np.arange(order + 1)
    for start in range(0, n, _ROWS):
        rows = slice(start, min(n, start + _ROWS))
        at = first[rows, None] + np.arange(window)
        basis = ((t[at] - t[rows, None]) / scale)[..., None] ** powers  # (rows, window, order + 1)
        normal = np.einsum("kwi,kwj->kij", basis, basis)
        right = np.einsum("kwi,kw->ki", basis, y[at])
        c = np.linalg.solve(normal, right[..., None])[..., 0]
        value[rows], slope[rows] = c[:, 0], c[:, 1] / scale
    return value, slope


def _zero_phase(t: Array, y: Array, cutoff: float | None, order: int, sigma: float) -> Derivative:
    n, dt = len(t), float(t[-1] - t[0]) / (len(t) - 1)
    if (k := uneven_step(t)) is not None:
        raise ValueError(
            f"t must be even for zero_phase, t[{k + 1}] − t[{k}] = {t[k + 1] - t[k]:.6g} s; "
            "savitzky_golay takes uneven stamps"
        )
    highest = 0.5 / dt
    if cutoff is not None and not 0 < cutoff < highest:
        raise ValueError(f"cutoff must be within 0 … {highest:.6g} Hz, got {cutoff}")
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")

    def low_pass(frequency: float) -> Array:
        sections = scipy.signal.butter(order, frequency / highest, output="sos")
        # the ends are continued over one period of the cutoff, oddly
        reach = int(min(n - 1, max(12, math.ceil(1.5 / (frequency * dt)))))
        return scipy.signal.sosfiltfilt(sections, y, padlen=reach)

    chosen = 0.8 * highest if cutoff is None else cutoff
    for trial in (highest / np.geomspace(1.6, 128, 14)).tolist() if cutoff is None else ():
        if float(np.sqrt(np.mean((y - low_pass(trial)) ** 2))) > _EXPLAINED * sigma:
            break
        chosen = trial
    value = low_pass(chosen)
    slope = np.gradient(value, dt, edge_order=2)
    w = np.pi * (np.arange(4096) + 0.5) / 4096  # rad per sample
    _, response = scipy.signal.sosfreqz(
        scipy.signal.butter(order, chosen / highest, output="sos"), worN=w
    )
    gain = float(np.sqrt(np.mean((np.abs(response) ** 2 * np.sin(w) / dt) ** 2)))
    return Derivative(
        value, slope, gain, sigma, f"zero phase, cutoff {chosen:.4g} Hz, order {order}"
    )
