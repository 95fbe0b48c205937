"""The distribution of the next state.

    x⁺ ~ F(x, u) ⊞ N(0, Σ),    Σ = G Σ_r Gᵀ + R,    G = ∂F/∂r

Σ_r is what the residual says of its own error, R > 0 (`model.noise`) what a step leaves besides:
a residual in some rows of ẋ alone would give a singular density, since it never moves the others.
R is the mean square of the one-step errors on validation logs less what G Σ_r Gᵀ explains of it
(`fit` does that; with loss="likelihood" it is what the likelihood of the training logs wants), so
that it holds process and measurement noise together; or it is given: `model.noise.copy_(R)`.
Densities are over continuous states, in the tangent space at F(x, u).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from hybridmodel.model import HybridModel, Member
from residuals import Probabilistic


def transition(
    model: HybridModel,
    x: Tensor,
    u: Tensor,
    d: Tensor | None = None,
    *,
    p: Tensor | None = None,
    member: Member = "mean",
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean (…, n) and covariance Σ (…, tangent rows, tangent rows) of the next continuous state.

    member "mean" is the whole ensemble, aleatoric and epistemic variance together; a number or
    "each" is a member alone, with what is aleatoric.
    """
    noise = _known(model) if noise is None else noise
    n = len(model.system.states)
    d = x[..., :0] if d is None else d
    p = model.physical() if p is None else p
    residual = model.residual
    if residual is None or not isinstance(residual, Probabilistic) or model.scheme.enters is None:
        mean = model(x, u, d, p=p, member=member)[..., :n]
        return mean, torch.diag_embed(noise.expand(*mean.shape[:-1], -1))
    z = model.residual_features(x, u, d)
    if member == "mean":
        means, logs = residual.distribution(z[None])
        r = means.mean(0)
        variance = logs.exp().mean(0) + residual.epistemic(z)
    elif member == "each":
        r, logs = residual.distribution(z)
        variance = logs.exp()
    else:
        r, logs = (v[member] for v in residual.distribution(z[None]))
        variance = logs.exp()
    # centred where F is, with r in every stage; only its slope takes r as held over the step
    mean = model(x, u, d, p=p, member=member)[..., :n]
    G = gain(model, x, u, d, p, r)
    return mean, G @ (variance[..., None] * G.mT) + torch.diag_embed(
        noise.expand(*mean.shape[:-1], -1)
    )


def log_density(error: Tensor, covariance: Tensor) -> Tensor:
    """log N(error; 0, covariance) (…)."""
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, error[..., None], upper=False)[..., 0]
    log_det = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (white.square().sum(-1) + log_det + error.shape[-1] * math.log(2 * math.pi))


def log_prob(
    model: HybridModel,
    x: Tensor,
    u: Tensor,
    x_next: Tensor,
    d: Tensor | None = None,
    *,
    member: Member = "mean",
) -> Tensor:
    """log density (…) of the next continuous state x_next (…, n)."""
    mean, covariance = transition(model, x, u, d, member=member)
    n = len(model.system.states)
    return log_density(model.state_difference(x_next[..., :n], mean), covariance)


def sample(
    model: HybridModel,
    x: Tensor,
    u: Tensor,
    d: Tensor | None = None,
    *,
    generator: torch.Generator,
    member: Member = "mean",
) -> Tensor:
    """A next state (…, nx), memory advanced as F does it."""
    mean, covariance = transition(model, x, u, d, member=member)
    root = torch.linalg.cholesky(covariance)
    white = torch.randn(root.shape[:-1], generator=generator, dtype=root.dtype)
    moved = model.state_retract(mean, (root @ white[..., None])[..., 0])
    memory = model(x, u, d, member=member)[..., mean.shape[-1] :]
    return torch.cat([moved, memory], -1)


def _known(model: HybridModel) -> Tensor:
    if not bool((model.noise > 0).all()):
        raise ValueError(
            "model.noise, the variance R of one step, is not known: without it the density is "
            "singular; `fit` estimates it, or set it: model.noise.copy_(…)"
        )
    return model.noise


def gain(model: HybridModel, x: Tensor, u: Tensor, d: Tensor, p: Tensor, r: Tensor) -> Tensor:
    """G (…, tangent rows, nr) = ∂F/∂r, with r held over the step."""
    n, held = len(model.system.states), replace(model.scheme, hold=True)
    if model.scheme.enters == "output":  # sensors do not move the state
        return r.new_zeros(*r.shape[:-1], len(model.noise), r.shape[-1])

    def ahead(r: Tensor) -> Tensor:
        return model.step_with(model.constant(r), held, x, u, p, d)[..., :n]

    anchor = ahead(r).detach()
    columns = [
        torch.func.jvp(
            lambda r: model.state_difference(ahead(r), anchor),
            (r,),
            (unit.expand_as(r).contiguous(),),
        )[1]
        for unit in torch.eye(r.shape[-1], dtype=r.dtype, device=r.device)
    ]
    return torch.stack(columns, -1)
