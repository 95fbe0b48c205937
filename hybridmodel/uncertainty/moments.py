"""Moment propagation: each member's path with its covariance, as an extended Kalman filter's.

    Σ_{k+1} = A Σ_k Aᵀ + α G Σ_r Gᵀ + Q          along the member's own path
    mean = Σ_e x_e / E,   Σ = Σ_e (Σ_e + D_e) / E + Σ_e (x_e ⊟ mean)(x_e ⊟ mean)ᵀ / (E − 1)

D_e = B Bᵀ of members that have faded (`Path.doubt`): one unknown r held along the path, so that
errors grow with k. Without members the epistemic variance of the residual is D, new in every step:

    D_{k+1} = A D_k Aᵀ + G Σ_epistemic Gᵀ

Exact for linear systems with Gaussian noise; elsewhere good while an interval is small against
what curves F.
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
) -> tuple[Path, Tensor, Tensor]:
    """The members' paths, covariances Σ_e and doubts D_e (E, …, H+1, n, n) with memory.

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
    doubt = covariance.new_zeros(covariance.shape)
    found, doubts = [covariance], [doubt]
    held = path.doubted() if shape[0] > 1 else None
    for k, (A, noise, want) in enumerate(
        zip(path.slopes, path.aleatoric, path.epistemic, strict=True)
    ):
        covariance = A @ covariance @ A.mT + share * noise + torch.diag_embed(added)
        doubt = A @ doubt @ A.mT + want if held is None else held[k]
        found.append((covariance + covariance.mT) / 2)
        doubts.append((doubt + doubt.mT) / 2)
    return path, torch.stack(found, -3), torch.stack(doubts, -3)
