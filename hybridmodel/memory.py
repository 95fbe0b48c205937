"""The one way into a model's state: x̃ = (x, memory of the system, memory of the residual)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from residuals import Recurrent

if TYPE_CHECKING:
    from hybridmodel.model import HybridModel


def initial_state(
    model: HybridModel,
    x0: Tensor,
    past_u: Tensor | None,
    past_x: Tensor | None,
    past_d: Tensor | None,
) -> Tensor:
    """x (…, nx) from the continuous state and what came before, see `HybridModel.initial_state`."""
    nu, delayed, n = model.system.nu, model.system.memory_steps, model.memory_steps
    if past_u is None:
        if past_x is not None and n:
            raise ValueError("past_u must be given with past_x: the inputs of the same steps")
        past_u, past_x = x0.new_zeros(*x0.shape[:-1], delayed, nu), None
    needed = delayed if past_x is None else n
    if past_u.shape[-2] < needed:
        raise ValueError(f"past_u must hold {needed} inputs, got {past_u.shape[-2]}")
    x = _delayed(model, x0, past_u)
    residual = model.residual
    if not isinstance(residual, Recurrent):
        return x
    if past_x is None:
        z = _held(model, x, past_u, past_d)
        seen = z[..., None, :].expand(*z.shape[:-1], residual.memory_steps, z.shape[-1])
    else:
        if past_x.shape[-2] < residual.memory_steps:
            raise ValueError(
                f"past_x must hold {residual.memory_steps} states, got {past_x.shape[-2]}"
            )
        seen = _seen(model, residual.memory_steps, past_u, past_x, past_d)
    return torch.cat([x, residual.initial_memory(seen)], -1)


def _delayed(model: HybridModel, x: Tensor, inputs: Tensor) -> Tensor:
    """x with the memory of the system, from the last of these inputs."""
    recent = inputs[..., inputs.shape[-2] - model.system.memory_steps :, :]
    return model.torch_equations.initial(x, recent.flatten(-2))


def _features(model: HybridModel, x: Tensor, u: Tensor, d: Tensor | None) -> Tensor:
    """z, which does not depend on the memory of the residual."""
    return model.residual_features(torch.cat([x, x.new_zeros(*x.shape[:-1], model.nm)], -1), u, d)


def _held(model: HybridModel, x: Tensor, past_u: Tensor, past_d: Tensor | None) -> Tensor:
    """z at the present state under the last known input and exogenous signals, else zeros."""
    none = x.new_zeros(*x.shape[:-1], 1, model.system.nu)
    u = past_u if past_u.shape[-2] else none
    d = x.new_zeros(*x.shape[:-1], 1, model.system.nd) if past_d is None else past_d
    return _features(model, x, u[..., -1, :], d[..., -1, :])


def _seen(
    model: HybridModel, steps: int, past_u: Tensor, past_x: Tensor, past_d: Tensor | None
) -> Tensor:
    """z (…, steps, nz) of the last steps, the most recent last."""
    rows = []
    for back in range(steps, 0, -1):
        at = past_u.shape[-2] - back
        then = _delayed(model, past_x[..., past_x.shape[-2] - back, :], past_u[..., :at, :])
        d = None if past_d is None else past_d[..., past_d.shape[-2] - back, :]
        rows.append(_features(model, then, past_u[..., at, :], d))
    return torch.stack(rows, -2)
