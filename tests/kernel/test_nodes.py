"""All nodes in one call are the step's own CasADi Function, node by node, with all derivatives."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import HybridModel, placement
from hybridmodel.kernel.nodes import Nodes, nodes_function
from hybridmodel.kernel.scalars import NotLoweredError
from physics import (
    CartPole,
    DoublePendulum,
    InputDelay,
    Pendulum,
    Quadrotor,
    Signal,
    System,
    from_casadi,
    integrators,
)
from residuals import GRU, MLP, Ensemble, Supported

N = 3


@dataclass(frozen=True, kw_only=True)
class Towed(System):
    """A pendulum on a pivot that is pulled sideways."""

    states: tuple[Signal, ...] = (Signal("angle", angle=True), Signal("rate", rate_of="angle"))
    inputs: tuple[Signal, ...] = (Signal("torque"),)
    exogenous: tuple[Signal, ...] = (Signal("pull", "m/s²"),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.vertcat(x[1], u[0] - 9.81 * ca.sin(x[0]) - d[0] * ca.cos(x[0]))


class Bilinear(torch.nn.Module):
    """A product of a matrix and a vector that both depend on z."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.nn.Linear(4, 3, dtype=torch.float64)
        self.vector = torch.nn.Linear(4, 3, dtype=torch.float64)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        row = torch.tanh(self.matrix(z)).unflatten(-1, (1, 3))
        return (row @ self.vector(z)[..., None])[..., 0]


def logistic() -> System:
    """x⁺ = x + (1 − x²) sin u: a discrete system."""
    x, u = ca.SX.sym("x", 2), ca.SX.sym("u")
    after = ca.vertcat(x[0] + (1 - x[1] ** 2) * ca.sin(u), x[0] * x[1])
    return from_casadi(ca.Function("f", [x, u], [after], ["x", "u"], ["after"]), dt=0.1)


def trained(
    system: System,
    residual: torch.nn.Module | None = None,
    *,
    dt: float | None = 0.02,
    **keywords: Any,
) -> HybridModel:
    """A model with weights that matter."""
    model = HybridModel(system, residual, dt=dt, **keywords)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in [] if model.residual is None else model.residual.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return model


MODELS = {
    "every stage": lambda: trained(CartPole(), MLP((8, 8))),
    "held": lambda: trained(Quadrotor(), MLP((6,), limit=1.0), hold=True),
    "recurrent": lambda: trained(CartPole(), GRU(4)),
    "ensemble": lambda: trained(CartPole(), Ensemble((5, 5), count=3)),
    "supported": lambda: trained(CartPole(), Supported(MLP((5,))), integrator=integrators.euler),
    "physics alone": lambda: trained(Pendulum(), fit_parameters=("mass", "length")),
    "dissipation": lambda: trained(
        DoublePendulum(), MLP((4,)), placement=placement.dissipation, hold=True
    ),
    "bilinear": lambda: trained(Pendulum(), Bilinear(), integrator=integrators.euler),
    "called": lambda: trained(CartPole(), fit_parameters=("pole_mass",), substeps=6),
    "next state": lambda: trained(CartPole(), MLP((5,)), placement=placement.next_state),
    "discrete": lambda: trained(logistic(), MLP((5,)), dt=None, placement=placement.next_state),
    "exogenous": lambda: trained(Towed(), MLP((5,), activation="relu")),
    "memory": lambda: trained(InputDelay(system=CartPole(), steps=2), MLP((5,))),
    "parameters": lambda: trained(
        CartPole(),
        MLP((5,), activation="silu"),
        placement=placement.parameters,
        integrator=integrators.euler,
        fit_parameters=tuple(CartPole().parameters)[:2],
    ),
}


def at_random(model: HybridModel, count: int = N) -> list[np.ndarray]:
    """X, U, p, D and multipliers Λ."""
    generator = np.random.default_rng(1)
    X = 0.3 * generator.normal(size=(model.nx, count))
    for row in model.system.quaternion_rows:
        X[row : row + 4] += [[1.0], [0.0], [0.0], [0.0]]
    U, D = (generator.normal(size=(n, count)) for n in (model.system.nu, model.system.nd))
    p = model.physical().detach().numpy()[:, None]
    return [X, U, p, D, generator.normal(size=X.shape)]


def mapped(model: HybridModel, count: int = N) -> ca.Function:
    """The same by the step's Function, node by node."""
    X, U, p, D = symbols(model, count)[:4]
    after = model.step_function().map(count)(X, U, ca.repmat(p, 1, count), D)
    return ca.Function("mapped", [X, U, p, D], [after])


def symbols(model: HybridModel, count: int) -> list[ca.MX]:
    shapes = [(model.nx, count), (model.system.nu, count), (len(model.fit_parameters), 1)]
    shapes += [(model.system.nd, count), (model.nx, count)]
    return [ca.MX.sym(f"s{i}", *shape) for i, shape in enumerate(shapes)]


def derived(function: ca.Function, model: HybridModel) -> ca.Function:
    """Values, Jacobian, Jᵀλ and the Hessian of λᵀF in (X, U, p, D)."""
    given = symbols(model, function.size2_in(0))
    after, z = function(*given[:4]), ca.veccat(*given[:4])
    lagrangian = ca.dot(given[4], after)
    hessian, gradient = ca.hessian(lagrangian, z)
    return ca.Function("derived", given, [after, ca.jacobian(after, z), gradient, hessian])


@pytest.mark.parametrize("name", MODELS)
def test_values_and_both_derivatives_are_those_of_the_step_function(name: str) -> None:
    model = MODELS[name]()
    nodes = Nodes(model, N)
    given = at_random(model)
    found = derived(nodes.function, model)(*given)
    for own, exact in zip(found, derived(mapped(model), model)(*given), strict=True):
        scale = np.abs(exact.full()).max(initial=1e-300)
        np.testing.assert_allclose(own.full(), exact.full(), rtol=0, atol=1e-12 * scale)


def test_more_nodes_than_fill_a_row_of_lanes() -> None:
    model = MODELS["exogenous"]()
    count = 37
    nodes = Nodes(model, count)
    given = at_random(model, count)
    found = derived(nodes.function, model)(*given)
    for own, exact in zip(found, derived(mapped(model, count), model)(*given), strict=True):
        np.testing.assert_allclose(own.full(), exact.full(), rtol=0, atol=1e-12)


def test_new_weights_count_without_building_anew() -> None:
    model = MODELS["every stage"]()
    nodes = Nodes(model, N)
    call, given = derived(nodes.function, model), at_random(model)
    before = [v.full() for v in call(*given)]
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    for kind, (own, exact) in enumerate(
        zip(call(*given), derived(mapped(model), model)(*given), strict=True)
    ):
        np.testing.assert_allclose(own.full(), exact.full(), rtol=0, atol=1e-12)
        assert np.abs(own.full() - before[kind]).max() > 1e-6
    for weight in model.parameters():
        weight.data = 0.5 * weight.data  # not seen by torch's counter of changes
    for own, exact in zip(call(*given), derived(mapped(model), model)(*given), strict=True):
        np.testing.assert_allclose(own.full(), exact.full(), rtol=0, atol=1e-12)


def swing(function: ca.Function, count: int) -> ca.Function:
    """Multiple shooting with a limited force, by IPOPT and the exact Hessian."""
    X, U = ca.MX.sym("X", 4, count + 1), ca.MX.sym("U", 1, count)
    after = function(X[:, :-1], U, ca.DM(0, 1), ca.DM(0, count))
    nlp = {
        "x": ca.veccat(X, U),
        "f": ca.sumsqr(X) + 0.01 * ca.sumsqr(U),
        "g": ca.veccat(X[:, 0], X[:, 1:] - after),
    }
    quiet = {"print_time": False, "ipopt": {"print_level": 0, "sb": "yes", "tol": 1e-9}}
    return ca.nlpsol("swing", "ipopt", nlp, quiet)


def solved(solver: ca.Function, count: int) -> dict[str, ca.DM]:
    start = np.concatenate([[0.0, 0.6, 0.0, 0.0], np.zeros(4 * count)])
    bound = np.concatenate([np.full(4 * count + 4, np.inf), np.full(count, 8.0)])
    return solver(x0=0, lbg=start, ubg=start, lbx=-bound, ubx=bound)


def test_ipopt_takes_the_same_path() -> None:
    model, count = trained(CartPole(), MLP((8,)), dt=0.05), 20
    nodes = Nodes(model, count)
    solvers = [swing(function, count) for function in (nodes.function, mapped(model, count))]
    own, exact = (solved(solver, count)["x"].full() for solver in solvers)
    np.testing.assert_allclose(own, exact, rtol=0, atol=1e-8)
    first, second = (solver.stats() for solver in solvers)
    assert first["success"]
    assert first["iter_count"] == second["iter_count"] > 5


def test_a_solver_outlives_all_but_the_model() -> None:
    model, count = trained(CartPole(), MLP((4,)), dt=0.05), 10
    solver = swing(nodes_function(model, count), count)
    gc.collect()
    assert solved(solver, count)["f"] > 0
    assert solver.stats()["success"]
    assert nodes_function(model, count) is nodes_function(model, count)


def test_what_is_gone_is_an_error_and_no_crash() -> None:
    model = trained(Pendulum())
    nodes = Nodes(model, N)
    function, given = nodes.function, at_random(model)[:4]
    function(*given)
    del nodes
    gc.collect()
    with pytest.raises(RuntimeError, match="deleted"):
        function(*given)


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(ValueError, match="count"):
        Nodes(trained(Pendulum()), 0)
    with pytest.raises(ValueError, match="float32"):
        Nodes(trained(Pendulum(), MLP((4,))).float(), N)
    with pytest.raises(NotLoweredError, match="600"):
        Nodes(trained(Pendulum(), MLP((600, 600))), N)
