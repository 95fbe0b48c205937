"""Every path that computes a model, as value, Jacobian and Hessian of v = (x, u, p, d) ↦ y.

Three quantities are there to compare: the step x⁺, the derivative ẋ and the output y. Each has
CasADi's form with the weights written in as its reference. A new path is one line in `PATHS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import casadi as ca
import numpy as np
import torch
from torch import Tensor

from hybridmodel.derivatives import Form, casadi_form, eager_form, transformed_form
from hybridmodel.equations import flow
from hybridmodel.model import HybridModel
from hybridmodel.rollouts import RefusedError, flat, kernel_of, served, unavailable
from physics import Signal

Builder = Callable[[HybridModel], Form | str]  # a string says why the model has no such path
_TRIES = 20  # candidates for each point that is wanted
_UNBOUNDED = 1e8  # a bound beyond stands for none: points out there test rounding alone


def draw(model: HybridModel, points: int, *, spread: float = 1.0, seed: int = 0) -> Tensor:
    """v (points, nx + nu + np + nd), random (x, u, p, d) as `check_agreement` describes them."""
    system, generator = model.system, torch.Generator().manual_seed(seed)
    signals = (*model.state_signals, *system.inputs, *system.exogenous)
    noise = spread * torch.randn(points, len(signals), generator=generator, dtype=torch.float64)
    share = torch.rand(points, len(signals), generator=generator, dtype=torch.float64)
    drawn = [_inside(s, noise[:, i], share[:, i]) for i, s in enumerate(signals)]
    own = torch.randn(points, len(model.fit_parameters), generator=generator, dtype=torch.float64)
    device = model.theta.device
    with torch.no_grad():
        p = model.torch_equations.constrain(model.theta + 0.1 * own.tanh().to(device))
    rest = torch.stack(drawn, -1)
    for row in system.quaternion_rows:
        q = rest[:, row : row + 4]
        rest[:, row : row + 4] = q / q.norm(dim=-1, keepdim=True)
    rest = rest.to(device)
    known = model.nx + system.nu
    return torch.cat([rest[:, :known], p, rest[:, known:]], -1)


def draw_finite(
    model: HybridModel,
    points: int,
    *,
    spread: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, int, float]:
    """Points of `draw` where the model is defined: (v, count, share).

    The first `count` rows of v (points, n) have a finite x⁺ and y with finite slopes; where up to
    20 candidates a point do not give enough of them, rows without follow. share is that of the
    candidates drawn which were finite. The numbers of v are ones that `dtype` holds exactly.

    A point counts where torch or CasADi is finite: one that only one of them has a number for is
    a difference to be seen, not a point to leave out.
    """
    v = draw(model, points, spread=spread, seed=seed).to(dtype).double()
    usable = _usable(model, v)
    if not usable.all():
        more = draw(model, (_TRIES - 1) * points, spread=spread, seed=seed + 1).to(dtype).double()
        v, usable = torch.cat([v, more]), torch.cat([usable, _usable(model, more)])
    ordered = torch.cat([v[usable], v[~usable]])[:points]
    return ordered, min(points, int(usable.sum())), float(usable.double().mean())


def _usable(model: HybridModel, v: Tensor) -> Tensor:
    """Where x⁺ and y at v (N, n), and their slopes, are finite in torch or in CasADi."""
    given = v.clone().requires_grad_()
    rows = torch.cat([_torch_step(model)(given), _torch_output(model)(given)], -1)
    # the sum of a column of slopes is finite only where each of them is
    slopes = torch.autograd.grad(rows.sum() + 0.0 * given.sum(), given)[0]
    usable = (torch.isfinite(rows).all(-1) & torch.isfinite(slopes).all(-1)).detach()
    if usable.all():
        return usable
    symbol = ca.MX.sym("v", v.shape[-1])
    arguments = ca.vertsplit(symbol, [0, *itertools.accumulate(_sizes(model))])
    values = ca.vertcat(model.step_function()(*arguments), model.output_function()(*arguments))
    numbers = ca.vertcat(values, ca.gradient(ca.sum1(values), symbol))
    function = ca.Function("numbers", [symbol], [numbers])
    for k in torch.nonzero(~usable)[:, 0].tolist():
        usable[k] = bool(np.isfinite(function(v[k].cpu().numpy()).full()).all())
    return usable


def _inside(signal: Signal, noise: Tensor, share: Tensor) -> Tensor:
    low, high = (b if abs(b) < _UNBOUNDED else None for b in (signal.low, signal.high))
    if low is not None and high is not None:
        return low + (high - low) * share
    if low is not None:
        return low + noise.abs()
    if high is not None:
        return high - noise.abs()
    return noise


def _sizes(model: HybridModel) -> list[int]:
    system = model.system
    return [model.nx, system.nu, len(model.fit_parameters), system.nd]


def _split(model: HybridModel, call: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    """A torch function of x, u, p, d as one of v."""
    return lambda v: call(*v.split(_sizes(model), -1))


def _casadi_step(model: HybridModel, **options: Any) -> Form | str:
    others = [ca.DM(model.dt)] if "dt" in options else []
    if "weights" in options:
        if model.residual is None:
            return "the model has no network"
        others.append(ca.DM(model.weights()))
    try:
        step = model.step_function(**options)
    except ValueError as refusal:
        if "dt" not in options:
            raise
        return str(refusal)
    return casadi_form(step, _sizes(model), *others)


def _casadi_ode(model: HybridModel) -> Form | str:
    try:
        return casadi_form(model.ode_function(), _sizes(model))
    except ValueError as refusal:
        return str(refusal)


def _torch_step(model: HybridModel) -> Callable[[Tensor], Tensor]:
    return _split(model, lambda x, u, p, d: model(x, u, d, p=p))


def _transformed_step(model: HybridModel) -> Form | str:
    if model.residual is not None:
        sizes = [len(model.feature_signals), model.nm]
        z, network = torch.zeros(2, sum(sizes)).to(model.theta), model.residual
        recurrent = model.scheme.recurrent

        def total(v: Tensor) -> Tensor:
            z, m = v.split(sizes, -1)
            return network(z, m)[0].sum() if recurrent else network(z).sum()

        try:
            torch.func.vmap(torch.func.hessian(total))(z)
        except RuntimeError as error:  # such as a cell that makes its own first state
            return f"torch.func cannot transform the network: {str(error).strip().splitlines()[0]}"
    return transformed_form(_torch_step(model))


def torch_derivative(model: HybridModel) -> Callable[[Tensor], Tensor]:
    """v (N, n) ↦ ẋ (N, nx) in torch, of a model that has an ODE."""
    return _split(
        model,
        lambda x, u, p, d: flow(model.torch_equations, model.residual, model.scheme, x, u, p, d),
    )


def _kernel_step(model: HybridModel) -> Form | str:
    if (missing := unavailable()) is not None:
        return missing
    try:
        kernel, weights = kernel_of(served(model), "mean", torch.float64)
    except RefusedError as reason:
        return str(reason)

    def ahead(x: Tensor, u: Tensor, p: Tensor, d: Tensor) -> Tensor:
        return flat(kernel, weights, x, u[..., None, :], d[..., None, :], p)[..., 1, :]

    return eager_form(_split(model, ahead))


def _torch_output(model: HybridModel) -> Callable[[Tensor], Tensor]:
    return _split(model, lambda x, u, p, d: model.output(x, u, d, p=p))


REFERENCES: Mapping[str, Builder] = {
    "step": _casadi_step,
    "derivative": _casadi_ode,
    "output": lambda model: casadi_form(model.output_function(), _sizes(model)),
}
PATHS: Mapping[str, tuple[str, Builder]] = {  # name → the quantity it computes, its form
    "step, torch": ("step", lambda model: eager_form(_torch_step(model))),
    "step, torch.func": ("step", _transformed_step),
    "step, kernel": ("step", _kernel_step),
    "step, CasADi with weights as input": ("step", lambda m: _casadi_step(m, weights="parameters")),
    "step, CasADi with dt as input": ("step", lambda model: _casadi_step(model, dt="symbolic")),
    "derivative, torch": ("derivative", lambda model: eager_form(torch_derivative(model))),
    "output, torch": ("output", lambda model: eager_form(_torch_output(model))),
}
