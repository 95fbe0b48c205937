"""States with memory, moved and compared: rotations by rotation vectors, all else by addition."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hybridmodel.model import HybridModel
from physics import Signal, tangent


def tangent_size(model: HybridModel) -> int:
    """Rows of ξ: tangent rows of the continuous states, then memory."""
    return len(model.noise) + model.nx - len(model.system.states)


def moved(model: HybridModel, x: Tensor, xi: Tensor) -> Tensor:
    """x ⊞ ξ (…, nx); ξ (…, tangent rows), and rows of memory where it has them."""
    n, rows = len(model.system.states), len(model.noise)
    memory = x[..., n:]
    if xi.shape[-1] > rows:
        memory = memory + xi[..., rows:]
    state = model.state_retract(x[..., :n], xi[..., :rows])
    return torch.cat([state, memory.expand(*state.shape[:-1], -1)], -1)


def difference(model: HybridModel, x: Tensor, other: Tensor) -> Tensor:
    """x ⊟ x' (…, tangent rows and memory)."""
    n = len(model.system.states)
    flow = model.state_difference(x[..., :n], other[..., :n])
    return torch.cat([flow, x[..., n:] - other[..., n:]], -1)


def mean_of(model: HybridModel, x: Tensor, *, leading: int = 1) -> Tensor:
    """Mean of continuous states over the `leading` first axes, on rotations the Karcher mean.

        m ← m ⊞ mean (x_s ⊟ m), three times from the first one

    Moakher, Means and averaging in the group of rotations, SIAM J. Matrix Anal. 2002, eq. 3.12.
    """
    return _mean(
        x[..., : len(model.system.states)],
        leading,
        rotates=bool(model.system.quaternion_rows),
        minus=model.state_difference,
        plus=model.state_retract,
    )


def mean_output(model: HybridModel, y: Tensor, *, leading: int = 1) -> Tensor:
    """Likewise of outputs."""
    return _mean(
        y,
        leading,
        rotates=any(s.quaternion for s in model.system.outputs),
        minus=model.output_difference,
        plus=output_retract(model.system.outputs),
    )


def output_retract(signals: Sequence[Signal]) -> Callable[[Tensor, Tensor], Tensor]:
    """(y, ξ) ↦ y ⊞ ξ of any signals."""
    if not any(s.quaternion for s in signals):
        return torch.add
    import casadi as ca

    from hybridmodel.bridges.casadi_to_torch import to_torch

    of = tuple(signals)
    y, xi = ca.SX.sym("y", len(of)), ca.SX.sym("xi", len(tangent.signals(of)))
    return to_torch(ca.Function("retract", [y, xi], [tangent.retract(of, y, xi)]))


def _mean(x: Tensor, leading: int, *, rotates: bool, minus, plus) -> Tensor:
    axes = tuple(range(leading))
    if not rotates:
        return x.mean(axes)
    mean = x[(0,) * leading]
    for _ in range(3):
        apart = minus(x, mean.expand_as(x))
        mean = plus(mean, apart.mean(axes))
    return mean
