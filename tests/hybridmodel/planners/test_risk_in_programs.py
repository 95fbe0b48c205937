"""Laws of nonlinear programs in which every member of an ensemble goes its own way."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import CEM, GradientDescent, HybridModel, MultipleShooting, OptimalControlProblem
from hybridmodel.costs import Quadratic
from hybridmodel.planners import Plan, Planner, Status
from hybridmodel.planners.collocation import Collocation
from hybridmodel.planners.planner import Task
from hybridmodel.problem.risk import Expected, MeanDeviation, Risk, TailMean, Worst
from physics import Pendulum
from residuals import Ensemble, Supported

H, E, TOLERANCE = 6, 3, 1e-9
START = np.array([0.2, 0.0])
RISKS = (Expected(), Worst(), TailMean(0.5), MeanDeviation(2.0))
COST = Quadratic(
    Pendulum(), state={"angle": 1.0, "rate": 0.1}, input={"torque": 0.01}, target={"angle": 3.0}
)


def ensemble() -> HybridModel:
    """With members that disagree."""
    model = HybridModel(Pendulum(), Ensemble((6,), count=E), dt=0.05, backend="torch")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        assert model.residual is not None
        for weight in model.residual.parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            weight.add_(0.3 * noise)
    return model


MODEL = ensemble()


def problem(risk: Risk | None, model: HybridModel = MODEL, **keywords) -> OptimalControlProblem:
    return OptimalControlProblem(model, COST, horizon=H, risk=risk, **keywords)


def shooting(of: OptimalControlProblem) -> MultipleShooting:
    return MultipleShooting(of, tolerance=TOLERANCE, samples=0)


def each(of: OptimalControlProblem, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
    """Cost and violation of every member (E,)."""
    x0, u = torch.tensor(plan.x[0]), torch.tensor(plan.u)
    with torch.no_grad():
        ways = of.model.rollout(x0, u, member="each")
        return of.judged(ways, u, torch.zeros(H + 1, of.n_parameters, dtype=torch.float64))


def solved(planner: MultipleShooting, plan: Plan) -> float:
    """f of the program, solved from a plan."""
    task = Task(
        x0=plan.x[0],
        pi=np.zeros((H + 1, planner.problem.n_parameters)),
        previous_input=None,
        guess=plan,
        seed=0,
        started=0.0,
        deadline=None,
    )
    program = planner._program
    arguments = program.transcription.arguments(plan, task, warm=True)
    found = program._solver.solve(arguments, task, warm=True)
    nlp = program.transcription.nlp
    value = ca.Function("f", [nlp["x"], nlp["p"]], [nlp["f"]])
    return float(value(found.z, arguments["p"]))


@pytest.mark.parametrize("risk", RISKS, ids=str)
def test_the_program_has_the_cost_of_its_plan_and_no_other_planner_betters_it(risk: Risk) -> None:
    of = problem(risk)
    planner = shooting(of)
    plan = planner.plan(START)
    assert plan.status is Status.CONVERGED
    assert plan.cost == pytest.approx(float(risk.of(each(of, plan)[0])), rel=1e-10)
    assert solved(planner, plan) == pytest.approx(plan.cost, rel=1e-7)
    others: tuple[Planner, ...] = (
        GradientDescent(of, iterations=12, starts=1),
        CEM(of, samples=40, elites=6, iterations=3),
    )
    for other in others:
        assert other.plan(START, warm_start=plan).cost >= plan.cost * (1 - 1e-7)


@pytest.mark.parametrize("risk", RISKS, ids=str)
def test_members_that_agree_are_planned_for_as_one(risk: Risk) -> None:
    agreed = HybridModel(Pendulum(), Ensemble((6,), count=E), dt=0.05)
    plain = shooting(problem(None, agreed)).plan(START)
    plan = shooting(problem(risk, agreed)).plan(START)
    assert plan.status is Status.CONVERGED
    assert plan.cost == pytest.approx(plain.cost, rel=1e-7)
    assert plan.u == pytest.approx(plain.u, abs=1e-4)


def test_risks_are_ordered_as_their_plans() -> None:
    plans = {r: shooting(problem(r)).plan(START) for r in (None, TailMean(1.0), *RISKS)}
    worst = {r: problem(Worst()).evaluate(START, plan.u)[0] for r, plan in plans.items()}
    assert worst[Worst()] == min(worst.values())
    assert worst[Worst()] < worst[None]
    mean = {r: problem(Expected()).evaluate(START, plan.u)[0] for r, plan in plans.items()}
    assert mean[Expected()] <= min(mean.values()) + 1e-7
    assert plans[TailMean(1.0)].cost == pytest.approx(plans[Expected()].cost, rel=1e-8)


@pytest.mark.parametrize("risk", RISKS, ids=str)
def test_bounds_and_constraints_hold_for_every_member(risk: Risk) -> None:
    of = problem(
        risk,
        input_bounds=([-8.0], [8.0]),
        state_bounds=([-np.inf, -np.inf], [np.inf, 0.9]),
        inequality=lambda x, u, pi: u[0] * x[1] - 4.0,
        terminal_inequality=lambda x, pi: 0.35 - x[0],
    )
    plan = shooting(of).plan(START)
    assert plan.status is Status.CONVERGED
    assert float(each(of, plan)[1].max()) < 1e-7
    free = shooting(problem(risk)).plan(START)
    assert float(each(of, free)[1].max()) > 1e-2  # they do forbid something
    if risk == Expected():  # what holds for the mean does not for all
        mean = shooting(problem(None, state_bounds=([-np.inf, -np.inf], [np.inf, 0.9]))).plan(START)
        assert float(each(of, mean)[1].max()) > 1e-4


@pytest.mark.parametrize("risk", RISKS, ids=str)
def test_own_multipliers_start_again_and_those_of_other_problems_do_no_harm(risk: Risk) -> None:
    planner = shooting(problem(risk))
    plan = planner.plan(START)
    again = planner.plan(START, warm_start=plan)
    bare = Plan(u=plan.u, x=plan.x, cost=plan.cost, status=plan.status)
    assert again.status is Status.CONVERGED
    assert again.cost <= plan.cost
    assert again.iterations < planner.plan(START, warm_start=bare).iterations
    assert planner.plan(START + 0.01, warm_start=plan.shift()).status is Status.CONVERGED
    mean = shooting(problem(None)).plan(START)
    assert planner.plan(START, warm_start=mean).cost == pytest.approx(plan.cost, rel=1e-7)
    assert planner.plan(START) == plan


@pytest.mark.parametrize("risk", RISKS, ids=str)
def test_derivatives_of_the_program_are_those_of_its_values(risk: Risk) -> None:
    # a row of the risk has the costs of whole horizons in it, where sparsity is easily lost
    transcription = shooting(problem(risk))._program.transcription
    x, p, g = (transcription.nlp[name] for name in "xpg")
    rows = ca.Function("rows", [x, p], [g])
    slopes = ca.Function("slopes", [x, p], [ca.jacobian(g, x)])
    generator = np.random.default_rng(0)
    at, along = generator.normal(size=(2, x.numel()))
    numbers = np.concatenate([transcription.dynamics.weights(), transcription.problem.weights()])
    ends = [rows(at + s * 1e-6 * along, numbers).full() for s in (1, -1)]
    wanted = (ends[0] - ends[1]) / 2e-6
    assert (slopes(at, numbers) @ along).full() == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_members_behind_a_support_and_new_weights_are_followed() -> None:
    """A residual without a perceptron for each member is asked for all of them."""
    inner = MODEL.residual
    assert isinstance(inner, Ensemble)
    everywhere = HybridModel(Pendulum(), Supported(inner), dt=0.05)
    of, plain = problem(Worst(), everywhere), problem(Worst())
    planner = shooting(of)
    plan = planner.plan(START)
    assert plan.cost == pytest.approx(shooting(plain).plan(START).cost, rel=1e-9)
    program = planner._program
    with torch.no_grad():
        assert everywhere.residual is not None
        for weight in everywhere.residual.parameters():
            weight.mul_(0.5)
    moved = planner.plan(START)
    assert planner._program is program
    assert moved == shooting(of).plan(START)
    assert np.abs(moved.u - plan.u).max() > 1e-3


@pytest.mark.parametrize("risk", [Expected(), Worst()], ids=str)
def test_collocation_plans_for_members_too(risk: Risk) -> None:
    of = problem(risk)
    plan = Collocation(of, tolerance=TOLERANCE, samples=0).plan(START)
    assert plan.status is Status.CONVERGED
    assert plan.cost == pytest.approx(shooting(of).plan(START).cost, rel=1e-7)


def test_kernels_of_members_make_the_same_plan_and_follow_the_weights() -> None:
    model = HybridModel(Pendulum(), Ensemble((4,), count=2), dt=0.05)
    of = problem(Worst(), model)
    forms = ("matrix", "kernel")
    planners = [MultipleShooting(of, tolerance=1e-9, samples=0, form=f) for f in forms]
    for _ in range(2):
        with torch.no_grad():
            assert model.residual is not None
            for weight in model.residual.parameters():
                weight.add_(0.3 * torch.sin(torch.arange(weight.numel()).double()).view_as(weight))
        one, other = (planner.plan(START) for planner in planners)
        assert one.status is other.status is Status.CONVERGED
        assert one.cost == pytest.approx(other.cost, rel=1e-8)
        assert one.u == pytest.approx(other.u, abs=1e-5)


def test_what_a_program_with_members_cannot_have_is_refused() -> None:
    inner = HybridModel(Pendulum(), Supported(Ensemble((4,), count=2)), dt=0.05)
    with pytest.raises(ValueError, match="form: 'kernel' cannot be had: a member of Supported"):
        MultipleShooting(problem(Worst(), inner), form="kernel")
    for risk in (Worst(), TailMean(0.5), MeanDeviation(1.0)):
        with pytest.raises(ValueError, match=r"solver: 'fatrop' takes costs that are sums"):
            MultipleShooting(problem(risk), solver="fatrop")
    sums = MultipleShooting(problem(Expected()), solver="fatrop", samples=0).plan(START)
    assert sums.cost == pytest.approx(shooting(problem(Expected())).plan(START).cost, rel=1e-7)
