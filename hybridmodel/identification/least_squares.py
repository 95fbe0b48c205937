"""Least squares with unknown initial states: windows share ϑ and w, each has its own δ.

    min over (ϑ, w), δ_i of  Σ_i ‖(e_i + S_i dϑ + J_i dw + X_i δ_i) / σ‖² + ‖P (w + dw)‖²

δ_i is eliminated window by window (projection onto the complement of X_i), which leaves one
triangular system for (ϑ, w).
Golub and Pereyra, Separable nonlinear least squares, Inverse Problems 2003, sec. 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hybridmodel.identification.sensitivity import Sensitivities

_RANK = 1e-10  # singular values of X below this share of the largest are unobservable


@dataclass(frozen=True)
class Reduced:
    """The rows that are left after δ is eliminated, in units of the noise.

    rows (N, M, np + nw), error (N, M), basis U (N, M, nδ) of what was eliminated
    """

    rows: Tensor
    error: Tensor
    basis: Tensor
    inverse: Tensor  # X⁺ (N, nδ, M) of the scaled X


def deviations_given(noise: object, channels: int, like: Tensor) -> Tensor:
    """σ (channels,) from one number or one for each tangent output.

    Raises ValueError naming `noise` where it is neither, or not positive and finite.
    """
    sigma = torch.as_tensor(noise).to(like)
    if sigma.shape not in ((), (1,), (channels,)):
        raise ValueError(
            f"noise must be one number or one for each of {channels} outputs, got shape "
            f"{tuple(sigma.shape)}"
        )
    if not ((sigma > 0) & torch.isfinite(sigma)).all():
        raise ValueError(f"noise must be positive and finite, got {noise}")
    return sigma.expand(channels)


def reduce(found: Sensitivities, sigma: Tensor) -> Reduced:
    """Divide by σ (channels,) and project X out of everything."""
    unit = sigma[found.channel]
    rows = torch.cat([found.theta, found.weights], -1) / unit[:, None]
    error = found.error / unit
    X = found.initial / unit[:, None]
    if X.shape[-1] == 0:
        return Reduced(rows, error, X, X.transpose(-1, -2))
    U, s, V = torch.linalg.svd(X, full_matrices=False)
    seen = (s > _RANK * s[:, :1]).to(s)
    U = U * seen[:, None, :]
    inverse = (V.transpose(-1, -2) * (seen / s.clamp(min=1e-300))[:, None, :]) @ U.transpose(-1, -2)
    rows = rows - U @ (U.transpose(-1, -2) @ rows)
    error = error - (U @ (U.transpose(-1, -2) @ error[..., None]))[..., 0]
    return Reduced(rows, error, U, inverse)


def triangular(reduced: Reduced, prior: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """R (n, n) and b (n,) with ‖R δ + b‖² the sum to be minimised, but for a constant.

    prior P (k, nw), value w (nw,).
    """
    A, e = reduced.rows.flatten(0, 1), reduced.error.flatten()
    n, nw = A.shape[-1], prior.shape[-1]
    below = torch.cat([prior.new_zeros(len(prior), n - nw), prior], -1)
    stacked = torch.cat([A, below])
    right = torch.cat([e, prior @ value])
    Q, R = torch.linalg.qr(stacked)
    return R, Q.T @ right


def minimum_norm(R: Tensor, b: Tensor) -> Tensor:
    """The shortest of all δ (n,) with least ‖R δ + b‖.

    Raises ValueError where the numbers are not finite: the rollouts diverged.
    """
    if not (torch.isfinite(R).all() and torch.isfinite(b).all()):
        raise ValueError("horizon: sensitivities of free runs are not finite; give fewer steps")
    return -(torch.linalg.pinv(R, rtol=1e-12) @ b)


def deviation(found: Sensitivities, reduced: Reduced, R: Tensor, step: Tensor, sigma: Tensor):
    """σ (channels,) of what is left after the linear step (n,), degrees of freedom counted."""
    left = reduced.error + reduced.rows @ step
    inverse = torch.linalg.pinv(R, rtol=1e-9)
    leverage = (reduced.rows @ inverse).square().sum(-1) + reduced.basis.square().sum(-1)
    channels = [found.channel == c for c in range(len(sigma))]
    squares = torch.stack([left[:, c].square().sum() for c in channels])
    freedom = torch.stack([(1 - leverage[:, c]).sum() for c in channels])
    return sigma * (squares / freedom.clamp(min=1.0)).sqrt().clamp(min=1e-12)
