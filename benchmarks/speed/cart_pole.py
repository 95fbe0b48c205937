"""The cart-pole that all sides roll out: equations, cost, network, actions.

    τ  = (u + m l ω² sin θ − μ_c tanh(v/v_s))/(M + m)
    ω̇  = (g sin θ − τ cos θ − μ_p ω/(m l))/(l (4/3 − m cos² θ/(M + m))) + r₂
    v̇  = τ − m l ω̇₀ cos θ/(M + m) + r₁,   ω̇₀ without r₂
    J  = Σ_{k=1…H} q(x_k) + ρ u_{k−1}²,   q = x² + 0.1 v² + 10 (1 − cos θ) + 0.1 ω²

x cart [m], v [m/s], θ pole from upright [rad], ω [rad/s], u force [N], r = tanh network of
(v, sin θ, cos θ, ω, u). Barto, Sutton & Anderson, Neuronlike adaptive elements that can solve
difficult learning control problems, 1983, appendix, with smooth dry friction.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from types import SimpleNamespace

import casadi as ca
import numpy as np
import torch

from hybridmodel import Cost, HybridModel, OptimalControlProblem
from hybridmodel.rollouts import Backend
from physics import Signal, System
from residuals import MLP, Residual

DT = 0.02  # s
FORCE = 10.0  # N, largest
START = (0.3, -0.2, 2.6, 0.1)
DTYPES = {"f32": torch.float32, "f64": torch.float64}
FEATURES = ("v", "theta", "omega", "u")


@dataclass(frozen=True)
class DryCartPole(System):
    """The equations of the module's head."""

    gravity: float = 9.8  # m/s²
    cart: float = 1.0  # kg
    pole: float = 0.1  # kg
    half_length: float = 0.5  # m
    rail_friction: float = 0.05  # N
    joint_friction: float = 0.002  # N·m·s/rad
    slip: float = 0.1  # m/s
    states = (
        Signal("x", "m"),
        Signal("v", "m/s", rate_of="x"),
        Signal("theta", "rad", angle=True),
        Signal("omega", "rad/s", rate_of="theta"),
    )
    inputs = (Signal("u", "N", -FORCE, FORCE),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        v, omega, sin, cos = x[1], x[3], ca.sin(x[2]), ca.cos(x[2])
        total, moment = p.cart + p.pole, p.pole * p.half_length
        friction = p.rail_friction * ca.tanh(v * (1 / p.slip))
        push = (u + moment * omega**2 * sin - friction) * (1 / total)
        torque = p.gravity * sin - cos * push - p.joint_friction / moment * omega
        turn = torque / (p.half_length * (4 / 3 - p.pole / total * cos**2))
        return ca.vertcat(v, push - moment / total * turn * cos, omega, turn)


class Swinging(Cost):
    """J, whose states count after each step: q(x₀) is taken off again at the end."""

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return _distance(x) + 1e-3 * u[0] ** 2

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return _distance(x) - float(_distance(ca.SX(ca.DM(START))))


def _distance(x: ca.SX) -> ca.SX:
    return x[0] ** 2 + 0.1 * x[1] ** 2 + 10 * (1 - ca.cos(x[2])) + 0.1 * x[3] ** 2


def model(
    *,
    hold: bool,
    width: int = 64,
    depth: int = 2,
    residual: Residual | None = None,
    backend: Backend = "kernel",
) -> HybridModel:
    """In float64, with the peers' weights unless another residual is given."""
    built = HybridModel(
        DryCartPole(),
        residual or MLP((width,) * depth),
        dt=DT,
        hold=hold,
        features=FEATURES,
        backend=backend,
    )
    if residual is None and built.residual is not None:
        layers = [m for m in built.residual.modules() if isinstance(m, torch.nn.Linear)]
        with torch.no_grad():
            for layer, (weight, bias) in zip(layers, weights(width, depth), strict=True):
                layer.weight.copy_(torch.from_numpy(weight))
                layer.bias.copy_(torch.from_numpy(bias))
    return built


def problem(
    of: HybridModel, horizon: int, dtype: torch.dtype = torch.float64
) -> OptimalControlProblem:
    """The problem of a model, which is then taken to this dtype."""
    made = OptimalControlProblem(of, Swinging(), horizon=horizon)
    of.to(dtype)
    return made


def weights(width: int, depth: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(W, b) of each layer, the numbers that the peers draw."""
    generator = np.random.RandomState(1234)
    sizes = (5, *(width,) * depth, 2)
    found = []
    for n, m in itertools.pairwise(sizes):
        scale = (0.5 if m == 2 else 1.0) / np.sqrt(n)
        found.append((generator.randn(m, n) * scale, generator.randn(m) * 0.1))
    return found


def actions(candidates: int, horizon: int) -> np.ndarray:
    """u (N, H), the numbers that the peers draw."""
    generator = np.random.RandomState(7)
    return (2 * generator.rand(candidates, horizon) - 1) * FORCE
