"""An error of their own for contacts and other rare events.

    E = (mean of e_w² over the windows with an event)^½,  likewise without,   ratio E₁ / E₀

e_w the error of a window, rms over its steps and scaled signals. In an average over all windows an
event that fills one in a hundred of them is not seen, though plans may hinge on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from hybridmodel.batches import batch, outputs
from hybridmodel.data import Dataset
from hybridmodel.deviation import deviations
from hybridmodel.model import HybridModel

Event = Callable[[np.ndarray, np.ndarray], np.ndarray] | Sequence[np.ndarray]


@dataclass(frozen=True)
class Share:
    """The windows of one kind: their root mean square error [of range], with an interval.

    logs counts those with such windows; of fewer than two the interval is infinite.
    """

    rmse: float
    interval: tuple[float, float]
    windows: int
    logs: int


@dataclass(frozen=True)
class EventErrors:
    """Free-run error of windows that contain an event, and of those that do not.

    event, quiet   both kinds
    ratio          E₁ / E₀ with its interval
    horizon        steps of a window
    steps          how many steps of all logs are events, of how many
    against        "x" the true state, "y" the measured output
    level          of the intervals: bootstrap over whole logs
    """

    event: Share
    quiet: Share
    ratio: float
    ratio_interval: tuple[float, float]
    horizon: int
    steps: tuple[int, int]
    against: Literal["x", "y"]
    level: float


def event_errors(
    model: HybridModel,
    data: Dataset,
    event: Event,
    *,
    horizon: int = 10,
    stride: int = 1,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> EventErrors:
    """Split the windows of `data` by whether one of their steps is an event.

    event      (x (T, n), u (T, nu)) ↦ (T,) bool for the steps of a log, from x where logs hold it
               and from y elsewhere; or a mask (T,) for each log. Step k leads from xₖ to xₖ₊₁: a
               contact that is over before the next sample shows in a mask alone
    resamples  of the bootstrap, which draws whole logs, since windows of one log overlap

    Raises ValueError naming the argument, and where there is no window of one of the two kinds.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    masks = _masks(data, event)
    errors, logs, begins, against = _window_errors(model, data, horizon, stride)
    inside = np.array(
        [masks[i][k : k + horizon].any() for i, k in zip(logs, begins, strict=True)], dtype=bool
    )
    if inside.all() or not inside.any():
        kind = "with" if not inside.any() else "without"
        raise ValueError(f"event: of {len(inside)} windows of {horizon} steps none is {kind} one")
    # squared errors and counts of each log, by kind: all that a resample of logs needs
    sums = np.zeros((2, len(data)))
    counts = np.zeros((2, len(data)))
    for kind, chosen in enumerate((~inside, inside)):
        np.add.at(sums[kind], logs[chosen], errors[chosen] ** 2)
        np.add.at(counts[kind], logs[chosen], 1)
    drawn = np.random.default_rng(seed).integers(len(data), size=(resamples, len(data)))
    with np.errstate(invalid="ignore", divide="ignore"):
        again = np.sqrt(sums[:, drawn].sum(-1) / counts[:, drawn].sum(-1))
        ratios = again[1] / again[0]
        rmse = np.sqrt(sums.sum(1) / counts.sum(1))
        ratio = rmse[1] / rmse[0]
    shares = [
        Share(
            rmse=float(rmse[kind]),
            interval=_interval(again[kind], counts[kind], level),
            windows=int(counts[kind].sum()),
            logs=int((counts[kind] > 0).sum()),
        )
        for kind in (0, 1)
    ]
    fewest = counts[0] if shares[0].logs < shares[1].logs else counts[1]
    return EventErrors(
        event=shares[1],
        quiet=shares[0],
        ratio=float(ratio),
        ratio_interval=_interval(ratios, fewest, level),
        horizon=horizon,
        steps=(int(sum(mask.sum() for mask in masks)), data.steps),
        against=against,
        level=level,
    )


def _masks(data: Dataset, event: Event) -> list[np.ndarray]:
    """(T,) bool of each log."""
    if callable(event):
        found = [event((log.y if log.x is None else log.x)[:-1], log.u) for log in data]
    else:
        found = list(event)
        if len(found) != len(data):
            raise ValueError(f"event must have a mask for each of {len(data)} logs: {len(found)}")
    masks = [np.asarray(mask) for mask in found]
    for i, (mask, log) in enumerate(zip(masks, data, strict=True)):
        if mask.shape != (log.steps,) or mask.dtype != bool:
            raise ValueError(
                f"event must give {log.steps} bools, one a step, for log {i}; got shape "
                f"{mask.shape} of {mask.dtype}"
            )
    return masks


def _window_errors(
    model: HybridModel, data: Dataset, horizon: int, stride: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Literal["x", "y"]]:
    """e_w (N,), which log (N,) and which step (N,) each window begins at, against what."""
    windows = batch(model, data, horizon, stride=stride, start="true")
    system = model.system
    begins = data.windows(horizon, stride=stride, history=model.memory_steps).start
    with torch.no_grad():
        if windows.x is not None:
            predicted = model.rollout(windows.x0(model), windows.u, windows.d)
            predicted = predicted[..., : windows.x.shape[-1]]
            error = model.state_difference(predicted, windows.x)
            logged = np.concatenate([log.x for log in data if log.x is not None])
            signals, against = system.states, "x"
        else:
            error = model.output_difference(outputs(model, windows), windows.y)
            logged = np.concatenate([log.y for log in data])
            signals, against = system.outputs, "y"
    span = np.ptp(deviations(signals, logged), axis=0)
    scaled = error[:, 1:].cpu().numpy() / np.where(span > 0, span, 1.0)
    return np.sqrt(np.mean(scaled**2, axis=(1, 2))), windows.log.cpu().numpy(), begins, against


def _interval(drawn: np.ndarray, counts: np.ndarray, level: float) -> tuple[float, float]:
    """Quantiles of what was drawn, without draws that had no such window."""
    if (counts > 0).sum() < 2:
        return 0.0, float("inf")
    known = drawn[~np.isnan(drawn)]  # a ratio to no error at all is infinite, and may be drawn
    ends = (1 - level) / 2, (1 + level) / 2
    low, high = np.quantile(known, ends, method="inverted_cdf")
    return float(low), float(high)
