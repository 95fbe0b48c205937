"""How far the kernel's rollouts are from torch's, relative to each state's range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from benchmarks.figures import Row
from benchmarks.speed import cart_pole
from benchmarks.speed.cases import fitted_cart_pole, fitted_robot, states, trained
from hybridmodel import HybridModel, physics, placement
from residuals import MLP

BARS = {"f64": "≤ 1e-12", "f32": "≤ 2e-6"}
H, N = 30, 64


def _with_network(system: physics.System, *, hold: bool) -> HybridModel:
    made = HybridModel(system, MLP((32, 32)), dt=0.02, placement=placement.acceleration, hold=hold)
    return trained(made)


MODELS: Mapping[str, Callable[[], HybridModel]] = {
    "cart-pole of all sides": lambda: cart_pole.model(hold=False),
    "cart-pole of all sides, once a step": lambda: cart_pole.model(hold=True),
    "cart-pole": fitted_cart_pole,
    "pendulum": lambda: _with_network(physics.Pendulum(), hold=False),
    "double pendulum": lambda: _with_network(physics.DoublePendulum(), hold=False),
    "planar quadrotor": lambda: _with_network(physics.PlanarQuadrotor(), hold=True),
    "quadrotor": lambda: _with_network(physics.Quadrotor(), hold=False),
    "KUKA": fitted_robot,
}


def rows(quick: bool) -> Iterator[Row]:
    """One row a model and dtype, and what float32 itself is good for there."""
    for name in list(MODELS)[:3] if quick else MODELS:
        found = _differences(MODELS[name]())
        what = f"agreement of rollouts, H = {H}, {name}"
        for dtype, bar in BARS.items():
            yield Row(f"{what}: {dtype}, kernel against torch", found[dtype], "", bar)
        for other in ("f32 by torch against f64", "f32 by the kernel against f64"):
            yield Row(f"{what}: {other}", found[other])
        yield Row(f"{what}: gradient in u, f64", found["gradient in u, f64"])


def _differences(model: HybridModel) -> dict[str, float]:
    """Largest |x − x'| of a state over its range."""
    x0, u = _start(model)
    exact = _rollout(model, "torch", x0, u)
    scale = (exact.amax((0, 1)) - exact.amin((0, 1))).clamp(min=1e-9)

    def apart(a: Tensor, b: Tensor) -> float:
        return float(((a.double() - b.double()).abs() / scale).max())

    slopes = [_gradient(model, name, x0, u, scale) for name in ("kernel", "torch")]
    differences = {
        "f64": apart(_rollout(model, "kernel", x0, u), exact),
        "gradient in u, f64": float((slopes[0] - slopes[1]).abs().max() / slopes[1].abs().max()),
    }
    model.float()
    near = {n: _rollout(model, n, x0.float(), u.float()) for n in ("kernel", "torch")}
    return differences | {
        "f32": apart(near["kernel"], near["torch"]),
        "f32 by torch against f64": apart(near["torch"], exact),
        "f32 by the kernel against f64": apart(near["kernel"], exact),
    }


def _start(model: HybridModel) -> tuple[Tensor, Tensor]:
    """States about the neutral one, and inputs of a tenth of their range about its middle."""
    system = model.system
    moved, u = states(system, N)
    x0 = np.array(system.neutral) + 0.6 * moved
    for row in system.quaternion_rows:
        x0[:, row : row + 4] /= np.linalg.norm(x0[:, row : row + 4], axis=1, keepdims=True)
    bounds = [(s.low, s.high) for s in system.inputs]
    middle = np.array([(a + b) / 2 if np.isfinite([a, b]).all() else 0.0 for a, b in bounds])
    ahead = (middle + u)[:, None].repeat(H, 1)
    return torch.from_numpy(x0), torch.from_numpy(ahead)


def _rollout(model: HybridModel, backend: str, x0: Tensor, u: Tensor) -> Tensor:
    model.backend = backend  # type: ignore[assignment]
    with torch.no_grad():
        return model.rollout(x0, u)


def _gradient(model: HybridModel, backend: str, x0: Tensor, u: Tensor, scale: Tensor) -> Tensor:
    model.backend = backend  # type: ignore[assignment]
    free = u.clone().requires_grad_()
    value = (model.rollout(x0, free) / scale).square().sum()
    return torch.autograd.grad(value, free)[0]
