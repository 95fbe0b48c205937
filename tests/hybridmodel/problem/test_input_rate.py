"""Laws of bounds on how fast inputs change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hybridmodel as hm
from hybridmodel import (
    CEM,
    ILQR,
    MPPI,
    SQP,
    GradientDescent,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
    envs,
)
from hybridmodel.twins import remembering
from physics import CartPole, InputDelay, Pendulum
from residuals import GRU, MLP

RATE, DT, H = 20.0, 0.05, 12
SYSTEM = CartPole()
COST = Quadratic(SYSTEM, state={"angle": 1.0, "position": 0.5}, input={"force": 0.01})
X0, BEFORE = np.array([0.5, 0.6, 0.0, 0.0]), np.array([1.0])


def drawn(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return module


@pytest.fixture(scope="module")
def problem() -> OptimalControlProblem:
    model = HybridModel(SYSTEM, MLP((6,)), dt=DT)
    drawn(model)
    return OptimalControlProblem(model, COST, horizon=H, input_rate=[RATE])


PLANNERS = {
    "CEM": lambda of: CEM(of, samples=100, elites=10, iterations=3),
    "MPPI": lambda of: MPPI(of, samples=100, iterations=3),
    "descent": lambda of: GradientDescent(of, iterations=20),
    "ILQR": ILQR,
    "SQP": SQP,
    "shooting": lambda of: MultipleShooting(of, samples=0),
}


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_keeps_them_from_the_input_before_on(problem, name) -> None:
    plan = PLANNERS[name](problem).plan(X0, previous_input=BEFORE)
    assert plan.usable
    steps = np.diff(np.concatenate([BEFORE[None], plan.u]), axis=0)
    assert np.abs(steps).max() <= RATE * DT + 1e-4
    assert np.abs(steps).max() > 0.9 * RATE * DT  # they matter here
    np.testing.assert_allclose(plan.x[:, -1], np.append(BEFORE, plan.u), atol=1e-6)


def test_without_them_in_force_the_plan_is_the_free_one(problem) -> None:
    model = problem.model
    loose = OptimalControlProblem(model, COST, horizon=H, input_rate=[1e4])
    free = OptimalControlProblem(HybridModel(SYSTEM, model.residual, dt=DT), COST, horizon=H)
    plan = MultipleShooting(loose, samples=0).plan(X0)
    wanted = MultipleShooting(free, samples=0).plan(X0)
    np.testing.assert_allclose(plan.u, wanted.u, atol=1e-4)
    assert plan.cost == pytest.approx(wanted.cost, rel=1e-8)


def test_start_puts_the_input_before_behind_the_systems_memory() -> None:
    delayed = HybridModel(InputDelay(system=SYSTEM, steps=2), drawn(GRU(3)), dt=DT)
    of = OptimalControlProblem(delayed, COST, horizon=2, input_rate=[RATE])
    x0 = np.arange(delayed.nx, dtype=float)
    x = of.start(x0, np.array([9.0]))
    np.testing.assert_array_equal(x, [*x0[:6], 9.0, *x0[6:]])
    np.testing.assert_array_equal(of.start(x), x)
    assert float(of.previous(x)[0]) == 9.0


def test_a_twin_moves_as_its_model_and_learns_with_it() -> None:
    model = HybridModel(InputDelay(system=SYSTEM, steps=2), drawn(GRU(3)), dt=DT)
    twin = remembering(model)
    generator = torch.Generator().manual_seed(1)
    x, u = (torch.randn(5, n, generator=generator, dtype=torch.float64) for n in (model.nx, 1))

    def widened(x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :6], before, x[:, 6:]], -1)

    for _ in range(2):
        torch.testing.assert_close(twin(widened(x, u), u), widened(model(x, u), u))
        with torch.no_grad():
            next(iter(model.parameters())).mul_(1.5)


def test_loop_keeps_them_with_memory_of_what_was_commanded() -> None:
    system = Pendulum()
    model = HybridModel(system, dt=DT)
    cost = Quadratic(system, state={"angle": 1.0}, input={"torque": 0.01}, target={"angle": 1.0})
    of = OptimalControlProblem(model, cost, horizon=10, input_rate=[5.0])
    policy = hm.receding_horizon(SQP(of))
    log = hm.collect(envs.OdePlant(system, dt=DT), policy, steps=15, state=[0.0, 0.0])
    assert np.abs(np.diff(log.u[:, 0])).max() <= 5.0 * DT * (1 + 1e-6)
    assert policy.links["plan"] == 15


def test_bad_rates_are_named() -> None:
    with pytest.raises(ValueError, match="input_rate must be 1 positive"):
        OptimalControlProblem(HybridModel(SYSTEM, dt=DT), COST, horizon=2, input_rate=[0.0])
    free = hm.free_time(HybridModel(SYSTEM, dt=DT))
    cost = hm.MinimumTime(free)
    with pytest.raises(ValueError, match="input_rate: the steps of a free-time model"):
        OptimalControlProblem(free, cost, horizon=2, input_rate=[1.0, 1.0])
