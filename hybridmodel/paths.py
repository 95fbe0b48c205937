"""Every path that computes a model, as value, Jacobian and Hessian of v = (x, u, p, d) ↦ y.

Three quantities are there to compare: the step x⁺, the derivative ẋ and the output y. Each has
CasADi's form with the weights written in as its reference. A new path is one line in `PATHS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import casadi as ca
import torch
from torch import Tensor

from hybridmodel.derivatives import Form, casadi_form, eager_form, transformed_form
from hybridmodel.model import HybridModel
from physics import Signal

Builder = Callable[[HybridModel], Form | str]  # a string says why the model has no such path
_UNBOUNDED = 1e8  # a bound beyond stands for none: points out there test rounding alone


def draw(model: HybridModel, points: int, *, spread: float = 1.0, seed: int = 0) -> Tensor:
    """v (points, nx + nu + np + nd), random (x, u, p, d) as `check_agreement` describes them."""
    system, generator = model.system, torch.Generator().manual_seed(seed)
    signals = (*system.states, *system.memory, *system.inputs, *system.exogenous)
    noise = spread * torch.randn(points, len(signals), generator=generator, dtype=torch.float64)
    share = torch.rand(points, len(signals), generator=generator, dtype=torch.float64)
    drawn = [_inside(s, noise[:, i], share[:, i]) for i, s in enumerate(signals)]
    own = torch.randn(points, len(model.fit_parameters), generator=generator, dtype=torch.float64)
    device = model.theta.device
    with torch.no_grad():
        p = model.torch_equations.constrain(model.theta + 0.1 * own.tanh().to(device))
    rest = torch.stack(drawn, -1).to(device)
    known = system.nx + system.nu
    return torch.cat([rest[:, :known], p, rest[:, known:]], -1)


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
    return [system.nx, system.nu, len(model.fit_parameters), system.nd]


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


def _torch_ode(model: HybridModel) -> Callable[[Tensor], Tensor]:
    pieces, network = model.torch_equations, model.residual

    def derivative(x: Tensor, u: Tensor, p: Tensor, d: Tensor) -> Tensor:
        acting = pieces.applied(x, u, p)
        r = () if network is None else (network(pieces.features(x, acting, d)),)
        return pieces.derivative(x, acting, p, d, *r)

    return _split(model, derivative)


def _torch_output(model: HybridModel) -> Callable[[Tensor], Tensor]:
    return _split(model, model.torch_equations.output)


REFERENCES: Mapping[str, Builder] = {
    "step": _casadi_step,
    "derivative": _casadi_ode,
    "output": lambda model: casadi_form(model.equations.output, _sizes(model)),
}
PATHS: Mapping[str, tuple[str, Builder]] = {  # name → the quantity it computes, its form
    "step, torch": ("step", lambda model: eager_form(_torch_step(model))),
    "step, torch.func": ("step", lambda model: transformed_form(_torch_step(model))),
    "step, CasADi with weights as input": ("step", lambda m: _casadi_step(m, weights="parameters")),
    "step, CasADi with dt as input": ("step", lambda model: _casadi_step(model, dt="symbolic")),
    "derivative, torch": ("derivative", lambda model: eager_form(_torch_ode(model))),
    "output, torch": ("output", lambda model: eager_form(_torch_output(model))),
}
