"""Noise whose power falls with frequency: S(f) ∝ f^{−β}."""

from __future__ import annotations

import numpy as np


def coloured(length: int, exponent: float) -> np.ndarray:
    """W (n, n) that makes coloured noise of unit variance from white noise: ε = W w.

        W Wᵀ = [r(k − j)],  r(k) = c Σ_f S(f) cos 2πfk,  S(f) = max(f, 1/2n)^{−β},  r(0) = 1

    f = 0, 1/2n, …, 1/2 cycles a step and both signs, so that 2n numbers would be periodic and the
    first n are not: an end of the noise knows nothing of its start. W is the symmetric root. β = 0
    is white (W = 1), 1 pink, 2 a random walk. Timmer & König, On generating power law noise,
    Astronomy & Astrophysics 300, 1995; in planning: Pinneri et al., Sample-efficient Cross-Entropy
    Method for Real-time Planning, CoRL 2020, section 3.1.
    """
    period = 2 * length
    spectrum = np.maximum(np.fft.rfftfreq(period), 1 / period) ** -exponent
    r = np.fft.irfft(spectrum, period)[:length] / np.fft.irfft(spectrum, period)[0]
    lag = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    values, vectors = np.linalg.eigh(r[lag])
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
