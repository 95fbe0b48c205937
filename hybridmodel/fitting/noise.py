"""R, the variance of what one step leaves unexplained."""

from __future__ import annotations

import torch
from torch import Tensor

from hybridmodel.batches import batch
from hybridmodel.data import Dataset
from hybridmodel.density import transition
from hybridmodel.model import HybridModel

LEAST = 1e-12  # of a state's mean square: R stays positive where a model is exact


def one_step_noise(model: HybridModel, data: Dataset) -> Tensor:
    """R (tangent rows), the mean square of one-step errors less what Σ_r explains of it.

    Not less than a tenth of the mean square, and 1e-12 of the state's own. Where states are
    neither measured nor logged there are no one-step errors, and R is that least value.
    """
    windows = batch(model, data, 1, start="guessed")
    measured = model.system.outputs == model.system.states
    truth = windows.y if measured else windows.x
    with torch.no_grad():
        floor = torch.zeros_like(model.noise)
        x, u, d = windows.x0(model), windows.u[:, 0], windows.d[:, 0]
        mean, covariance = transition(model, x, u, d, noise=floor)
        none = torch.zeros_like(mean)
        for row in model.system.quaternion_rows:
            none[:, row] = 1.0
        floor = LEAST * model.state_difference(mean, none).square().mean(0).clamp(min=LEAST)
        if truth is None:
            return floor
        error = model.state_difference(truth[:, 1], mean).square().mean(0)
        explained = covariance.diagonal(dim1=-2, dim2=-1).mean(0)
        return torch.maximum(torch.maximum(error - explained, 0.1 * error), floor)
