"""Prediction error by step, per state, against the truth where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from hybridmodel.batches import batch, outputs
from hybridmodel.data import Dataset
from hybridmodel.deviation import deviations
from hybridmodel.model import HybridModel
from physics import tangent


@dataclass(frozen=True)
class Evaluation:
    """Free-run error over all windows of a dataset.

    rmse      (H, n) root mean square error after 1 … H steps, by signal, in its unit
    scale     (n,) range of each signal over the dataset
    names     the n signals
    against   "x" the true state, "y" the measured output
    windows   how many
    """

    rmse: np.ndarray
    scale: np.ndarray
    names: tuple[str, ...]
    against: Literal["x", "y"]
    windows: int

    def at(self, step: int) -> float:
        """RMSE after `step` steps over all signals, each scaled by its range."""
        if not 1 <= step <= len(self.rmse):
            raise ValueError(f"step must lie in [1, {len(self.rmse)}], got {step}")
        return float(np.sqrt(np.mean((self.rmse[step - 1] / self.scale) ** 2)))

    def curve(self) -> np.ndarray:
        """(H,) the scaled RMSE at every step."""
        return np.sqrt(np.mean((self.rmse / self.scale) ** 2, axis=1))


def evaluate(
    model: HybridModel, data: Dataset, *, horizon: int = 50, stride: int = 1
) -> Evaluation:
    """Roll the model out from every window's start and compare.

    Where the logs hold the true state x, rollouts start from it and errors are against it, so
    that they are the model's and not the sensors'; elsewhere both are the measured y.
    Angles are unwrapped in both, so an error of a full turn counts as one. The error of a rotation
    is the rotation vector between the two, whose length is the geodesic angle.
    """
    windows = batch(model, data, horizon, stride=stride, start="true")
    system = model.system
    with torch.no_grad():
        if windows.x is not None:
            predicted = model.rollout(windows.x0(model), windows.u, windows.d)
            truth, against, signals = windows.x, "x", system.states
            predicted = predicted[..., : truth.shape[-1]]
            logged = np.concatenate([t.x for t in data if t.x is not None])
        else:
            predicted, truth = outputs(model, windows), windows.y
            against, signals = "y", system.outputs
            logged = np.concatenate([t.y for t in data])
    differ = model.state_difference if against == "x" else model.output_difference
    with torch.no_grad():
        error = differ(predicted, truth)[:, 1:].cpu().numpy()
    span = np.ptp(deviations(signals, logged), axis=0)
    return Evaluation(
        rmse=_root_mean_square(error),
        scale=np.where(span > 0, span, 1.0),
        names=tuple(s.name for s in tangent.signals(signals)),
        against=against,
        windows=len(windows),
    )


def _root_mean_square(error: np.ndarray) -> np.ndarray:
    """Over the windows; infinite where a rollout has left the range of numbers."""
    size = np.abs(np.nan_to_num(error, nan=np.inf)).max(axis=0)
    unit = np.where((size > 0) & np.isfinite(size), size, 1.0)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = np.sqrt(np.mean((error / unit) ** 2, axis=0))
    return np.where(np.isfinite(size), unit * mean, np.inf)
