"""Laws of a plan's derivatives: differences of plans made anew, the regulator's gain, learning."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import (
    CEM,
    ILQR,
    SQP,
    Cost,
    HybridModel,
    Learned,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
)
from hybridmodel.planners import Plan, Planner, Status
from hybridmodel.planners.sensitivity import differentiable, sensitivity
from hybridmodel.problem.risk import Worst
from hybridmodel.problem.stopping import Stop
from physics import Linear, Pendulum
from residuals import MLP, Ensemble

SYSTEM = Pendulum()
X0 = np.array([0.3, 0.1])
PI = np.array([2.0, 0.05])
H = 12


class Reaching(Cost):
    """(θ − π₀)² + 0.1 θ̇² + π₁ u²."""

    parameters = ("goal", "effort")

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return (x[0] - pi[0]) ** 2 + 0.1 * x[1] ** 2 + pi[1] * ca.sumsqr(u)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return 4 * (x[0] - pi[0]) ** 2 + x[1] ** 2


def model() -> HybridModel:
    given: Any = {"fit_parameters": ("mass", "damping"), "backend": "torch"}  # nothing to compile
    found = HybridModel(SYSTEM, MLP((5,)), dt=0.05, **given)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in found.residual.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return found


CONSTRAINED: dict[str, dict[str, Any]] = {
    "free": {"input_bounds": ([-50.0], [50.0])},
    "input bound": {},
    "state bound": {"input_bounds": ([-20.0], [20.0]), "state_bounds": ([-10, -2.0], [10, 2.0])},
    "path": {"inequality": lambda x, u, pi: x[1] + 0.1 * u[0] - 0.3 * pi[0]},
    "equality": {"input_bounds": ([-20.0], [20.0]), "terminal_equality": lambda x, pi: x[0] - 0.5},
}


@cache
def solved(constraint: str) -> tuple[OptimalControlProblem, SQP, Plan]:
    problem = OptimalControlProblem(model(), Reaching(), horizon=H, **CONSTRAINED[constraint])
    planner = SQP(problem, tolerance=1e-10)
    return problem, planner, planner.plan(X0, parameters=PI)


def differences(planner: Planner, change: Any, eps: float = 1e-5) -> np.ndarray:
    """(u(+ε) − u(−ε)) / 2ε, where change(ε) gives x0 and π and may move the model.

    Planned from the start: a warm start that oversteps by less than what counts comes back.
    """
    ends = []
    for e in (eps, -eps):
        x0, pi = change(e)
        ends.append(planner.plan(x0, parameters=pi).u)
    change(0.0)
    return (ends[0] - ends[1]) / (2 * eps)


@pytest.mark.parametrize("constraint", CONSTRAINED)
def test_derivatives_are_differences_of_plans_made_anew(constraint: str) -> None:
    problem, planner, plan = solved(constraint)
    found = sensitivity(problem, plan, parameters=PI)
    bound = {"input bound": ("u", plan.u), "state bound": ("x", plan.x)}.get(constraint)
    if bound is not None:
        assert np.abs(plan.multipliers[bound[0]][1:]).max() > 1e-2
    if constraint == "path":
        assert plan.multipliers["inequality"].max() > 1e-2
    for i in range(2):
        by_x0 = differences(planner, lambda e, i=i: (X0 + e * np.eye(2)[i], PI))
        assert found.x0[..., i] == pytest.approx(by_x0, rel=1e-5, abs=1e-6)
        by_pi = differences(planner, lambda e, i=i: (X0, PI + e * np.eye(2)[i]))
        whole = found.parameters.sum(2)[..., i]
        assert whole == pytest.approx(by_pi, rel=1e-5, abs=1e-5 * np.abs(by_pi).max())


def test_one_step_of_the_parameters_moves_the_plan_alone() -> None:
    problem, planner, plan = solved("free")
    found = sensitivity(problem, plan, parameters=PI)
    rows = np.tile(PI, (H + 1, 1))
    at = np.zeros_like(rows)
    at[4, 0] = 1.0
    wanted = differences(planner, lambda e: (X0, rows + e * at))
    assert found.parameters[..., 4, 0] == pytest.approx(wanted, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("constraint", ["input bound", "state bound"])
def test_gradients_reach_the_parameters_and_the_weights(constraint: str) -> None:
    problem, planner, plan = solved(constraint)
    own = problem.model
    way = torch.linspace(-1, 1, H, dtype=torch.float64)[:, None]
    x0, pi = (torch.tensor(v, requires_grad=True) for v in (X0, PI))
    u = differentiable(problem, plan, x0=x0, parameters=pi)
    assert torch.equal(u.detach(), torch.tensor(plan.u))
    own.zero_grad()
    (way * u).sum().backward()
    found = sensitivity(problem, plan, parameters=PI)
    along = way.numpy()
    assert x0.grad.numpy() == pytest.approx(np.einsum("ku,kui->i", along, found.x0), rel=1e-8)
    whole = np.einsum("ku,kuji->i", along, found.parameters)
    assert pi.grad.numpy() == pytest.approx(whole, rel=1e-8)
    jacobian = torch.autograd.functional.jacobian(own.torch_equations.constrain, own.theta.detach())
    of_theta = np.einsum("ku,kui->i", along, found.p) @ jacobian.numpy()
    assert own.theta.grad.numpy() == pytest.approx(of_theta, rel=1e-8)
    first = next(iter(own.residual.parameters()))
    for tensor, i in ((own.theta, 0), (own.theta, 1), (first, 0), (first, first.numel() - 1)):
        before = tensor.detach().flatten()[i].item()

        def moved(e: float, t: Any = tensor, i: int = i, before: float = before) -> tuple[Any, Any]:
            t.data.view(-1)[i] = before + e
            return X0, PI

        wanted = float((along * differences(planner, moved)).sum())
        assert tensor.grad.flatten()[i].item() == pytest.approx(wanted, rel=1e-4, abs=1e-7)


def test_the_first_block_in_x0_is_the_gain_of_the_regulator() -> None:
    oscillator = Linear(A=((0.0, 1.0), (-1.0, -0.2)), B=((0.0,), (1.0,)))
    cost = Quadratic(oscillator, state={"x0": 1.0, "x1": 0.1}, input={"u0": 0.05})
    problem = OptimalControlProblem(
        HybridModel(oscillator, dt=0.1, backend="torch"),
        cost,
        horizon=10,
        input_bounds=([-50.0], [50.0]),
    )
    plan = SQP(problem).plan(np.array([1.0, -0.5]))
    A, B = (m.numpy() for m in problem.model.linearize(*(torch.zeros(n).double() for n in (2, 1))))
    Q = np.diag([1.0, 0.1])
    P, K = Q, np.zeros((1, 2))
    for _ in range(10):
        K = np.linalg.solve(0.05 + B.T @ P @ B, B.T @ P @ A)
        P = Q + A.T @ P @ (A - B @ K)
    assert sensitivity(problem, plan).x0[0] == pytest.approx(-K, abs=1e-10)


@pytest.mark.parametrize("planner", [MultipleShooting, ILQR])
@pytest.mark.parametrize("constraint", ["input bound", "state bound"])
def test_planners_with_multipliers_agree(planner: type[Planner], constraint: str) -> None:
    problem, _, plan = solved(constraint)
    options: dict[str, Any] = {"tolerance": 1e-9}
    if planner is ILQR:
        options["feasibility"] = 1e-9
    other = planner(problem, **options).plan(X0, parameters=PI)
    mine, theirs = (sensitivity(problem, p, parameters=PI) for p in (plan, other))
    for name in ("x0", "parameters", "p"):
        wanted = getattr(mine, name)
        near = pytest.approx(wanted, rel=1e-3, abs=1e-3 * np.abs(wanted).max())
        assert getattr(theirs, name) == near


@pytest.mark.parametrize("constraint", ["input bound", "equality"])
def test_the_cost_of_the_optimum_has_its_total_derivative(constraint: str) -> None:
    problem, planner, plan = solved(constraint)
    x0, pi = (torch.tensor(v, requires_grad=True) for v in (X0, PI))
    u = differentiable(problem, plan, x0=x0, parameters=pi)
    cost = problem.objective(x0, u, pi.expand(H + 1, -1))[0]
    found = torch.autograd.grad(cost, (x0, pi))
    for i in range(2):
        for grad, change in ((found[0], (1, 0)), (found[1], (0, 1))):
            e = 1e-5 * np.eye(2)[i]
            ends = [
                planner.plan(X0 + s * change[0] * e, parameters=PI + s * change[1] * e).cost
                for s in (1, -1)
            ]
            assert grad[i].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_gradients_reach_a_learned_cost() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(2, 4, dtype=torch.float64),
        torch.nn.Tanh(),
        torch.nn.Linear(4, 1, dtype=torch.float64),
    )

    class Shaped(Reaching):
        def __init__(self) -> None:
            self.shape = Learned(network)

        def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
            return super().stage(x, u, k, pi) + self.shape(x) ** 2

    problem = OptimalControlProblem(
        HybridModel(SYSTEM, dt=0.05, backend="torch"),
        Shaped(),
        horizon=6,
        input_bounds=([-50.0], [50.0]),
    )
    planner = SQP(problem, tolerance=1e-10)
    plan = planner.plan(X0, parameters=PI)
    differentiable(problem, plan, parameters=PI)[2, 0].backward()
    weight = network[0].weight
    before = weight[1, 0].item()

    def moved(e: float) -> tuple[Any, Any]:
        weight.data[1, 0] = before + e
        return X0, PI

    wanted = differences(planner, moved)[2, 0]
    assert abs(wanted) > 1e-3
    assert weight.grad[1, 0].item() == pytest.approx(wanted, rel=1e-5)


def test_a_weight_and_a_goal_are_learned_from_a_plan() -> None:
    problem, planner, plan = solved("free")
    shown, guess = torch.tensor(plan.u), torch.tensor(np.log([1.2, 0.3]), requires_grad=True)
    optimiser = torch.optim.LBFGS([guess], max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        pi = guess.exp()
        found = planner.plan(X0, parameters=pi.detach().numpy(), warm_start=plan)
        error = (differentiable(problem, found, parameters=pi) - shown).square().sum()
        error.backward()
        return error

    optimiser.step(loss)
    assert guess.detach().exp().numpy() == pytest.approx(PI, rel=1e-3)


def test_a_mass_is_learned_from_a_plan() -> None:
    """By Gauss–Newton on what two starts were planned to do."""
    known, own = (
        HybridModel(SYSTEM, dt=0.05, fit_parameters=("mass",), backend="torch") for _ in range(2)
    )
    with torch.no_grad():
        known.theta += np.log(1.3)
    starts = (X0, -X0)
    bounds: Any = {"input_bounds": ([-50.0], [50.0])}
    teacher, learner = (
        SQP(OptimalControlProblem(m, Reaching(), horizon=H, **bounds), tolerance=1e-10)
        for m in (known, own)
    )
    shown = [teacher.plan(x, parameters=PI).u for x in starts]
    for _ in range(6):
        errors, slopes = [], []
        for x, u in zip(starts, shown, strict=True):
            plan = learner.plan(x, parameters=PI)
            by_p = sensitivity(learner.problem, plan, parameters=PI).p.ravel()
            errors.append((plan.u - u).ravel())
            slopes.append(by_p * own.physical().item())  # p = p₀ exp ϑ
        e, slope = np.concatenate(errors), np.concatenate(slopes)
        with torch.no_grad():
            own.theta -= float(slope @ e / (slope @ slope))
    assert own.parameter_values()["mass"] == pytest.approx(1.3, rel=1e-6)


def test_backends_do_not_matter() -> None:
    found = []
    for backend in ("torch", "kernel"):
        own = HybridModel(SYSTEM, dt=0.05, backend=backend)
        problem = OptimalControlProblem(own, Reaching(), horizon=4)
        found.append(sensitivity(problem, SQP(problem).plan(X0, parameters=PI), parameters=PI).x0)
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_what_has_no_derivative_is_refused() -> None:
    problem, _, plan = solved("input bound")
    late = dataclasses.replace(plan, multipliers={})
    with pytest.raises(ValueError, match=r"plan must have multipliers.*SQP and ILQR give them"):
        differentiable(problem, late, parameters=PI)
    sampled = CEM(problem, samples=20, elites=4, iterations=2).plan(X0, parameters=PI)
    with pytest.raises(ValueError, match=r"plan must have converged.*BUDGET"):
        differentiable(problem, sampled, parameters=PI)
    with pytest.raises(ValueError, match="plan must be optimal for these parameters"):
        differentiable(problem, plan, parameters=PI + 0.3)
    with pytest.raises(ValueError, match=r"x0 must be .* which the plan was made for"):
        differentiable(problem, plan, parameters=PI, x0=torch.tensor(X0 + 0.1))
    with pytest.raises(ValueError, match=r"x0 must be a float64 tensor of shape \(2,\)"):
        differentiable(problem, plan, parameters=PI, x0=torch.tensor(X0).float())
    with pytest.raises(ValueError, match="plan must have u"):
        differentiable(problem, dataclasses.replace(plan, u=plan.u[:-1]), parameters=PI)
    with pytest.raises(ValueError, match="parameters must be finite"):
        differentiable(problem, plan)


def test_what_follows_from_the_plan_itself_is_refused() -> None:
    own = HybridModel(SYSTEM, Ensemble((4,), count=2), dt=0.05, backend="torch")
    for options in ({"risk": Worst()}, {"stop": Stop(1.0)}):
        problem = OptimalControlProblem(own, Reaching(), horizon=3, **options)
        u = np.zeros((3, 1))
        cost, x, _ = problem.evaluate(X0, u, problem.problem_parameters(PI))
        plan = Plan(u=u, x=x, cost=cost, status=Status.CONVERGED)
        with pytest.raises(ValueError, match=r"problem: .* not derived"):
            differentiable(problem, plan, parameters=PI)


def test_a_constraint_that_only_just_holds_is_refused_by_name() -> None:
    _, _, plan = solved("free")
    k = int(np.abs(plan.u).argmax())
    edge = float(plan.u[k, 0])
    low, high = (edge, 50.0) if edge < 0 else (-50.0, edge)
    tight = OptimalControlProblem(model(), Reaching(), horizon=H, input_bounds=([low], [high]))
    found = SQP(tight, tolerance=1e-9).plan(X0, parameters=PI)
    with pytest.raises(ValueError, match=f"input_bounds .* weakly active at step {k}"):
        sensitivity(tight, found, parameters=PI)


def test_a_bounded_rate_of_the_input_counts() -> None:
    problem = OptimalControlProblem(model(), Reaching(), horizon=H, input_rate=[7.0])
    planner = SQP(problem, tolerance=1e-10)
    plan = planner.plan(X0, parameters=PI)
    assert plan.multipliers["inequality"].max() > 1e-2
    found = sensitivity(problem, plan, parameters=PI)
    for i in range(3):  # the last one is the input before
        e = 1e-5 * np.eye(3)[i]
        ends = [planner.plan(plan.x[0] + s * e, parameters=PI).u for s in (1, -1)]
        assert found.x0[..., i] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-6)


def test_constraints_that_depend_on_each_other_are_refused() -> None:
    problem = OptimalControlProblem(
        model(),
        Reaching(),
        horizon=H,
        terminal_equality=lambda x, pi: ca.vertcat(x[0] - 0.5, 2 * x[0] - 1.0),
        input_bounds=([-20.0], [20.0]),
    )
    plan = MultipleShooting(problem).plan(X0, parameters=PI)
    with pytest.raises(ValueError, match="plan has no derivative: its KKT system is singular"):
        sensitivity(problem, plan, parameters=PI)
