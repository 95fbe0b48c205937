"""The quadrotor that `benchmarks.planning.quadrotor` plans for, and forms of its dynamics."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import casadi as ca
import numpy as np
import torch

from benchmarks.speed.cases import trained
from hybridmodel import HybridModel, OptimalControlProblem, Quadratic
from hybridmodel.bridges.onnx_to_casadi import module_through_onnx
from hybridmodel.equations import step
from hybridmodel.planners.planner import Candidate, Plan, Planner, Status, Task
from hybridmodel.planners.shooting.dynamics import Dynamics, matrix_dynamics
from hybridmodel.planners.shooting.nonlinear import NonlinearProgram
from physics import Quadrotor
from residuals import MLP

N, DT = 20, 0.05
START = np.array(
    [1.0, -0.5, 0.7, 12 / 13, 3 / 13, -4 / 13, 0.0, 0.5, 0.2, -0.3, 0.3, -0.4, 0.2]
)  # tilted by 45°


def problem(*, hybrid: bool, hold: bool = False, horizon: int = N) -> OptimalControlProblem:
    system = Quadrotor()
    model = HybridModel(system, MLP((64, 64)) if hybrid else None, dt=DT, hold=hold)
    cost = Quadratic(
        system,
        state={"x": 5.0, "y": 5.0, "z": 5.0, "attitude": 2.0}
        | {f"velocity_{axis}": 0.5 for axis in "xyz"}
        | {f"rate_{axis}": 0.1 for axis in "xyz"},
        input={s.name: 0.05 for s in system.inputs},
        target=dict(zip((s.name for s in system.inputs), system.hover, strict=True)),
    )
    return OptimalControlProblem(trained(model), cost, horizon=horizon)


class Formed(Planner):
    """IPOPT with any dynamics, one attempt from x₀ at rest."""

    def __init__(
        self, of: OptimalControlProblem, dynamics: Dynamics, tolerance: float = 1e-6
    ) -> None:
        self.problem = of
        self._program = NonlinearProgram(
            of, dynamics, iterations=200, tolerance=tolerance, warm_barrier=1e-3
        )

    def search(self, task: Task) -> Candidate:
        H, nu = self.problem.horizon, self.problem.model.system.nu
        x = np.tile(task.x0, (H + 1, 1))
        rest = Plan(u=np.zeros((H, nu)), x=x, cost=np.nan, status=Status.BUDGET)
        return self._program.solve(rest, task, warm=False)


def _mapped(form: str, step: ca.Function) -> Dynamics:
    """Of a step (x, u, p, d) with its weights written into it."""
    many = step.map(N)
    return Dynamics(
        form,
        lambda X, U, p, D, w: many(X, U, ca.repmat(p, 1, N), D),
        lambda: np.zeros(0),
    )


def _through_onnx(model: HybridModel) -> Dynamics:
    """The network written as ONNX and read by CasADi."""
    assert model.residual is not None
    network = module_through_onnx(model.residual, (len(model.feature_signals),))
    x, u = ca.MX.sym("x", model.nx), ca.MX.sym("u", model.system.nu)
    p, d = ca.MX.sym("p", len(model.fit_parameters)), ca.MX.sym("d", model.system.nd)
    velocity = ca.DM(model.velocity.numpy())
    after = step(model.equations, network, model.scheme, x, u, p, d, dt=model.dt, velocity=velocity)
    return _mapped("ONNX", ca.Function("F", [x, u, p, d], [after]))


FORMS: Mapping[str, Callable[[HybridModel], Dynamics]] = {
    "MX": lambda model: matrix_dynamics(model, N),
    "MX, weights baked in": lambda model: _mapped("baked MX", model.step_function()),
    "SX, weights baked in": lambda model: _mapped("baked SX", model.step_function().expand()),
    "ONNX": _through_onnx,
}


def l4casadi_plan() -> Callable[[], np.ndarray]:
    """A plan a call: whether it converged, iterations, cost."""
    import l4casadi  # pyright: ignore[reportMissingImports] - in an environment of its own

    of = problem(hybrid=True)
    model = of.model
    assert model.residual is not None
    network: Any = l4casadi.L4CasADi(
        _Rows(deepcopy(model.residual).float()),
        batched=True,
        name="quadrotor",
        build_dir=tempfile.mkdtemp(),
        generate_adj1=False,
        generate_jac_adj1=False,
        generate_jac_jac=True,
    )
    pieces = model.equations.map(lambda piece: piece and piece.map(N))
    x, u = ca.MX.sym("x", model.nx, N), ca.MX.sym("u", model.system.nu, N)
    p, d = ca.MX.sym("p", len(model.fit_parameters), N), ca.MX.sym("d", model.system.nd, N)
    velocity = ca.DM(model.velocity.numpy())
    after = step(
        pieces, lambda z: network(z.T).T, model.scheme, x, u, p, d, dt=model.dt, velocity=velocity
    )
    many = ca.Function("F", [x, u, p, d], [after])
    dynamics = Dynamics(
        "L4CasADi", lambda X, U, p, D, w: many(X, U, ca.repmat(p, 1, N), D), lambda: np.zeros(0)
    )
    planner = Formed(of, dynamics, tolerance=1e-5)

    def call() -> np.ndarray:
        plan = planner.plan(START)
        return np.array([plan.status is Status.CONVERGED, plan.iterations, plan.cost])

    return call


class _Rows(torch.nn.Module):
    """A network that TorchScript sees the layers of, and nothing else."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.network(z)
