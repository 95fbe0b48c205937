"""Gradient descent and its finish: known optima, bounds, rows that do not meet, no step upwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from hybridmodel import (
    GradientDescent,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
    Status,
)
from hybridmodel.planners.differential.quasi_newton import QuasiNewton
from physics import Linear, Pendulum

OSCILLATOR = Linear(A=((0.0, 1.0), (-1.0, -0.2)), B=((0.0,), (1.0,)))
X0 = np.array([1.0, -0.5])


def regulator(bound: float) -> OptimalControlProblem:
    cost = Quadratic(
        OSCILLATOR, state={"x0": 1.0, "x1": 0.1}, input={"u0": 0.05}, terminal={"x0": 5, "x1": 1}
    )
    model = HybridModel(OSCILLATOR, dt=0.1)
    return OptimalControlProblem(model, cost, horizon=12, input_bounds=([-bound], [bound]))


def rosenbrock(v: Tensor) -> tuple[Tensor, Tensor]:
    """Σ 100 (vᵢ₊₁ − vᵢ²)² + (1 − vᵢ)², least at 1."""
    v = v.detach().requires_grad_()
    value = (100 * (v[:, 1:] - v[:, :-1] ** 2) ** 2 + (1 - v[:, :-1]) ** 2).sum(-1)
    (slope,) = torch.autograd.grad(value.sum(), v)
    return value.detach(), slope


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def everywhere(n: int) -> tuple[Tensor, Tensor]:
    bound = torch.full((n,), torch.inf, dtype=torch.float64)
    return -bound, bound


def test_a_quadratic_in_a_box_is_solved_as_by_least_squares() -> None:
    A, b = drawn(12, 8), 3 * drawn(12)
    low, high = torch.full((8,), -0.3, dtype=torch.float64), torch.full((8,), 0.4).double()

    def value(v: Tensor) -> tuple[Tensor, Tensor]:
        e = v @ A.T - b
        return (e * e).sum(-1) / 2, e @ A

    descent = QuasiNewton(value, torch.zeros(3, 8).double() + 0.1 * drawn(3, 8), low, high)
    for _ in range(60):
        descent.step()
    known = lsq_linear(A.numpy(), b.numpy(), (low.numpy(), high.numpy()), tol=1e-12)
    assert (np.abs(known.x) > 0.29).any()  # bounds act
    assert descent.least.numpy() == pytest.approx([known.cost] * 3, rel=1e-9)
    assert descent.v.numpy() == pytest.approx(np.tile(known.x, (3, 1)), abs=1e-5)
    assert (descent.v >= low).all()
    assert (descent.v <= high).all()


def test_the_valley_of_rosenbrock_is_followed_and_never_left_upwards() -> None:
    descent = QuasiNewton(rosenbrock, 0.5 * drawn(2, 4), *everywhere(4))
    for _ in range(200):
        before = descent.least
        descent.step()
        assert (descent.least <= before).all()
    assert descent.least.max() < 1e-12
    assert descent.move.max() < 1e-4


def test_rows_of_a_batch_are_as_each_alone() -> None:
    start = 0.5 * drawn(3, 4)
    together = QuasiNewton(rosenbrock, start, *everywhere(4))
    alone = [QuasiNewton(rosenbrock, row[None], *everywhere(4)) for row in start]
    for _ in range(15):
        for descent in (together, *alone):
            descent.step()
    apart = torch.cat([descent.v for descent in alone])
    assert together.v.numpy() == pytest.approx(apart.numpy(), rel=1e-6, abs=1e-9)


def test_where_there_is_no_number_a_row_stays() -> None:
    def value(v: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.where(v[:, 0] > 0.1, (v * v).sum(-1), torch.inf)
        return total, 2 * v

    descent = QuasiNewton(value, torch.tensor([[0.5, 1.0], [-1.0, 0.0]]).double(), *everywhere(2))
    for _ in range(30):
        descent.step()
    assert descent.least[0] < 0.1  # of 1.25, beside a wall
    assert descent.v[0, 0] > 0.1
    assert descent.v[1].tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("bound", [50.0, 0.5])
def test_the_optimum_of_ipopt_is_found_with_and_without_bounds_that_act(bound: float) -> None:
    problem = regulator(bound)
    best = MultipleShooting(problem, tolerance=1e-10).plan(X0)
    assert (np.abs(best.u).max() > 0.999 * bound) == (bound == 0.5)
    plan = GradientDescent(problem, iterations=80).plan(X0)
    assert plan.status is Status.CONVERGED
    assert plan.cost == pytest.approx(best.cost, rel=1e-8)
    assert plan.u == pytest.approx(best.u, abs=1e-3)


@pytest.mark.slow
def test_its_finish_is_worth_more_than_as_many_steps_of_adam() -> None:
    cost = Quadratic(Pendulum(), state={"angle": 1.0}, input={"torque": 1e-3}, target={"angle": 1})
    problem = OptimalControlProblem(HybridModel(Pendulum(), dt=0.05), cost, horizon=10)
    adam, both = (
        GradientDescent(problem, iterations=60, rate=0.03, finish=share).plan(np.zeros(2))
        for share in (0.0, 0.5)
    )
    assert both.cost < adam.cost
    again = GradientDescent(problem, iterations=60, rate=0.03).plan(np.zeros(2), warm_start=both)
    assert again.cost <= both.cost


@pytest.mark.parametrize("finish", [-0.1, 1.1, float("nan")])
def test_a_finish_that_is_no_share_is_refused(finish: float) -> None:
    with pytest.raises(ValueError, match="finish must be a share"):
        GradientDescent(regulator(1.0), finish=finish)


def test_one_step_is_taken_whatever_the_finish() -> None:
    plan = GradientDescent(regulator(1.0), iterations=1, finish=1.0).plan(X0)
    assert plan.usable
