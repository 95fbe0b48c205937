"""Free runs of every member with their linearisation, in the tangent space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hybridmodel.density import gain
from hybridmodel.model import HybridModel
from hybridmodel.uncertainty.manifold import difference, mean_of, moved, tangent_size
from residuals import Probabilistic, SupportedProbabilistic


@dataclass(frozen=True)
class Path:
    """Rollouts x (E, …, H+1, nx) and what small errors do along them.

    slopes     A_k = ∂F(x ⊞ ξ)/∂ξ, H of (E, …, n, n), n tangent rows and memory
    aleatoric  G Σ_r Gᵀ, H of (E, …, n, n), of the residual's σ_r
    epistemic  likewise of want of data, 0 where there are members that show it themselves
    doubt      B_{k+1} = A_k B_k + G √U, B_0 = 0, H of (E, …, n, nr): what a standard normal η does
               that moves r by √U η along the whole path, U = (1 − w) s² outside a support, which
               members do not show; nr = 0 where nothing fades
    """

    model: HybridModel
    x: Tensor
    slopes: list[Tensor]
    aleatoric: list[Tensor]
    epistemic: list[Tensor]
    doubt: list[Tensor]

    def mean(self) -> Tensor:
        """(…, H+1, continuous states) over members."""
        return mean_of(self.model, self.x)

    def apart(self) -> Tensor:
        """x_e ⊟ mean (E, …, H+1, tangent rows)."""
        return spread_of(self.model, self.x)

    def doubted(self) -> list[Tensor]:
        """B Bᵀ, H of (E, …, n, n)."""
        return [B @ B.mT for B in self.doubt]


def unknown(residual: object, z: Tensor) -> Tensor:
    """√U (…, nr) of what has faded, U = (1 − w) s²; (…, 0) of a residual that does not fade."""
    if not isinstance(residual, SupportedProbabilistic):
        return z[..., :0]
    return root(residual.unknown(z))


def root(variance: Tensor) -> Tensor:
    """√v with slope 0 at 0, where that of √ is infinite."""
    return torch.where(variance > 0, variance, 1.0).sqrt() * (variance > 0)


def member_count(model: HybridModel) -> int:
    """E of an ensemble, 1 of any other residual."""
    return model.residual.count if isinstance(model.residual, Probabilistic) else 1


def spread_of(model: HybridModel, x: Tensor) -> Tensor:
    """x_e ⊟ mean (E, …, H+1, tangent rows) of members' rollouts (E, …, H+1, nx)."""
    flow = x[..., : len(model.system.states)]
    return model.state_difference(flow, mean_of(model, x).expand_as(flow))


def members_path(model: HybridModel, x0: Tensor, u: Tensor, d: Tensor | None) -> Path:
    """The path of each member of an ensemble, of any other residual one path with E = 1."""
    p, count = model.physical(), member_count(model)
    network = model.network("each") if count > 1 else model.residual
    size = tangent_size(model)
    x = model.rollout(x0, u, d, member="each") if count > 1 else model.rollout(x0, u, d)[None]
    before, after = x[..., :-1, :], x[..., 1:, :]
    known = before[..., :0] if d is None else d.expand(*before.shape[:-1], d.shape[-1])

    def ahead(x: Tensor) -> Tensor:
        here = known if x.dim() == known.dim() else known[:, None]
        return model.step_with(network, model.scheme, x, u, p, here)

    slopes = _slope(model, ahead, before, after, size)  # of all steps at once
    aleatoric, epistemic, moving = _driven(model, before, u, known, p, size)
    doubt = []
    for A, B in zip(slopes.unbind(-3), moving.unbind(-3), strict=True):
        doubt.append(A @ doubt[-1] + B if doubt else B)
    slopes, aleatoric, epistemic = (list(v.unbind(-3)) for v in (slopes, aleatoric, epistemic))
    return Path(model, x, slopes, aleatoric, epistemic, doubt)


def _driven(
    model: HybridModel, x: Tensor, u: Tensor, d: Tensor, p: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """G Σ_r Gᵀ (E, …, size, size), aleatoric and, where there are no members to show it,
    epistemic; and G √U (E, …, size, nr). r is held over the step at its mean."""
    none = x.new_zeros(*x.shape[:-1], size, size)
    residual, rows = model.residual, len(model.noise)
    if not isinstance(residual, Probabilistic):
        return none, none, none[..., :0]
    z = model.residual_features(x, u, d)
    r, log_variance = residual.distribution(z)
    G = gain(model, x, u, d, p, r)

    def driven(variance: Tensor) -> Tensor:
        full = none.clone()
        full[..., :rows, :rows] = G @ (variance[..., None] * G.mT)
        return full

    deviation = unknown(residual, z)
    moving = none.new_zeros(*none.shape[:-1], deviation.shape[-1])
    if deviation.shape[-1]:
        moving[..., :rows, :] = G * deviation[..., None, :]
    epistemic = driven(residual.epistemic(z)) if residual.count == 1 else none
    return driven(log_variance.exp()), epistemic, moving


def _slope(model: HybridModel, ahead, x: Tensor, after: Tensor, size: int) -> Tensor:
    """∂(F(x ⊞ ξ) ⊟ F(x))/∂ξ at 0, (E, …, H, size, size), all directions in one batch."""
    none = x.new_zeros(len(x), size, *x.shape[1:-1], size)
    unit = torch.eye(size, dtype=x.dtype, device=x.device)
    unit = unit.reshape(1, size, *(1,) * (x.dim() - 2), size).expand_as(none).contiguous()
    here, there = (v[:, None].expand(*none.shape[:-1], v.shape[-1]) for v in (x, after))
    columns = torch.func.jvp(
        lambda xi: difference(model, ahead(moved(model, here, xi)), there), (none,), (unit,)
    )[1]
    return columns.movedim(1, -1)
