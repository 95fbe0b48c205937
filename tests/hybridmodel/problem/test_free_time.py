"""Laws of models whose steps may be longer or shorter, and of the cost of time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hybridmodel import (
    HybridModel,
    MinimumTime,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
    check_agreement,
    free_time,
    placement,
    receding_horizon,
)
from physics import InputDelay, Linear, Pendulum, Signal
from physics.integrators import semi_implicit_euler
from residuals import GRU, MLP

ACROSS = Linear(
    A=((0.0, 1.0), (0.0, 0.0)),
    B=((0.0,), (1.0,)),
    states=(Signal("place", "m"), Signal("speed", "m/s", rate_of="place")),
    inputs=(Signal("push", "m/s²", -1.0, 1.0),),
)


ONE = torch.ones(7, 1, dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def learned(**options) -> HybridModel:
    model = HybridModel(Pendulum(), MLP((6,)), dt=0.05, **options)
    with torch.no_grad():
        for i, weight in enumerate(model.parameters()):
            weight += 0.3 * random(*weight.shape, seed=i)
    return model


@pytest.mark.parametrize("place", [placement.acceleration, placement.input, placement.derivative])
@pytest.mark.parametrize("options", [{}, {"substeps": 2}, {"integrator": semi_implicit_euler}])
def test_a_pace_is_a_longer_step(place, options) -> None:
    model = learned(placement=place, **options)
    free, x, u = free_time(model, high=5.0), random(7, 2), random(7, 1)
    torch.testing.assert_close(free(x, torch.cat([u, ONE], -1)), model(x, u))
    for pace in (0.3, 2.0):
        longer = model.step_function(dt=pace * model.dt)
        p = model.physical().detach().numpy()
        ours = free(x, torch.cat([u, pace * ONE], -1)).detach().numpy()
        for a, b, c in zip(ours, x.numpy(), u.numpy(), strict=True):
            np.testing.assert_allclose(a, longer(b, c, p, []).full()[:, 0], rtol=1e-13)


def test_both_forms_agree_and_weights_are_shared() -> None:
    model = learned()
    free = free_time(model)
    assert check_agreement(free)
    with torch.no_grad():
        next(iter(model.parameters())).add_(0.1)
    x, u = random(3, 2), random(3, 1)
    torch.testing.assert_close(free(x, torch.cat([u, ONE[:3]], -1)), model(x, u))


def test_double_integrator_takes_twice_the_root_of_the_distance() -> None:
    """T = 2 √(s/a), full push and full brake: Pontryagin et al., 1962, example 1."""
    model, distance = HybridModel(ACROSS, dt=0.1), 4.0
    free = free_time(model, low=0.1, high=5.0)
    goal = np.array([distance, 0.0])
    problem = OptimalControlProblem(
        free, MinimumTime(free), horizon=20, terminal_equality=lambda x, pi: x - goal
    )
    plan = MultipleShooting(problem, samples=0, tolerance=1e-8).plan(np.zeros(2))
    assert plan.usable
    assert plan.cost == pytest.approx(2 * np.sqrt(distance), rel=2e-3)
    assert plan.u[:, 1].sum() * 0.1 == pytest.approx(plan.cost, rel=1e-9)
    np.testing.assert_allclose(plan.x[-1], goal, atol=1e-5)
    assert set(np.round(np.abs(plan.u[[0, -1], 0]), 3)) == {1.0}


def test_effort_beside_makes_it_slower() -> None:
    model = HybridModel(ACROSS, dt=0.1)
    free, goal, seconds = free_time(model, low=0.1, high=5.0), np.array([1.0, 0.0]), []
    for weight in (0.0, 1.0):
        effort = Quadratic(ACROSS, state={}, input={"push": weight})
        problem = OptimalControlProblem(
            free, MinimumTime(free, effort), horizon=15, terminal_equality=lambda x, pi: x - goal
        )
        plan = MultipleShooting(problem, samples=0).plan(np.zeros(2))
        seconds.append(plan.u[:, 1].sum() * 0.1)
    assert seconds[1] > 1.05 * seconds[0]


def test_what_belongs_to_its_step_is_refused() -> None:
    refused = {
        "its residual belongs to its dt": learned(hold=True),
        "belongs to its dt": HybridModel(Pendulum(), GRU(2), dt=0.05),
        "corrects the next state": learned(placement=placement.next_state),
        "has memory": HybridModel(InputDelay(system=Pendulum(), steps=1), dt=0.05),
    }
    for message, model in refused.items():
        with pytest.raises(ValueError, match=message):
            free_time(model)
    with pytest.raises(ValueError, match="low, high must be"):
        free_time(HybridModel(ACROSS, dt=0.1), low=2.0, high=1.0)
    with pytest.raises(ValueError, match="its steps have one length"):
        MinimumTime(HybridModel(ACROSS, dt=0.1))
    free = free_time(HybridModel(ACROSS, dt=0.1))
    problem = OptimalControlProblem(free, MinimumTime(free), horizon=3)
    with pytest.raises(ValueError, match="length of its steps"):
        receding_horizon(MultipleShooting(problem, samples=0))
