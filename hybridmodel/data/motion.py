"""Findings between channels: rates against positions, and how much inputs excite."""

from __future__ import annotations

import numpy as np

from hybridmodel.data.delay import estimate_delay
from hybridmodel.data.differentiation import differentiate
from hybridmodel.data.report import LogFinding
from hybridmodel.data.resample import unwrap
from hybridmodel.data.trajectory import Array

_SPANS = (4, 8, 16, 32, 64, 128)  # samples
_UNEXPLAINED = 0.2  # of how far a position moves
_GAIN = 0.1
_LATE = 0.5  # samples
_MATTERS = 2.0  # samples
_DELAY_ROWS = 20_000


def check_rate(
    name: str, rate: Array, of: str, position: Array, dt: float, *, angle: bool
) -> list[LogFinding]:
    """Does a rate (n,) say how a position (n,) moves?

    p(t + s) − p(t) is compared with ∫ v dt over the span s that suits it best: sums need no
    derivative, so that noise and quantisation of the position do not count against the rate.
    """
    position = unwrap(position).values if angle else position
    n = len(rate)
    if n < 3 * _SPANS[0] or np.ptp(position) == 0 or np.ptp(rate) == 0:
        return []
    distance = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) * dt / 2)])
    unexplained, gain, error = np.inf, 1.0, 0.0
    for span in (s for s in _SPANS if 3 * s <= n):
        moved, said = (a[span:] - a[:-span] for a in (position, distance))
        if (power := float(said @ said)) == 0 or not (total := float(moved @ moved)):
            continue
        off = float(np.sqrt(np.mean((moved - said) ** 2) / (total / len(moved))))
        if off < unexplained:
            unexplained, gain = off, float(moved @ said) / power
            # by blocks that are longer than the span
            sums = np.add.reduceat((moved - gain * said) * said, np.arange(0, len(said), 2 * span))
            error = float(np.sqrt(np.sum(sums**2))) / power
    found = []
    if abs(gain - 1) > _GAIN + 3 * error:
        text = (
            f"differs from the derivative of {of}, which is {gain:.3g} times as large: another "
            "unit, sign, or a filter"
        )
        found.append(LogFinding(name, "rate", gain, "", "warning", text))
    elif unexplained > _UNEXPLAINED:
        text = f"leaves {unexplained:.0%} of how {of} moves unexplained: noise, drift or a filter"
        found.append(LogFinding(name, "rate", unexplained, "", "warning", text))
    if unexplained < 3 and n >= 200 and gain > 0:
        rows = slice(0, _DELAY_ROWS)
        t = dt * np.arange(n, dtype=np.float64)[rows]
        slope = differentiate(t, position[rows]).derivative
        if np.ptp(slope) > 0 and np.ptp(rate[rows]) > 0:
            late = estimate_delay(slope, rate[rows], dt, max_delay=max(10, 0.02 * len(t)) * dt)
            if late.certain and abs(late.seconds) > _LATE * dt + 3 * late.standard_error:
                text = f"lags the derivative of {of} by {late}; align() takes it out"
                severity = "warning" if abs(late.samples) > _MATTERS else "info"
                found.append(LogFinding(name, "delay", late.seconds, "s", severity, text))
    return found


def check_excitation(
    name: str, u: Array, unit: str, low: float, high: float, order: int
) -> list[LogFinding]:
    """Does an input u (n,) excite a system of this order?

    The number of sinusoids that would spread its power as widely, (Σ P)² / 2 Σ P² over the
    periodogram P under a Hann window (in which a sinusoid has the effective width 2): n of them
    excite the 2n coefficients of a linear system of order n (Ljung 1999, sec. 13.3).
    """
    found = []
    if np.isfinite(low) and np.isfinite(high) and np.ptp(u) < 0.05 * (high - low):
        used = float(np.ptp(u)) / (high - low)
        text = f"uses {used:.1%} of its range {low:.4g} … {high:.4g} {unit}".rstrip()
        found.append(LogFinding(name, "excitation", used, "", "warning", text))
    window = np.hanning(len(u))
    power = np.abs(np.fft.rfft((u - u.mean()) * window)[1:]) ** 2
    if (total := float(np.sum(power**2))) > 0:
        tones = float(np.sum(power)) ** 2 / total / 2
        if tones < 1.5 and order > 1:
            text = (
                f"is no richer than one sinusoid, a linear system of order {order} needs {order} "
                "to tell all its coefficients apart"
            )
            found.append(LogFinding(name, "excitation", tones, "", "info", text))
    return found
