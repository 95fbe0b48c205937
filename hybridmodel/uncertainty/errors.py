"""Errors of predictions beside their intervals, over all windows of logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hybridmodel.batches import batch
from hybridmodel.data import Dataset
from hybridmodel.model import HybridModel
from hybridmodel.uncertainty.prediction import Prediction

CHUNK = 200_000  # numbers of state drawn at a time: N windows, S particles, nx


@dataclass(frozen=True)
class Errors:
    """N windows of H steps.

    error  (N, H, rows) measured y ⊟ predicted mean
    std    (N, H, rows), recalibrated where the prediction is
    inside (levels, N, H, rows) whether y lies in the interval of each level
    width  (N, H, rows) of the interval of the first level
    log    (N,) which log a window is from
    """

    error: Tensor
    std: Tensor
    inside: Tensor
    width: Tensor
    log: Tensor


def errors(
    model: HybridModel,
    data: Dataset,
    predict: Callable[[Tensor, Tensor, Tensor, int], Prediction],
    *,
    horizon: int,
    stride: int,
    levels: Sequence[float],
    paths: int,
) -> Errors:
    """Predict every window from its measured start, a chunk at a time.

    predict  (x0, u, d, number of the chunk) ↦ distribution of the measured outputs
    paths    how many states a prediction holds for each window: the fewer, the longer the chunks
    """
    windows = batch(model, data, horizon, stride=stride)
    size = max(1, CHUNK // (paths * model.nx))
    found: list[list[Tensor]] = []
    with torch.no_grad():
        for number, index in enumerate(_pieces(len(windows), size)):
            part = windows.at(index)
            prediction = predict(part.x0(model), part.u, part.d, number)
            error = model.output_difference(part.y, prediction.mean)[:, 1:]
            inside = []
            for level in levels:
                low, high = (v[:, 1:] for v in prediction.offsets(level))
                inside.append((error >= low) & (error <= high))
                if len(inside) == 1:
                    width = high - low
            found.append([error, prediction.std[:, 1:], torch.stack(inside, 1), width])  # type: ignore
    error, std, inside, width = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Errors(error, std, inside.movedim(1, 0), width, windows.log)


def _pieces(count: int, size: int) -> Iterator[Tensor]:
    yield from torch.arange(count).split(size)
