"""Free runs of every member with their linearisation, in the tangent space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hybridmodel.density import gain
from hybridmodel.model import HybridModel
from hybridmodel.uncertainty.manifold import difference, mean_of, moved, tangent_size
from residuals import Probabilistic


@dataclass(frozen=True)
class Path:
    """Rollouts x (E, …, H+1, nx) and what small errors do along them.

    slopes     A_k = ∂F(x ⊞ ξ)/∂ξ, H of (E, …, n, n), n tangent rows and memory
    aleatoric  G Σ_r Gᵀ, H of (E, …, n, n), of the residual's σ_r
    epistemic  likewise of want of data, 0 where there are members that show it themselves
    """

    model: HybridModel
    x: Tensor
    slopes: list[Tensor]
    aleatoric: list[Tensor]
    epistemic: list[Tensor]

    def mean(self) -> Tensor:
        """(…, H+1, continuous states) over members."""
        return mean_of(self.model, self.x)

    def apart(self) -> Tensor:
        """x_e ⊟ mean (E, …, H+1, tangent rows)."""
        return spread_of(self.model, self.x)


def member_count(model: HybridModel) -> int:
    """E of an ensemble, 1 of any other residual."""
    return model.residual.count if isinstance(model.residual, Probabilistic) else 1


def spread_of(model: HybridModel, x: Tensor) -> Tensor:
    """x_e ⊟ mean (E, …, H+1, tangent rows) of members' rollouts (E, …, H+1, nx)."""
    flow = x[..., : len(model.system.states)]
    return model.state_difference(flow, mean_of(model, x).expand_as(flow))


def members_path(model: HybridModel, x0: Tensor, u: Tensor, d: Tensor | None) -> Path:
    """The path of each member of an ensemble, of any other residual one path with E = 1."""
    p = model.physical()
    count = member_count(model)
    network = model.network("each") if count > 1 else model.residual
    size = tangent_size(model)
    batch = torch.broadcast_shapes(x0.shape[:-1], u.shape[:-2])
    states = [x0.expand(count, *batch, model.nx)]
    slopes, aleatoric, epistemic = [], [], []
    for k in range(u.shape[-2]):
        x, uk = states[-1], u[..., k, :]
        dk = x[..., :0] if d is None else d[..., k, :].expand(*x.shape[:-1], d.shape[-1])

        def ahead(x: Tensor, uk: Tensor = uk, dk: Tensor = dk) -> Tensor:
            here = dk if x.dim() == dk.dim() else dk[:, None]
            return model.step_with(network, model.scheme, x, uk, p, here)

        after = ahead(x)
        slopes.append(_slope(model, ahead, x, after, size))
        for parts, variance in zip(
            (aleatoric, epistemic), _variances(model, x, uk, dk), strict=True
        ):
            parts.append(_driven(model, x, uk, dk, p, variance, size))
        states.append(after)
    return Path(model, torch.stack(states, -2), slopes, aleatoric, epistemic)


def _variances(
    model: HybridModel, x: Tensor, u: Tensor, d: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Aleatoric and, where there are no members to show it, epistemic variance of r (E, …, nr)."""
    residual = model.residual
    if not isinstance(residual, Probabilistic):
        return None, None
    z = model.residual_features(x, u, d)
    aleatoric = residual.distribution(z)[1].exp()
    return aleatoric, residual.epistemic(z) if residual.count == 1 else None


def _driven(
    model: HybridModel,
    x: Tensor,
    u: Tensor,
    d: Tensor,
    p: Tensor,
    variance: Tensor | None,
    size: int,
) -> Tensor:
    """G Σ_r Gᵀ (E, …, size, size), with r held over the step at its mean."""
    full = x.new_zeros(*x.shape[:-1], size, size)
    residual = model.residual
    if variance is None or not isinstance(residual, Probabilistic):
        return full
    r = residual.members(model.residual_features(x, u, d))
    G = gain(model, x, u, d, p, r)
    rows = len(model.noise)
    full[..., :rows, :rows] = G @ (variance[..., None] * G.mT)
    return full


def _slope(model: HybridModel, ahead, x: Tensor, after: Tensor, size: int) -> Tensor:
    """∂(F(x ⊞ ξ) ⊟ F(x))/∂ξ at 0, (E, …, size, size), all directions in one batch."""
    none = x.new_zeros(len(x), size, *x.shape[1:-1], size)
    unit = torch.eye(size, dtype=x.dtype, device=x.device)
    unit = unit.reshape(1, size, *(1,) * (x.dim() - 2), size).expand_as(none).contiguous()
    here, there = (v[:, None].expand(*none.shape[:-1], v.shape[-1]) for v in (x, after))
    columns = torch.func.jvp(
        lambda xi: difference(model, ahead(moved(model, here, xi)), there), (none,), (unit,)
    )[1]
    return columns.movedim(1, -1)
