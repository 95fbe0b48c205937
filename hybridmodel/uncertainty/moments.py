"""Moment propagation: each member's path with its covariance, as an extended Kalman filter's.

    Σ_{k+1} = A Σ_k Aᵀ + α G Σ_r Gᵀ + Q          along the member's own path
    mean = Σ_e x_e / E,   Σ = Σ_e Σ_e / E + Σ_e (x_e ⊟ mean)(x_e ⊟ mean)ᵀ / (E − 1)

Exact for linear systems with Gaussian noise; elsewhere good while an interval is small against
what curves F. Without members the epistemic variance of the residual enters in every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hybridmodel.model import HybridModel
from hybridmodel.uncertainty.linearised import Path, members_path


def moments(
    model: HybridModel,
    x0: Tensor,
    u: Tensor,
    d: Tensor | None,
    *,
    start: Tensor | None,
    process: Tensor,
    share: float,
) -> tuple[Path, Tensor]:
    """The members' paths and covariances Σ_e (E, …, H+1, n, n) with memory.

    start  covariance of x0 (…, n, n); process Q (tangent rows); share α of σ_r²
    """
    path = members_path(model, x0, u, d)
    size = path.slopes[0].shape[-1] if path.slopes else len(process)
    added = process.new_zeros(size)
    added[: len(process)] = process
    shape = path.x.shape[:-2]
    covariance = added.new_zeros(*shape, size, size)
    if start is not None:
        covariance = start.expand(*shape, size, size)
    found = [covariance]
    for A, noise, doubt in zip(path.slopes, path.aleatoric, path.epistemic, strict=True):
        covariance = A @ covariance @ A.mT + share * noise + doubt + torch.diag_embed(added)
        found.append((covariance + covariance.mT) / 2)
    return path, torch.stack(found, -3)
