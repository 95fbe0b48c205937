"""Logs that are fitted to: their windows, disjoint parts of them, and what each fit leaves out.

A part is a log, some logs, a block where there are few logs, or a value of a context that differs
(gain, payload). One record run from its beginning is judged onward in time instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from benchmarks.hardware.free_runs import Runs, runs
from benchmarks.hardware.measured import MeasuredSet
from hybridmodel import Dataset, HybridModel, Trajectory

FOLDS = 4
SAMPLES = 14_000  # samples that free runs are fitted to


def pieces(measured: MeasuredSet) -> Dataset:
    """The fitting logs; fewer than three are cut into `FOLDS` blocks."""
    logs = (*measured.train, *measured.validation)
    if measured.whole and len(measured.train) == 1:
        return measured.train
    if measured.whole or len(logs) >= 3:
        return Dataset(logs)
    total = sum(log.steps for log in logs)
    cut: list[Trajectory] = []
    for log in logs:
        parts = max(1, round(FOLDS * log.steps / total))
        edges = np.linspace(0, log.steps, parts + 1).round().astype(int)
        cut += [log[a:b] for a, b in itertools.pairwise(edges)]
    return Dataset(cut)


def divided(logs: Dataset, found: Runs, log: np.ndarray) -> list[np.ndarray]:
    """Weights (N, H) of disjoint parts: by a context that differs, by log, or by block.

    Of one record run from its beginning the first part is its first half.
    """
    shape = found.weight.shape
    if len(logs) == 1:
        block = np.maximum(np.arange(shape[1]) * 2 * FOLDS // shape[1] - FOLDS + 1, 0)
        return [np.broadcast_to(block == k, shape).astype(float) for k in range(FOLDS + 1)]
    label = np.arange(len(logs)) % (len(logs) if len(logs) <= 2 * FOLDS else FOLDS)
    for name in logs[0].context:
        values = sorted({one.context[name] for one in logs})
        if 1 < len(values) < len(logs):
            label = np.array([values.index(one.context[name]) for one in logs])
            break
    return [
        np.broadcast_to((label[log] == k)[:, None], shape).astype(float)
        for k in range(label.max() + 1)
    ]


def folds(parts: Sequence[np.ndarray], *, onward: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (N, H) of what is fitted and of what is left out; onward, all parts before it.

    A free run goes on from where its record ends, and what it meets once in a record (a vessel
    that spills) would be left out of the fit for good if a part in the middle were.
    """
    if onward:
        return [(np.sum(parts[:k], 0), parts[k]) for k in range(1, len(parts))]
    return [(1 - part, part) for part in parts]


def prepared(
    measured: MeasuredSet, model: HybridModel, samples: int = SAMPLES
) -> tuple[Dataset, Runs, np.ndarray]:
    """Logs, windows of the protocol's horizon, and the log that each is from."""
    logs = pieces(measured)
    past = model.memory_steps
    horizon = min(measured.horizon, min(log.steps for log in logs) - past)
    if measured.whole:
        horizon = min(log.steps for log in logs) - past
    usable = sum(log.steps - past - horizon + 1 for log in logs)
    stride = max(1, round(usable * horizon / samples))
    if measured.whole:
        stride = max(log.steps for log in logs)
    return logs, *runs(model, logs, horizon, stride, measured.initial)


def typical(errors: Sequence[float] | np.ndarray) -> float:
    """Geometric mean: a part that all miss must not outvote the others."""
    return float(np.exp(np.mean(np.log(np.maximum(errors, 1e-12)))))
