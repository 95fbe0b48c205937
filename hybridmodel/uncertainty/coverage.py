"""Do intervals hold what they say? `calibration` measures it, `recalibrate` mends it.

Both are about measured outputs, noise of the sensors included, predicted from a measured start:
what can be checked without knowing the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from hybridmodel.data import Dataset
from hybridmodel.model import HybridModel
from hybridmodel.uncertainty.errors import Errors, errors
from hybridmodel.uncertainty.noise import Noise, split_noise
from hybridmodel.uncertainty.prediction import Prediction, normal_half_width
from hybridmodel.uncertainty.propagation import Method, propagate
from hybridmodel.uncertainty.recalibration import Recalibration
from physics import tangent

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SMOOTHING = 2.0  # steps, deviation of the kernel over k


@dataclass(frozen=True)
class Calibration:
    """Intervals against what was measured, after 1 … H steps.

    coverage     (H, rows) share of windows inside the interval of `level`, by step and signal
    reliability  (levels, rows) the same over all steps, for each of `levels`
    width        (H, rows) mean width of the interval, in the unit of the signal
    rmse         (H, rows) of the mean
    signals      the rows, in the tangent space of the outputs
    level, windows, dt   of the interval, how many, and of one step [s]
    """

    coverage: np.ndarray
    reliability: np.ndarray
    width: np.ndarray
    rmse: np.ndarray
    signals: tuple[str, ...]
    level: float
    windows: int
    dt: float
    levels: tuple[float, ...] = field(default=LEVELS)

    @property
    def pooled(self) -> np.ndarray:
        """(H,) coverage over all signals."""
        return self.coverage.mean(axis=1)

    @property
    def sharpness(self) -> np.ndarray:
        """(H, rows) mean width over RMSE: 2z for a Gaussian error that is known well."""
        return self.width / np.maximum(self.rmse, 1e-300)

    def table(self) -> str:
        """Coverage at a few steps, and width over RMSE, a line for each signal."""
        last = len(self.coverage)
        steps = sorted({1, *(k for k in (5, 10, 25, 50) if k <= last), last})
        name = max(len("all signals"), *(len(s) for s in self.signals))
        head = f"{f'{100 * self.level:g} % intervals':<{name + 2}}"
        head += "".join(f"{f'k={k}':>8}" for k in steps) + f"{'least':>8}{'most':>8}{'w/RMSE':>8}"
        rows = [(s, self.coverage[:, i], self.sharpness[:, i]) for i, s in enumerate(self.signals)]
        rows.append(("all signals", self.pooled, self.sharpness.mean(axis=1)))
        lines = [head]
        for label, shares, sharp in rows:
            at = [shares[k - 1] for k in steps] + [shares.min(), shares.max()]
            cells = "".join(f"{100 * value:7.1f}%" for value in at)
            lines.append(f"{label:<{name + 2}}{cells}{sharp.mean():8.2f}")
        return "\n".join(lines)


def calibration(
    model: HybridModel,
    data: Dataset,
    *,
    horizon: int = 25,
    level: float = 0.9,
    levels: Sequence[float] = LEVELS,
    stride: int = 1,
    method: Method = "tsinf",
    particles: int = 50,
    noise: Noise | bool = True,
    calibration: Recalibration | None = None,
    seed: int = 0,
) -> Calibration:
    """Coverage, reliability and width over all windows of logs that nothing was fitted to.

    method, particles, noise, calibration, seed   as of `propagate`
    Raises ValueError as `propagate` and `Dataset.windows` do.
    """
    every = (level, *levels)
    found = _errors(
        model, data, horizon, stride, every, method, particles, noise, calibration, seed
    )
    return Calibration(
        coverage=found.inside[0].double().mean(0).numpy(),
        reliability=found.inside[1:].double().mean((1, 2)).numpy(),
        width=found.width.mean(0).numpy(),
        rmse=found.error.square().mean(0).sqrt().numpy(),
        signals=_names(model),
        level=level,
        windows=len(found.error),
        dt=model.dt,
        levels=tuple(levels),
    )


def recalibrate(
    model: HybridModel,
    validation: Dataset,
    *,
    horizon: int = 25,
    level: float = 0.9,
    stride: int = 1,
    method: Method = "tsinf",
    particles: int = 50,
    noise: Noise | bool | None = None,
    seed: int = 0,
) -> Recalibration:
    """Factors with which `level` of the validation errors lie inside, by step and signal.

        c_ki = quantile of |e_ki| / (z σ_ki) at level·(n + 1)/n,   ln c smooth over k

    noise   default: what `split_noise` finds in the same logs, so that factors have little to do

    Of n exchangeable scores the quantile at level·(n + 1)/n is passed by the next one with
    probability 1 − level at most (split conformal prediction: Vovk et al. 2005; Lei et al. 2018,
    theorem 2.2). Windows that overlap are not exchangeable with new ones: n is the number of those
    that share no sample. So the share is right on average over validation logs; one set of logs
    is off by about √(level (1 − level)/n). Smoothing over k (Gaussian, 2 steps) gives up the
    guarantee of each step for factors that do not jump.

    Raises ValueError where n is too small for the level, and as `propagate` does.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1 step, got {horizon}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    apart = sum(log.steps // horizon for log in validation)
    rank = level * (apart + 1) / apart if apart else 2.0
    if rank > 1:
        raise ValueError(
            f"validation holds {apart} windows of {horizon} steps that share no sample, too few "
            f"for level {level:g}: more logs, a shorter horizon or a lower level"
        )
    noise = split_noise(model, validation, horizon=horizon) if noise is None else noise
    found = _errors(
        model, validation, horizon, stride, (level,), method, particles, noise, None, seed
    )
    size = (normal_half_width(level) * found.std).clamp(min=1e-300)
    scores = found.error.abs() / size
    factors = torch.quantile(scores, rank, dim=0)
    smooth = torch.exp(_smooth(factors.clamp(min=1e-6).log()))
    return Recalibration(
        factors=tuple(tuple(row) for row in smooth.tolist()),
        level=level,
        method=method,
        noise=Noise.of(model) if noise is True else Noise.none(model) if noise is False else noise,
        signals=_names(model),
        windows=len(scores),
        apart=apart,
    )


def _errors(
    model: HybridModel,
    data: Dataset,
    horizon: int,
    stride: int,
    levels: Sequence[float],
    method: Method,
    particles: int,
    noise: Noise | bool,
    calibration: Recalibration | None,
    seed: int,
) -> Errors:
    def predict(x0: Tensor, u: Tensor, d: Tensor, number: int) -> Prediction:
        return propagate(
            model,
            x0,
            u,
            d,
            method=method,
            particles=particles,
            noise=noise,
            calibration=calibration,
            measured=True,
            seed=seed + number,
        )

    return errors(
        model, data, predict, horizon=horizon, stride=stride, levels=levels, paths=particles
    )


def _smooth(values: Tensor) -> Tensor:
    """Local linear regression over the first axis, so that slopes stay at the ends."""
    k = torch.arange(len(values), dtype=values.dtype)
    far = k[:, None] - k
    weight = torch.exp(-0.5 * (far / SMOOTHING).square())
    s0, s1, s2 = ((weight * far**power).sum(-1, keepdim=True) for power in (0, 1, 2))
    local = weight * (s2 - s1 * far) / (s0 * s2 - s1**2).clamp(min=1e-12)
    return local @ values if len(values) > 2 else values


def _names(model: HybridModel) -> tuple[str, ...]:
    return tuple(s.name for s in tangent.signals(model.system.outputs))
