"""What fitting minimises: the misfit of rollouts with the logs, and the price of the residual.

MSE         mean e²,   e = (ŷ ⊟ y)/s (…, N, H, tangent rows) from the first step on
likelihood  ℓ = −log N(x₁ ⊟ F(x₀, u₀); 0, G Σ_r Gᵀ + R), rows in units of s: its mean over
            windows and rows where H = 1, and mean e² + 0.1 ℓ where H > 1
price       λ mean r_θ(z)²: physics explains what it can, r the rest
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hybridmodel.batches import Batch, observed, outputs
from hybridmodel.data import Dataset
from hybridmodel.density import log_density, transition
from hybridmodel.deviation import deviations
from hybridmodel.model import HybridModel

LIKELIHOOD = 0.1  # share of the first step's likelihood beside the errors of all steps


def output_scale(model: HybridModel, data: Dataset) -> Tensor:
    """s, the deviations of the outputs over the data."""
    logged = np.concatenate([t.y for t in data])
    spread = np.std(deviations(model.system.outputs, logged), axis=0)
    return torch.as_tensor(np.where(spread > 1e-9, spread, 1.0)).to(model.theta)


def misfit(model: HybridModel, windows: Batch, scale: Tensor, p: Tensor | None = None) -> Tensor:
    """e (…, N, H, tangent rows)."""
    predicted = outputs(model, windows, p)
    return model.output_difference(predicted, windows.y)[..., 1:, :] / scale


def validation_error(
    model: HybridModel, windows: Batch, scale: Tensor, p: Tensor | None = None
) -> float:
    """The root mean square of e, infinite where a rollout leaves the range of numbers."""
    model.eval()
    with torch.no_grad():
        error = misfit(model, windows, scale, p).square().mean().sqrt()
    return float(torch.nan_to_num(error, nan=torch.inf))


def training_loss(
    model: HybridModel,
    windows: Batch,
    scale: Tensor,
    *,
    p: Tensor,
    penalty: float,
    log_noise: Tensor | None = None,
) -> Tensor:
    """The loss of windows (N), or of (E, N) windows where each member has its own.

    log_noise   log R (tangent rows) adds the likelihood of the first step
    """
    members = windows.u.ndim == 4
    residual = model.residual
    network = model.network("each") if members else residual
    x0 = windows.x0(model)
    which = "each" if members else "mean"
    x = model.rollout_from(x0, windows.u, windows.d, p=p, member=which, again=True)
    e = model.output_difference(observed(model, windows, x, p), windows.y)[..., 1:, :] / scale
    loss = e.square().mean()
    if residual is None:
        return loss
    u, d = windows.u[..., 0, :], windows.d[..., 0, :]
    if log_noise is not None:
        mean, covariance = transition(model, x0, u, d, p=p, member=which, noise=log_noise.exp())
        error = model.state_difference(windows.y[..., 1, :], mean)
        # in units of s, so that its share of the loss does not depend on units
        likelihood = -(log_density(error, covariance) + scale.log().sum()).mean()
        one = e.shape[-2] == 1
        loss = likelihood / error.shape[-1] if one else loss + LIKELIHOOD * likelihood
    if penalty:
        z = model.residual_features(x0, u, d)
        r = residual(z, x0[..., -model.nm :])[0] if model.nm else network(z)  # type: ignore[misc]
        loss = loss + penalty * r.square().mean()
    return loss
