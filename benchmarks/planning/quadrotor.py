"""A quadrotor's plan with a network in its dynamics, beside the physics alone and other forms.

Back to level hover at the origin from a metre off, rolled, pitched and moving: N = 20 steps of
0.05 s, RK4, 2 × 64 tanh network with random weights in every stage, exact Hessian. A plan is a
cold `plan` by IPOPT to 1e-6; forms of the dynamics differ in how F and its derivatives are
computed, all else is the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import casadi as ca
import numpy as np
import torch

from benchmarks.figures import Row
from benchmarks.speed.cases import trained
from benchmarks.speed.sides import times
from hybridmodel import SQP, HybridModel, MultipleShooting, OptimalControlProblem, Quadratic
from hybridmodel.bridges.onnx_to_casadi import module_through_onnx
from hybridmodel.equations import step
from hybridmodel.planners.planner import Candidate, Plan, Planner, Status, Task
from hybridmodel.planners.shooting.dynamics import Dynamics, matrix_dynamics
from hybridmodel.planners.shooting.nonlinear import NonlinearProgram
from physics import Quadrotor
from residuals import MLP

N, DT = 20, 0.05
WHAT = f"quadrotor, N = {N}, network in every stage"
OURS = "ours"
ROUNDS, FEW = 15, 3
ITERATIONS = 100  # real-time iterations that are timed
_PAUSE = 0.02  # s before a plan, in which threads of the one before go to sleep
START = np.array(
    [1.0, -0.5, 0.7, 12 / 13, 3 / 13, -4 / 13, 0.0, 0.5, 0.2, -0.3, 0.3, -0.4, 0.2]
)  # tilted by 45°


def problem(*, hybrid: bool) -> OptimalControlProblem:
    system = Quadrotor()
    model = HybridModel(system, MLP((64, 64)) if hybrid else None, dt=DT)
    cost = Quadratic(
        system,
        state={"x": 5.0, "y": 5.0, "z": 5.0, "attitude": 2.0}
        | {f"velocity_{axis}": 0.5 for axis in "xyz"}
        | {f"rate_{axis}": 0.1 for axis in "xyz"},
        input={s.name: 0.05 for s in system.inputs},
        target=dict(zip((s.name for s in system.inputs), system.hover, strict=True)),
    )
    return OptimalControlProblem(trained(model), cost, horizon=N)


def rows(quick: bool) -> Iterator[Row]:
    rounds = FEW if quick else ROUNDS
    start = time.perf_counter()
    hybrid = MultipleShooting(problem(hybrid=True), samples=0)
    yield Row(f"{WHAT}: building the planner", time.perf_counter() - start, "s", "< 5")
    sides: dict[str, Planner] = {OURS: hybrid}
    for form in ("matrix", "kernel"):
        nominal = MultipleShooting(problem(hybrid=False), samples=0, form=form)
        sides[f"physics alone, {form}"] = nominal
    for form, make in FORMS.items():
        start = time.perf_counter()
        sides[form] = Formed(hybrid.problem, make(hybrid.problem.model))
        yield Row(f"{WHAT}: building it with {form}", time.perf_counter() - start, "s")
    seconds, plans = _timed(sides, rounds)
    yield from _compared(seconds, plans)
    with ProcessPoolExecutor(1, get_context("spawn"), _on_one_core) as pool:
        told = pool.submit(iterations, ITERATIONS).result()
    value, (low, high) = times(told)
    figure = f"{WHAT}: real-time iterations of SQP on one core"
    yield Row(figure, 1 / value, "Hz", "≥ 100", spread=(1 / high, 1 / low))


def _compared(seconds: Mapping[str, np.ndarray], plans: Mapping[str, Plan]) -> Iterator[Row]:
    ours = seconds[OURS]
    nominal = {name: found for name, found in seconds.items() if name.startswith("physics")}
    value, spread = times(ours / np.min([*nominal.values()], axis=0))
    figure = f"{WHAT}: plan / that of the physics alone in its faster form"
    yield Row(figure, value, "×", "≤ 2.5", spread=spread)
    for name, found in nominal.items():
        value, spread = times(ours / found * plans[name].iterations / plans[OURS].iterations)
        yield Row(f"{WHAT}: iteration / that of the {name}", value, "×", spread=spread)
    value, spread = times(np.min([seconds[form] for form in FORMS], axis=0) / ours)
    yield Row(f"{WHAT}: fastest of the other forms / ours", value, "×", "≥ 1", spread=spread)
    for name, plan in plans.items():
        value, (low, high) = times(seconds[name])
        figure = f"{WHAT}: a plan, {name}"
        yield Row(figure, 1e3 * value, "ms", spread=(1e3 * low, 1e3 * high))
        yield Row(f"{figure}, iterations", plan.iterations)
        yield Row(f"{figure}, cost", plan.cost)


def _timed(
    sides: Mapping[str, Planner], rounds: int
) -> tuple[dict[str, np.ndarray], dict[str, Plan]]:
    """Seconds by round, and a plan of each side; a round visits all of them in shuffled order."""
    generator = np.random.default_rng(0)
    plans = {name: planner.plan(START) for name, planner in sides.items()}
    for name, plan in plans.items():
        if plan.status is not Status.CONVERGED:
            raise RuntimeError(f"{WHAT}: {name} ended as {plan.status.value}")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in generator.permutation(list(sides)):
            time.sleep(_PAUSE)
            seconds[name].append(sides[name].plan(START).seconds)
    return {name: np.array(found) for name, found in seconds.items()}, plans


# -- other forms ---------------------------------------------------------------------------------


class Formed(Planner):
    """IPOPT with any dynamics, one attempt from x₀ at rest."""

    def __init__(self, of: OptimalControlProblem, dynamics: Dynamics) -> None:
        self.problem = of
        self._program = NonlinearProgram(
            of, dynamics, iterations=200, tolerance=1e-6, warm_barrier=1e-3
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


# -- real time -----------------------------------------------------------------------------------


def _on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    torch.set_num_threads(1)


def iterations(count: int) -> list[float]:
    """Seconds of real-time iterations, each from the state that the last plan leads to, off by
    noise of 1 %."""
    generator = np.random.default_rng(0)
    sqp = SQP(problem(hybrid=True), rti=True)
    plan, found = sqp.plan(START), []
    for _ in range(count):
        x0 = plan.x[1] + 0.01 * generator.normal(size=len(START)) * np.abs(START)
        plan = sqp.plan(x0, warm_start=plan.shift())
        if not plan.usable:
            raise RuntimeError(f"{WHAT}: a real-time iteration ended as {plan.status.value}")
        found.append(plan.seconds)
    return found
