"""Models that together have every placement, stepping, kind of system and of network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import casadi as ca
import pytest
import torch
from torch import Tensor, nn

from hybridmodel import HybridModel
from hybridmodel import placement as placements
from physics import CartPole, DoublePendulum, InputDelay, Parameter, Pendulum, Signal, System
from physics.integrators import euler, semi_implicit_euler
from residuals import MLP


@dataclass(frozen=True, kw_only=True)
class Sensed(System):
    """A driven pendulum in known wind, whose sensor has an offset and sees the torque too."""

    drag: float = Parameter(0.3, "1/s", (0.0, 2.0))
    offset: float = Parameter(0.1, "rad")
    states: tuple[Signal, ...] = (
        Signal("angle", "rad", angle=True),
        Signal("rate", "rad/s", rate_of="angle"),
    )
    inputs: tuple[Signal, ...] = (Signal("torque", "N·m/kg", -2.0, 2.0),)
    exogenous: tuple[Signal, ...] = (Signal("pull", "m/s²"), Signal("wind", "rad/s"))

    @property
    def outputs(self) -> tuple[Signal, ...]:
        return (Signal("reading", "rad"), Signal("effort", "N·m"))

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        pull = 9.81 * ca.sin(x[0]) + d[0] * ca.cos(x[0])
        return ca.vertcat(x[1], u[0] - pull - p.drag * (x[1] - d[1]))

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.vertcat(x[0] + p.offset, u[0] + ca.if_else(x[0] > 0, d[0], 0))


@dataclass(frozen=True, kw_only=True)
class Filter(System):
    """A discrete low-pass, whose second state is the last input."""

    pole: float = Parameter(0.8, "", (0.0, 1.0))
    dt: float = 0.05
    states: tuple[Signal, ...] = (Signal("level"), Signal("last"))
    inputs: tuple[Signal, ...] = (Signal("command"),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.vertcat(p.pole * x[0] + (1 - p.pole) * ca.tanh(x[1]), u[0])


class Mixer(nn.Module):
    """Every kind of node in a network's graph: products of two values, sums, parts put together."""

    def __init__(self, nz: int, nr: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(nz, 6), nn.Linear(nz, 6)
        self.norm, self.last = nn.LayerNorm(6), nn.Linear(4 + 6, nr)

    def forward(self, z: Tensor) -> Tensor:
        q, k = self.query(z), self.norm(self.key(z) + self.query(z))
        rows, columns = q.unflatten(-1, (2, 3)), k.unflatten(-1, (2, 3))
        weights = torch.softmax(rows @ columns.transpose(-1, -2), -1)
        return self.last(torch.cat([weights.flatten(-2), k.flip(-1)], -1))


def _trained(system: System, residual: nn.Module | None, **options: Any) -> HybridModel:
    known = tuple(system.parameters)[:2]
    model = HybridModel(system, residual, fit_parameters=known, **options)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.theta.copy_(0.2 * torch.randn(model.theta.shape, generator=generator))
        if model.residual is not None:
            for weight in model.residual.parameters():
                weight.copy_(0.4 * torch.randn(weight.shape, generator=generator))
            nz, nr = model.residual.nz, model.residual.nr
            mean, spread, scale = (torch.rand(n, generator=generator) for n in (nz, nz, nr))
            model.residual.standardize(mean - 0.5, spread + 0.5, scale + 0.5)
    return model


MODELS: Mapping[str, Any] = {
    "acceleration": lambda: _trained(CartPole(), MLP((9, 5)), dt=0.02),
    "substeps": lambda: _trained(
        CartPole(), MLP((6,), limit=0.7), dt=0.03, integrator=semi_implicit_euler, substeps=3
    ),
    "derivative": lambda: _trained(
        DoublePendulum.acrobot(),
        MLP((6,), activation="softplus"),
        dt=0.01,
        placement=placements.derivative,
        integrator=euler,
    ),
    "one_row": lambda: _trained(
        DoublePendulum(),
        MLP((6,), activation="silu"),
        dt=0.01,
        placement=placements.derivative.on("elbow_rate"),
    ),
    "input": lambda: _trained(
        Pendulum(), MLP((6,), activation="relu"), dt=0.05, placement=placements.input
    ),
    "next_state": lambda: _trained(
        CartPole(), MLP((6,)), dt=0.05, placement=placements.next_state, substeps=2
    ),
    "held": lambda: _trained(Pendulum(), MLP((6, 4)), dt=0.05, hold=True, substeps=2),
    "memory": lambda: _trained(InputDelay(system=CartPole(), steps=2), MLP((5,)), dt=0.02),
    "sensed": lambda: _trained(Sensed(), MLP((5,)), dt=0.02),
    "discrete": lambda: _trained(Filter(), MLP((5,)), placement=placements.next_state),
    "physics": lambda: _trained(DoublePendulum(), None, dt=0.01),
    "affine": lambda: _trained(Pendulum(), MLP(()), dt=0.02),
    "module": lambda: _trained(
        Pendulum(), nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 1)), dt=0.02
    ),
    "mixer": lambda: _trained(Sensed(), Mixer(6, 1), dt=0.02),
}


@cache
def _made(name: str) -> HybridModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return MODELS[name]()


@pytest.fixture
def made():
    """A model by name; it must not be changed."""
    return _made


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> HybridModel:
    """Each of the models."""
    return _made(request.param)
