"""From what is measured to the state that planners start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import residuals
from hybridmodel import HybridModel, MeasuredState, placement
from physics import CartPole, InputDelay, Pendulum, Signal


def test_the_measured_state_is_the_state() -> None:
    estimator = MeasuredState(HybridModel(Pendulum(), dt=0.1))
    y = np.array([0.3, -1.0])
    assert np.array_equal(estimator.update(y, None), y)
    assert np.array_equal(estimator.update(-y, np.array([5.0])), -y)


def test_memory_holds_the_inputs_commanded_so_far() -> None:
    model = HybridModel(InputDelay(system=CartPole(), steps=3), dt=0.1)
    estimator = MeasuredState(model)
    u = np.random.default_rng(0).standard_normal((6, 1))
    x0 = model.initial_state(torch.zeros(4).double())
    states = model.rollout(x0, torch.tensor(u)).numpy()
    for k in range(7):
        seen = estimator.update(states[k, :4], None if k == 0 else u[k - 1])
        assert np.array_equal(seen, states[k])
    estimator.reset()
    assert estimator.update(np.zeros(4), None).tolist() == [0.0] * 7


def test_a_lost_measurement_loses_no_input() -> None:
    model = HybridModel(InputDelay(system=CartPole(), steps=2), dt=0.1)
    estimator = MeasuredState(model)
    estimator.update(np.zeros(4), None)
    assert np.isnan(estimator.update(np.full(4, np.nan), np.array([1.0]))[:4]).all()
    assert estimator.update(np.zeros(4), np.array([2.0])).tolist() == [0, 0, 0, 0, 1, 2]


def test_the_estimate_is_its_own() -> None:
    estimator = MeasuredState(HybridModel(Pendulum(), dt=0.1))
    y = np.array([0.3, -1.0])
    estimator.update(y, None)[:] = 9.0
    assert y.tolist() == [0.3, -1.0]


def test_a_system_that_does_not_measure_its_state_needs_another() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Blind(Pendulum):
        @property
        def outputs(self):
            return (Signal("reading"),)

        def output(self, x, u, p, d):
            return x[0]

    with pytest.raises(ValueError, match=r"Blind does not measure its whole state.*EKF"):
        MeasuredState(HybridModel(Blind(), dt=0.1))


def test_a_recurrent_memory_is_followed_from_the_first_step() -> None:
    torch.manual_seed(0)
    model = HybridModel(
        Pendulum(), residuals.Window((8,), steps=3), dt=0.04, placement=placement.acceleration
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight) * (weight.ndim > 1))
    estimator = MeasuredState(model)
    x, u = model.initial_state(torch.tensor([0.3, 0.0]).double()), None
    for k in range(8):
        seen = estimator.update(x[:2].detach().numpy(), u)
        assert np.array_equal(seen, x.detach().numpy())
        u = np.array([np.sin(k)])
        x = model(x, torch.tensor(u))
    # a lost measurement: the model's own prediction is remembered in its place
    lost = estimator.update(np.full(2, np.nan), u)
    assert np.array_equal(lost[2:], x.detach().numpy()[2:])
    x = model(x, torch.tensor(u))
    assert np.array_equal(estimator.update(x[:2].detach().numpy(), u), x.detach().numpy())
