"""Bayesian linear regression with the prior and the noise of largest evidence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = 1e-12  # σᵢ² in units of y²: data without noise would have none
_SPAN = (-16.0, 6.0)  # decades of λ that are searched, relative to the largest |ΨᵀΨ|


@dataclass(frozen=True)
class Posterior:
    """Of weights w (nr, n): mean, S (n, n) with covariance σᵢ² S Sᵀ, σ² (nr,), and λ."""

    mean: Tensor
    factor: Tensor
    variance: Tensor
    precision: float


def largest_evidence(
    psi: Tensor, y: Tensor, precision: float | None, variance: Tensor | None
) -> Posterior:
    """Of y = ψ wᵀ + ε with wᵢ ~ 𝒩(0, σᵢ²/λ I) and εᵢ ~ 𝒩(0, σᵢ²), λ and σ² where not given.

    psi (N, n), y (N, nr). With ψ = Q D Vᵀ, singular values d, b = Qᵀy and the energy that is left

        Eᵢ(λ) = min over w of ‖yᵢ − ψw‖² + λ‖w‖² = ‖yᵢ − QQᵀyᵢ‖² + Σⱼ bⱼᵢ² λ/(dⱼ² + λ)

    the evidence is largest (type II likelihood; Bishop 2006, section 3.5.1 with β = 1/σᵢ² and
    α = λ/σᵢ²) at σᵢ² = Eᵢ/N and the λ that minimises, by search over its logarithm,

        ½ Σᵢ N log Eᵢ(λ) + ½ nr Σⱼ log(1 + dⱼ²/λ),      Eᵢ/σᵢ² for N log Eᵢ where σ² is given.
    """
    samples, n = psi.shape
    q, triangle = torch.linalg.qr(psi)
    u, d, vt = torch.linalg.svd(triangle, full_matrices=True)
    b = u.mT @ (q.mT @ y)  # (k, nr)
    outside = (y - q @ (q.mT @ y)).square().sum(0)  # (nr,)
    squares = d.square()

    def energy(rates: Tensor) -> Tensor:
        kept = rates[:, None] / (squares + rates[:, None])  # (G, k)
        return outside + kept @ b.square()  # (G, nr)

    def surprise(rates: Tensor) -> Tensor:
        left = energy(rates)
        if variance is None:
            fit = samples * (left / samples).clamp(min=LEAST).log().sum(-1)
        else:
            fit = (left / variance).sum(-1)
        return fit + y.shape[1] * torch.log1p(squares / rates[:, None]).sum(-1)

    if precision is None:
        size = float(squares.max().clamp(min=torch.finfo(psi.dtype).tiny ** 0.5))
        low, high = _SPAN
        for _ in range(4):  # each search is ten times finer than the one before
            decades = torch.linspace(low, high, 45, dtype=psi.dtype, device=psi.device)
            best, step = float(decades[surprise(size * 10**decades).argmin()]), (high - low) / 44
            low, high = max(_SPAN[0], best - 2 * step), min(_SPAN[1], best + 2 * step)
        precision = size * 10 ** ((low + high) / 2)
    rate = psi.new_full((1,), precision)
    if variance is None:
        variance = (energy(rate)[0] / samples).clamp(min=LEAST)
    gains = psi.new_zeros(n)
    gains[: len(d)] = squares
    mean = (d / (squares + rate))[:, None] * b  # (k, nr)
    factor = vt.mT * (gains + rate).rsqrt()
    return Posterior((vt.mT[:, : len(d)] @ mean).mT, factor, variance, precision)
