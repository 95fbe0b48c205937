"""Laws of plans under an ensemble whose members disagree."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import (
    CEM,
    ILQR,
    SQP,
    HybridModel,
    OptimalControlProblem,
    Quadratic,
)
from hybridmodel.problem.risk import Expected, MeanDeviation, Risk, TailMean, Worst
from physics import Pendulum
from residuals import MLP, Ensemble

COST = Quadratic(
    Pendulum(), state={"angle": 1.0, "rate": 0.1}, input={"torque": 0.01}, target={"angle": 3.0}
)
RISKS = (Expected(), Worst(), TailMean(0.5), TailMean(0.3), MeanDeviation(2.0))
H, E = 8, 4


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def model() -> HybridModel:
    found = HybridModel(Pendulum(), Ensemble((8,), count=E), dt=0.05)
    with torch.no_grad():
        for i, weight in enumerate(found.residual.parameters()):
            weight += 0.3 * drawn(*weight.shape, seed=i)
    return found


@pytest.mark.parametrize("risk", RISKS, ids=str)
def test_cost_is_the_risk_of_the_members_own_ways(model, risk: Risk) -> None:
    problem = OptimalControlProblem(model, COST, horizon=H, risk=risk)
    x0, u, pi = drawn(200, 2), drawn(200, H, 1, seed=1), torch.zeros(H + 1, 0, dtype=torch.float64)
    with torch.no_grad():
        ways = [model.rollout(x0, u, member=i) for i in range(E)]
        each = torch.stack([problem.judged(x, u, pi)[0] for x in ways])
        wanted = risk.of(each)
        for cost in (problem.objective(x0, u, pi)[0], problem.cost_of(x0, u, pi)[0]):
            torch.testing.assert_close(cost, wanted, rtol=1e-11, atol=1e-11)
    one = problem.evaluate(x0[0].numpy(), u[0].numpy())
    assert one[0] == pytest.approx(float(wanted[0]), rel=1e-11)


def test_members_that_agree_carry_no_risk() -> None:
    agreed = HybridModel(Pendulum(), Ensemble((8,), count=E), dt=0.05)
    x0, u = np.ones(2), np.ones((H, 1))
    plain = OptimalControlProblem(agreed, COST, horizon=H).evaluate(x0, u)[0]
    for risk in RISKS:
        found = OptimalControlProblem(agreed, COST, horizon=H, risk=risk).evaluate(x0, u)[0]
        assert found == pytest.approx(plain, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_tail_lies_between_the_mean_and_the_worst(seed: int) -> None:
    J = drawn(7, 20, seed=seed)
    shares = torch.stack([TailMean(share).of(J) for share in (1.0, 0.8, 0.5, 0.3, 1 / 7, 0.01)])
    assert (shares.diff(dim=0) > -1e-12).all()
    torch.testing.assert_close(shares[0], Expected().of(J))
    torch.testing.assert_close(shares[-1], Worst().of(J))
    torch.testing.assert_close(shares[-2], Worst().of(J))
    least = [1 - 1e-9, 0.5, 0.3]  # what the definition says, over t on a fine grid and all J
    for share in least:
        t = torch.cat([J, torch.linspace(-4, 4, 4001, dtype=J.dtype)[:, None].expand(-1, 20)])
        over = (J[None] - t[:, None]).clamp(min=0).sum(1) / (share * len(J))
        torch.testing.assert_close(TailMean(share).of(J), (t + over).amin(0))


@pytest.mark.parametrize("risk", RISKS, ids=str)
def test_the_program_has_the_same_value(risk: Risk) -> None:
    J = drawn(5, 1, seed=3)
    costs = ca.MX(ca.DM(J.numpy()))
    made = risk.program(costs)
    nlp = {"x": made.slacks, "f": made.value, "g": made.rows}
    if not made.slacks.numel():
        found = float(ca.evalf(made.value))
    else:
        silent = {"print_time": False, "ipopt": {"print_level": 0, "sb": "yes", "tol": 1e-10}}
        solver = ca.nlpsol("s", "ipopt", nlp, silent)
        found = float(solver(x0=ca.evalf(made.start), ubg=0)["f"])
    assert found == pytest.approx(float(risk.of(J)[0]), rel=1e-6)


def test_a_plan_for_the_worst_member_is_better_for_it(model) -> None:
    plans = {}
    for risk in (Expected(), Worst()):
        problem = OptimalControlProblem(model, COST, horizon=15, risk=risk)
        plans[risk] = CEM(problem, samples=300, iterations=15).plan(np.zeros(2))
        assert plans[risk].usable
    judges = [OptimalControlProblem(model, COST, horizon=15, risk=r) for r in (Expected(), Worst())]
    values = [[p.evaluate(np.zeros(2), plan.u)[0] for plan in plans.values()] for p in judges]
    assert values[0][0] <= values[0][1] * (1 + 1e-3)
    assert values[1][1] <= values[1][0] * (1 + 1e-3)


@pytest.mark.parametrize("planner", [SQP, ILQR])
def test_what_cannot_plan_under_risk_says_so(model, planner) -> None:
    problem = OptimalControlProblem(model, COST, horizon=3, risk=Worst())
    with pytest.raises(ValueError, match=f"{planner.__name__} plans with the mean.*Worst"):
        planner(problem)


def test_what_has_no_members_is_refused() -> None:
    with pytest.raises(ValueError, match="risk: needs a model whose residual has members, got MLP"):
        OptimalControlProblem(
            HybridModel(Pendulum(), MLP((4,)), dt=0.05), COST, horizon=3, risk=Worst()
        )
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\], got 0"):
        TailMean(0)
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        MeanDeviation(-1)
