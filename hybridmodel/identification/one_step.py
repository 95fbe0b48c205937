"""What a residual and a parameter each do to one step: the common currency of both.

    x⁺ = F(x, u; p, r),    G = ∂F/∂r,    D = G⁺ ∂F/∂ϑ

D dϑ is the change of r that stands for a change of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hybridmodel.batches import batch
from hybridmodel.data import Dataset
from hybridmodel.model import HybridModel
from residuals import Recurrent

Reference = Literal["data", "marginals"]

_H = 1e-5


@dataclass(frozen=True)
class OneStep:
    """At N logged states: value r (N, nr), mimic D (N, nr, np).

    covered (np,)   how much of ∂F/∂ϑ lies in the span of G, 0 … 1
    z, x, u         where: features (N, nz), states with memory (N, nx), inputs (N, nu), and d
    """

    value: Tensor
    mimic: Tensor
    covered: Tensor
    z: Tensor
    x: Tensor
    u: Tensor
    d: Tensor


def refuse_recurrent(model: HybridModel) -> None:
    if isinstance(model.residual, Recurrent):
        raise ValueError(
            "model.residual has memory: how much of it a parameter could do depends on its past; "
            "give a residual without memory"
        )


def one_step(model: HybridModel, data: Dataset, reference: Reference = "data") -> OneStep:
    """All of the above, at every logged step, or at signals drawn independently ("marginals").

    Raises ValueError where the model has no residual, or one with memory.
    """
    if model.residual is None:
        raise ValueError("model has no residual")
    refuse_recurrent(model)
    if reference not in ("data", "marginals"):
        raise ValueError(f"reference must be 'data' or 'marginals', got {reference!r}")
    if model.scheme.enters == "output":
        raise ValueError("model.placement corrects sensors, which no parameter of the motion does")
    windows = batch(model, data, 1)
    n = len(model.system.states)
    residual = model.residual
    theta = model.theta.detach()
    with torch.no_grad():
        x, u = windows.x0(model), windows.u[:, 0]
        if reference == "marginals":
            x, u = shuffled(model, x, u, torch.Generator().manual_seed(0))
        z = model.residual_features(x, u, windows.d[:, 0])
        value = residual(z)

        def ahead(r: Tensor, p: Tensor) -> Tensor:
            return model.rollout_with(lambda z: r, x, u[:, None], windows.d, p=p)[:, 1, :n]

        def difference(forth: Tensor, back: Tensor) -> Tensor:
            return model.state_difference(forth, back) / (2 * _H)

        constrain = model.torch_equations.constrain
        p = constrain(theta)
        G = torch.stack(
            [
                difference(ahead(value + h, p), ahead(value - h, p))
                for h in _H * torch.eye(value.shape[1]).to(theta)
            ],
            -1,
        )  # (N, n, nr)
        columns = [
            difference(ahead(value, constrain(theta + h)), ahead(value, constrain(theta - h)))
            for h in _H * torch.eye(len(theta)).to(theta)
        ]
        shape = (*G.shape[:2], 0)
        P = torch.stack(columns, -1) if columns else theta.new_zeros(shape)  # (N, n, np)
        here = ahead(value, p)
        # rows of different units, by how much each moves in a step
        spread = model.state_difference(here, x[:, :n]).square().mean(0).sqrt().clamp(min=1e-12)
        inverse = torch.linalg.pinv(G / spread[:, None])
        D = inverse @ (P / spread[:, None])
        total = (P / spread[:, None]).square().sum((0, 1)).clamp(min=1e-300)
        covered = (G / spread[:, None] @ D).square().sum((0, 1)) / total
    return OneStep(value, D, covered, z, x, u, windows.d)


def shuffled(
    model: HybridModel, x: Tensor, u: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """x (N, nx), u (N, nu) with every signal drawn independently of the others from its own rows;
    the four of a quaternion stay together, and so does memory."""
    system = model.system

    def drawn(groups: list[str], values: Tensor) -> Tensor:
        groups = [*groups, *("" for _ in range(values.shape[1] - len(groups)))]
        orders = {
            g: torch.randperm(len(values), generator=generator) for g in dict.fromkeys(groups)
        }
        columns = [values[orders[g], j] for j, g in enumerate(groups)]
        return torch.stack(columns, -1) if columns else values

    states = drawn([s.quaternion or s.name for s in system.states], x)
    return states, drawn([s.name for s in system.inputs], u)
