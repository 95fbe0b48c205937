"""What the residual of each single step would have had to be, and the scales that follow.

    r* = argmin ‖x⁺ ⊟ F(x, u, r)‖ ≈ (∂F/∂r)⁺ (x⁺ ⊟ F(x, u, 0)),

the same for every placement; states are measured in their deviations over the data. Of sensors
it is y ⊟ h(x, u). Over a span of several steps with one r the noise of the logs counts less, by
that many times where r is an acceleration, and what changes within the span is averaged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybridmodel.batches import Batch, batch, guessed
from hybridmodel.data import Dataset
from hybridmodel.deviation import deviations
from hybridmodel.model import HybridModel
from residuals import Support

_TOGETHER = 1024  # windows, whose operations are all kept for the way back


@dataclass(frozen=True)
class Targets:
    """z (N, nz) and r* (N, nr) of N steps, or spans of steps."""

    z: Tensor
    r: Tensor


def targets(model: HybridModel, data: Dataset, span: int = 1) -> Targets:
    """z and r* of every span of steps of the data, half a span apart; z is the mean over the span.

    Raises ValueError for a span < 1, or of more than one step where memory of the residual or
    states that no log tells would have to be followed through it.
    """
    if span < 1:
        raise ValueError(f"span must be at least 1 step, got {span}")
    windows = batch(model, data, span, stride=max(1, span // 2), start="guessed")
    measured = model.system.outputs == model.system.states
    truth = windows.y if measured else windows.x
    if model.scheme.enters == "output":
        return _of_sensors(model, windows)
    if span > 1 and (model.nm or truth is None):
        raise ValueError("span must be 1 for a residual with memory and for logs without states")
    with torch.no_grad():
        x = windows.x0(model)
        z = [model.residual_features(x, windows.u[:, 0], windows.d[:, 0])]
        for k in range(1, span):
            assert truth is not None
            u_past = torch.cat([windows.past_u, windows.u[:, :k]], 1)
            then = model.initial_state(truth[:, k], u_past)
            z.append(model.residual_features(then, windows.u[:, k], windows.d[:, k]))
        return Targets(torch.stack(z).mean(0), _wanted(model, windows, x))


def standardized(model: HybridModel, data: Dataset) -> HybridModel:
    """A copy whose residual, where it is untrained, scales its input and output to the data."""
    model = copy.deepcopy(model)
    if model.residual is None:
        return model
    found = targets(model, data)
    with torch.no_grad():
        blank = found.z.new_zeros(len(found.z), model.nm)
        r = model.residual(found.z, blank)[0] if model.nm else model.residual(found.z)
        supports = [m for m in model.residual.modules() if isinstance(m, Support)]
        if r.any():
            # trained: other scales would make it another function, but these data are covered too
            for support in supports:
                support.cover(torch.cat([support.covered(), found.z]))
            return model
        size = found.r.square().mean(0).sqrt()
        deviation = _spread(found.z)
        model.residual.standardize(
            found.z.mean(0),
            torch.where(deviation > 1e-9, deviation, 1.0),
            torch.where(size > 0, size, 1.0),
        )
        for support in supports:
            support.cover(found.z)
    return model


def _of_sensors(model: HybridModel, windows: Batch) -> Targets:
    """z and r* = y ⊟ h(x, u) at the end of each step, under the input of that step."""
    u, d, p = windows.u[:, 0], windows.d[:, 0], model.physical().detach()
    y = windows.y[:, 1]
    none = model.theta.new_zeros(len(windows), len(model.placement.signals(model.system)))
    with torch.no_grad():
        state = guessed(model.system, y) if windows.x is None else windows.x[:, 1]
        x = model.initial_state(state, torch.cat([windows.past_u, windows.u[:, :1]], 1))

        def seen(r: Tensor) -> Tensor:
            return model.output_difference(model.torch_equations.output(x, u, p, d, r), y)

        wanted = _solve(seen, none, -seen(none), none.new_ones(len(seen(none)[0])))
        return Targets(model.residual_features(x, u, d), wanted)


def _wanted(model: HybridModel, windows: Batch, x: Tensor) -> Tensor:
    system = model.system
    measured = system.outputs == system.states
    truth = windows.y if measured else windows.x
    if truth is None:  # not even two states are known: nothing to compare
        return x.new_zeros(len(windows), len(model.placement.signals(system)))
    logged = deviations(system.states, truth[:, 0].cpu().numpy())
    spread = _spread(torch.as_tensor(logged).to(x)).clamp(min=1e-12)
    parts = torch.arange(len(windows)).split(_TOGETHER)
    return torch.cat([_moving(model, windows.at(i), x[i], truth[i, -1], spread) for i in parts])


def _spread(rows: Tensor) -> Tensor:
    """Standard deviation of the columns of rows (N, …); 1 where one row alone tells none."""
    return rows.std(0) if len(rows) > 1 else torch.ones_like(rows[0])


def _moving(model: HybridModel, windows: Batch, x: Tensor, end: Tensor, spread: Tensor) -> Tensor:
    """r (N, nr) that moves the steps of windows from x to `end`."""
    n, p = len(model.system.states), model.physical().detach()
    none = model.theta.new_zeros(len(windows), len(model.placement.signals(model.system)))
    held = replace(model.scheme, hold=True)

    def ahead(r: Tensor) -> Tensor:
        s = x
        for k in range(windows.u.shape[1]):
            u, d = windows.u[:, k], windows.d[:, k]
            s = model.step_with(model.constant(r), held, s, u, p, d)
        return s[..., :n]

    unmoved = ahead(none)
    error = model.state_difference(end, unmoved)
    return _solve(lambda r: model.state_difference(ahead(r), unmoved), none, error, spread)


def _solve(
    moved: Callable[[Tensor], Tensor], none: Tensor, error: Tensor, spread: Tensor
) -> Tensor:
    """r (N, nr) with moved(r) ≈ error (N, ·), rows measured in `spread`."""
    with torch.enable_grad():  # backwards: torch's forward mode takes ten times as long
        r = none.detach().requires_grad_()
        rows = moved(r).sum(0)
        if not rows.requires_grad:
            return none  # r moves nothing within a step
        slopes = [torch.autograd.grad(row, r, retain_graph=True)[0] for row in rows]
    gain = torch.stack(slopes, 1) / spread[:, None]  # (N, ·, nr)
    # not lstsq, whose last bits depend on where in memory its arguments lie
    return (torch.linalg.pinv(gain) @ (error / spread)[..., None])[..., 0]
