"""Errors by step: zero for the model that made the data, by hand for another."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import Dataset, HybridModel, Trajectory, evaluate
from physics import InputDelay, Linear, Pendulum, Signal, System

DT = 0.05


class Reading(Pendulum):
    """A pendulum of which a sensor sees twice the angle."""

    @property
    def outputs(self):
        return (Signal("reading", "rad"),)

    def output(self, x, u, p, d):
        return 2 * x[0]


class Blown(Linear):
    """An integrator with a known wind."""

    exogenous = (Signal("wind"),)

    def dynamics(self, x, u, p, d):
        return super().dynamics(x, u, p, d) + ca.vertcat(0, d[0])


SYSTEMS: dict[str, System] = {
    "pendulum": Pendulum(),
    "delayed": InputDelay(system=Pendulum(), steps=2),
    "reading": Reading(),
    "blown": Blown(),
}


def log(model: HybridModel, steps: int = 40, seed: int = 0, true: bool = True) -> Trajectory:
    rng, system = np.random.default_rng(seed), model.system
    u, d = rng.standard_normal((steps, system.nu)), rng.standard_normal((steps, system.nd))
    n = len(system.states)
    with torch.no_grad():
        x0 = model.initial_state(torch.tensor(rng.standard_normal(n)))
        x = model.rollout(x0, torch.tensor(u), torch.tensor(d))
        y = model.output(x, torch.zeros(steps + 1, system.nu), torch.zeros(steps + 1, system.nd))
    x = x[:, :n].numpy()
    return Trajectory(t=DT * np.arange(steps + 1), u=u, y=y.numpy(), d=d, x=x if true else None)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_generating_model_makes_no_error(name: str) -> None:
    model = HybridModel(SYSTEMS[name], dt=DT)
    found = evaluate(model, Dataset([log(model), log(model, seed=1)]), horizon=10)
    assert found.against == "x"
    assert found.names == tuple(s.name for s in SYSTEMS[name].states)
    assert found.rmse.shape == (10, 2)
    assert found.rmse.max() < 1e-13
    history = 2 if name == "delayed" else 0
    assert found.windows == 2 * (40 - 10 - history + 1)


def test_an_error_is_what_a_loop_over_windows_gives() -> None:
    data = Dataset([log(HybridModel(Pendulum(mass=2.0), dt=DT), seed=s) for s in (0, 1)])
    model = HybridModel(Pendulum(), dt=DT)
    found = evaluate(model, data, horizon=5, stride=3)
    gaps = []
    for trajectory in data:
        for k in range(0, 40 - 5 + 1, 3):
            x, u = torch.tensor(trajectory.x[k]), torch.tensor(trajectory.u[k : k + 5])
            ahead = model.rollout(x, u).numpy()
            gaps.append(ahead[1:] - trajectory.x[k + 1 : k + 6])
    wanted = np.sqrt(np.mean(np.square(gaps), axis=0))
    assert found.rmse == pytest.approx(wanted, rel=1e-10)
    spread = np.ptp(np.concatenate([t.x for t in data]), axis=0)
    assert found.scale == pytest.approx(spread)
    curve = np.sqrt(np.mean((wanted / spread) ** 2, axis=1))
    assert found.curve() == pytest.approx(curve, rel=1e-10)
    assert found.at(5) == pytest.approx(curve[4], rel=1e-10)


def test_without_the_truth_errors_are_against_what_was_measured() -> None:
    model = HybridModel(Pendulum(), dt=DT)
    found = evaluate(model, Dataset([log(model, true=False)]), horizon=10)
    assert found.against == "y"
    assert found.rmse.max() < 1e-13


def test_noise_on_the_sensor_is_not_blamed_on_the_model() -> None:
    model = HybridModel(Pendulum(), dt=DT)
    clean = log(model)
    noisy = clean.y + np.random.default_rng(0).standard_normal(clean.y.shape)
    data = Dataset([Trajectory(t=clean.t, u=clean.u, y=noisy, x=clean.x)])
    assert evaluate(model, data, horizon=10).rmse.max() < 1e-13


def test_a_full_turn_counts_as_an_error() -> None:
    model = HybridModel(Pendulum(), dt=DT)
    clean = log(model)
    x = clean.x.copy()
    x[20:, 0] += 2 * np.pi
    data = Dataset([Trajectory(t=clean.t, u=clean.u, y=x, x=x)])
    assert evaluate(model, data, horizon=1).rmse[0, 0] > 0.5


def test_a_signal_that_stands_still_is_scaled_by_one() -> None:
    still = Linear(A=((0.0,),), B=((0.0,),))
    model = HybridModel(still, dt=DT)
    assert evaluate(model, Dataset([log(model)]), horizon=3).scale.tolist() == [1.0]


def test_a_rollout_that_blows_up_is_an_infinite_error() -> None:
    data = Dataset([log(HybridModel(Linear(), dt=DT))])
    wild = HybridModel(Linear(A=((1e200, 0.0), (0.0, 0.0))), dt=DT)
    assert not np.isnan(evaluate(wild, data, horizon=5).curve()).any()
    assert np.isinf(evaluate(wild, data, horizon=5).at(5))


def test_errors_name_what_is_wrong() -> None:
    model = HybridModel(Pendulum(), dt=DT)
    data = Dataset([log(model)])
    for step in (0, 11):
        with pytest.raises(ValueError, match=rf"step must lie in \[1, 10\], got {step}"):
            evaluate(model, data, horizon=10).at(step)
    with pytest.raises(ValueError, match=r"horizon 50 does not fit in trajectories\[0\]"):
        evaluate(model, data)
    blind = HybridModel(Reading(), dt=DT)
    with pytest.raises(ValueError, match="dataset must hold x: Reading does not measure its whole"):
        evaluate(blind, Dataset([log(blind, true=False)]), horizon=5)
    with pytest.raises(ValueError, match=r"dataset has dt = 0.05 s, the model has 0.1 s"):
        evaluate(HybridModel(Pendulum(), dt=0.1), data)
