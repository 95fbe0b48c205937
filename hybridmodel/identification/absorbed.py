"""Where a trained residual does what a parameter could.

    r(z) ≈ D(x, u) Δϑ,    D = (∂F/∂r)⁺ ∂F/∂ϑ

regressed over the logged states. A residual that is mostly D Δϑ has absorbed a wrong parameter,
which would be known everywhere, into a function that is known only near the data.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybridmodel.data import Dataset
from hybridmodel.identification.one_step import OneStep, Reference, one_step
from hybridmodel.identification.weights import Tangent, Weights
from hybridmodel.model import HybridModel

Array = NDArray[np.float64]

_RIDGE = 1e-10


@dataclass(frozen=True)
class Absorbed:
    """What of the residual one parameter could do.

    share     of the residual's mean square that D_j Δϑ_j alone explains, 0 … 1
    change    Δp in p's units that the share stands for, were it the only parameter
    covered   how much of the parameter's effect the residual can do at all, 0 … 1
    """

    name: str
    unit: str
    value: float
    change: float
    share: float
    covered: float

    def __str__(self) -> str:
        relative = f" ({100 * self.change / self.value:+.3g} %)" if self.value else ""
        return (
            f"{100 * self.share:.0f} % of the residual does what {self.name} could: "
            f"{self.name} {self.value:.5g} → {self.value + self.change:.5g} {self.unit}".rstrip()
            + relative
        )


@dataclass(frozen=True, eq=False)
class Moved:
    """A model with the absorbed part taken from the residual and given to the parameters.

    change    (np,) Δp
    share     of the residual's mean square that moved
    left      root mean square of what the new model predicts otherwise than the old one in a
              single step, as a share of what moved. The residual's class seldom holds D Δϑ exactly;
              where `left` is not small, fit again from here.
    """

    model: HybridModel
    change: Array
    share: float
    left: float


def absorbed(model: HybridModel, data: Dataset, *, threshold: float = 0.1) -> list[Absorbed]:
    """Parameters that could do at least a share `threshold` of the residual, largest first.

    Each is taken alone; shares of parameters with like effects overlap.
    Raises ValueError where the model has no residual, or one with memory.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be within 0 … 1, got {threshold}")
    step, r, D = _scaled(model, data, "data")
    total = float(r.square().sum())
    if total == 0:
        return []
    found = []
    for k, name in enumerate(model.fit_parameters):
        column = D[..., k].flatten()
        power = float(column.square().sum())
        if power < 1e-20:
            continue
        amount = float(column @ r.flatten()) / power
        parameter = model.system.parameters[name]
        change = torch.zeros_like(model.theta)
        change[k] = amount
        found.append(
            Absorbed(
                name=name,
                unit=parameter.unit,
                value=model.parameter_values()[name],
                change=float(_changed(model, change)[k]),
                share=amount**2 * power / total,
                covered=float(step.covered[k]),
            )
        )
    return sorted((a for a in found if a.share >= threshold), key=lambda a: -a.share)


def project(
    model: HybridModel,
    data: Dataset,
    *,
    reference: Reference = "data",
    tangent: Tangent = "last",
) -> Moved:
    """Give the parameters what the residual does in their place.

    All declared parameters at once, p ← p + Δp with Δϑ the regression of r on D; the residual's
    weights are moved to r − D Δϑ as nearly as they can, by least squares over the logged states.
    The regression makes r as small as it can be in the mean over `reference`: the logged samples,
    or signals drawn independently of each other ("marginals"), in which friction and gravity are
    orthogonal although a log that loses energy correlates them.
    One linear step: the parameters' part is moved exactly only where Δϑ is small.
    Raises ValueError where the model has no residual or no declared parameters.
    """
    if not model.fit_parameters:
        raise ValueError("model.fit_parameters is empty: there is nowhere to move the residual to")
    step, r, D = _scaled(model, data, reference)
    flat = D.flatten(0, 1)
    amount = torch.linalg.pinv(flat, rtol=1e-6) @ r.flatten()
    moved = D @ amount
    total = float(r.square().sum())
    share = float(moved.square().sum()) / total if total else 0.0
    change = _changed(model, amount)

    fitted = copy.deepcopy(model)
    fitted.theta.data.add_(amount)
    weights = Weights(model, tangent)
    residual = model.residual
    assert residual is not None
    z = step.z

    def values(w: Tensor) -> Tensor:
        named = {k.removeprefix("residual."): v for k, v in weights.named(w).items()}
        return torch.func.functional_call(residual, named, (z,))

    w = weights.value
    J = torch.func.jacfwd(values)(w).detach().flatten(0, 1)
    wanted = -(step.mimic @ amount)
    size = step.value.square().mean(0).sqrt().clamp(min=1e-12)
    J = J.reshape(*wanted.shape, -1) / size[:, None]
    J = J.flatten(0, 1)
    right = torch.cat([(wanted / size).flatten(), J.new_zeros(len(w))])
    ridge = (_RIDGE * J.square().sum() / max(1, len(w))) ** 0.5
    rows = torch.cat([J, ridge * torch.eye(len(w)).to(J)])
    weights.write(fitted, w + (torch.linalg.pinv(rows) @ right))
    with torch.no_grad():
        n = len(model.system.states)

        def ahead(m: HybridModel) -> Tensor:
            return m.rollout(step.x, step.u[:, None], step.d)[:, 1, :n]

        bare = copy.deepcopy(model)
        bare.theta.data.add_(amount)
        difference = model.state_difference(ahead(fitted), ahead(model))
        whole = model.state_difference(ahead(bare), ahead(model))
        spread = whole.square().mean(0).sqrt()
        seen = spread > 1e-12
        left = (difference[:, seen] / spread[seen]).square().mean().sqrt() if seen.any() else 0.0
    settled = fitted.eval().rebuilt(fitted.system.with_parameters(**fitted.parameter_values()))
    return Moved(settled, change, share, float(left))


def _scaled(
    model: HybridModel, data: Dataset, reference: Reference
) -> tuple[OneStep, Tensor, Tensor]:
    """r (N, nr) and D (N, nr, np), rows of r in units of their own deviation."""
    step = one_step(model, data, reference)
    size = step.value.square().mean(0).sqrt()
    seen = size > 1e-12
    return step, step.value[:, seen] / size[seen], step.mimic[:, seen] / size[seen, None]


def _changed(model: HybridModel, change: Tensor) -> Array:
    """p(ϑ + Δϑ) − p(ϑ)."""
    constrain, theta = model.torch_equations.constrain, model.theta.detach()
    with torch.no_grad():
        return (constrain(theta + change) - constrain(theta)).cpu().numpy()
