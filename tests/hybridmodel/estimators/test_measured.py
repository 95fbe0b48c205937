"""From what is measured to the state that planners start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from hybridmodel import HybridModel, MeasuredState
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
