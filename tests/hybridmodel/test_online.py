"""What learns inside the loop finds what has changed, and never lets a bad value in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from hybridmodel import (
    CEM,
    GradientDescent,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
    collect,
    placement,
    receding_horizon,
)
from hybridmodel.envs.effects import RobotEffects
from hybridmodel.estimators import EKF
from hybridmodel.online import ParameterFilter, ResidualUpdate, adapt
from physics import InputLag, Parameter, Pendulum, Quadrotor
from residuals import MLP, Linear

DT = 0.05


class Changing:
    """A model's step with noise as a plant; from `change` on it is another model's."""

    def __init__(self, first: HybridModel, then: HybridModel, change: int, noise=1e-3) -> None:
        self.first, self.then, self.change, self.noise = first, then, change, noise
        self.dt = first.dt

    def reset(self, *, seed=None, options=None):
        self.random, self.k = np.random.default_rng(seed), 0
        self.x = self.first.initial_state(torch.tensor([0.5, *[0.0] * (self.first.system.nx - 1)]))
        return self._seen(), {}

    def step(self, action, /):
        model = self.then if self.k >= self.change else self.first
        with torch.no_grad():
            self.x = model(self.x, torch.tensor(action))
        self.k += 1
        return self._seen(), 0.0, False, False, {}

    def _seen(self):
        y = self.x.numpy()[: self.first.system.ny]
        return y + self.noise * self.random.standard_normal(len(y))


class Waves:
    """u(t) = sin 3t + sin 7.1t."""

    def reset(self, seed) -> None:
        """Nothing to forget."""

    def __call__(self, t, y):
        return np.array([np.sin(3 * t) + np.sin(7.1 * t)])


class Drag(torch.nn.Module):
    """r = 0.8 sin θ − 0.5 v from z = (sin θ, cos θ, v, u), linear in z."""

    def forward(self, z):
        return 0.8 * z[..., :1] - 0.5 * z[..., 2:3]


def pendulum(**options) -> HybridModel:
    return HybridModel(Pendulum(), dt=DT, fit_parameters=("mass",), **options)


def dragged() -> HybridModel:
    model = HybridModel(Pendulum(), Drag(), dt=DT, hold=True)
    model.residual.gate.data.fill_(1.0)
    return model


def test_a_parameter_that_changes_is_followed_and_a_reset_puts_it_back() -> None:
    model = pendulum()
    heavier = HybridModel(Pendulum(mass=1.8), dt=DT)
    policy = adapt(Waves(), model, parameters=["mass"], noise=3e-3)
    seen = []
    policy.progress = seen.append
    collect(Changing(heavier.rebuilt(Pendulum()), heavier, 100), policy, steps=200, seed=0)
    mass = np.array([row["mass"] for row in seen])
    assert abs(mass[60:99] - 1.0).max() < 0.15
    assert abs(mass[-50:].mean() - 1.8) < 0.1
    policy.reset(0)
    assert model.parameter_values()["mass"] == 1.0


@pytest.mark.parametrize(
    "where", [placement.acceleration, placement.force, placement.next_state], ids=lambda p: p.name
)
def test_a_linear_residual_learns_in_the_loop(where) -> None:
    model = HybridModel(
        Pendulum(), Linear("identity", prior=1e-3), dt=DT, placement=where, hold=True
    )
    truth = dragged()
    plant = Changing(truth, truth, 0, noise=1e-4)
    policy = adapt(Waves(), model, residual=True, noise=3e-4)
    collect(plant, policy, steps=250, seed=0)
    x = torch.tensor(np.random.default_rng(1).uniform(-0.5, 0.5, (50, 2)))
    u = torch.zeros(50, 1).double()
    with torch.no_grad():
        errors = [(m(x, u) - truth(x, u)).square().mean().sqrt() for m in (model, pendulum())]
    assert errors[0] < 0.15 * errors[1]


def test_forgetting_follows_a_residual_that_changes() -> None:
    model = HybridModel(Pendulum(), Linear("identity", forgetting=0.97), dt=DT, hold=True)
    plain, truth = HybridModel(Pendulum(), dt=DT), dragged()
    policy = adapt(Waves(), model, residual=True, noise=3e-4)
    collect(Changing(plain, truth, 150, noise=1e-4), policy, steps=400, seed=0)
    weight = model.residual.weight[0].detach().numpy() * float(model.residual.output.scale)
    np.testing.assert_allclose(weight[[0, 2]], [0.8, -0.5], atol=0.12)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (MultipleShooting, {"samples": 0}),
        (CEM, {"samples": 20, "elites": 5, "iterations": 2}),
        (GradientDescent, {"iterations": 5, "starts": 1}),
    ],
)
def test_planners_see_the_change_without_being_built_again(kind, options) -> None:
    model = HybridModel(
        Pendulum(), Linear("identity"), dt=DT, fit_parameters=("mass",), features=("angle",)
    )
    cost = Quadratic(model.system, state={"angle": 1.0, "rate": 2.0}, input={"torque": 2.0})
    problem = OptimalControlProblem(model, cost, horizon=4, input_bounds=([-2.0], [2.0]))
    planner = kind(problem, **options)
    x0 = np.array([0.8, 0.0])
    before = planner.plan(x0, seed=0)
    learners = [ParameterFilter(model, ["mass"], noise=1e-3), ResidualUpdate(model, noise=1e-3)]
    for learner in learners:
        learner.learn(x0, np.ones(1), np.zeros(0), np.array([0.75, -0.9]))
        after = planner.plan(x0, seed=0)
        assert np.abs(after.x - before.x).max() > 1e-3
        with torch.no_grad():
            rolled = model.rollout(torch.tensor(x0), torch.tensor(after.u)).numpy()
        np.testing.assert_allclose(after.x, rolled, atol=1e-9)
        before = after


def test_bad_values_never_get_in() -> None:
    model = HybridModel(Pendulum(), Linear("identity"), dt=DT, fit_parameters=("mass",))
    learners = [ParameterFilter(model, ["mass"], noise=1e-3), ResidualUpdate(model, noise=1e-3)]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    x, u, d = np.array([0.3, 0.1]), np.ones(1), np.zeros(0)
    for bad in (np.nan, np.inf, 1e200):
        for learner in learners:
            learner.learn(x, u, d, np.array([bad, 0.0]))
        for name, value in model.state_dict().items():
            assert torch.isfinite(value).all(), name
    for learner in learners:
        learner.reset()
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_one_wild_sample_moves_little_and_a_step_is_bounded() -> None:
    model = pendulum()
    learner = ParameterFilter(model, ["mass"], noise=1e-3, most=1.0, walk=0.1)
    x, u, d = np.array([0.3, 0.1]), np.ones(1), np.zeros(0)
    with torch.no_grad():
        ahead = model(torch.tensor(x), torch.tensor(u)).numpy()
    for _ in range(100):
        learner.learn(x, u, d, ahead)
    assert learner.learn(x, u, d, ahead + np.array([0.0, 50.0])) == "innovation gated"
    assert abs(float(model.theta.detach())) <= 1.0 * DT + 1e-12
    assert abs(learner.values["mass"] - 1.0) < 0.06


def test_values_stay_in_their_domains() -> None:
    system = Pendulum(mass=Parameter(1.0, "kg", (0.5, 1.2)))
    model = HybridModel(system, dt=DT, fit_parameters=("mass",))
    heavy = HybridModel(Pendulum(mass=3.0), dt=DT)
    policy = adapt(Waves(), model, parameters=["mass"], noise=1e-3)
    collect(Changing(heavy, heavy, 0), policy, steps=100, seed=0)
    assert 1.1 < model.parameter_values()["mass"] < 1.2


def test_slopes_are_exact_for_rotations() -> None:
    system = Quadrotor()
    names = ("mass",)
    model = HybridModel(system, dt=0.02, fit_parameters=names)
    learner = ParameterFilter(model, names, noise=1e-2)
    rng = np.random.default_rng(0)
    x = np.array(system.neutral) + np.r_[np.zeros(7), rng.standard_normal(6)]
    u, d = rng.uniform(0.5, 1.0, system.nu), np.zeros(0)
    e, J = learner._function(x, u, np.zeros(1), d, x)
    h = 1e-6
    sides = [learner._function(x, u, np.array([s * h]), d, x)[0].full() for s in (1, -1)]
    np.testing.assert_allclose(J.full(), -(sides[0] - sides[1]) / (2 * h), atol=1e-6)
    assert e.shape == (12, 1)


@pytest.mark.slow
def test_it_adapts_around_a_planner_and_with_an_estimator() -> None:
    system = InputLag(system=Pendulum(), time_constant=0.1)
    model = HybridModel(system, dt=DT, fit_parameters=("mass",))
    cost = Quadratic(system, state={"angle": 1.0, "rate": 2.0}, input={"torque": 2.0})
    problem = OptimalControlProblem(model, cost, horizon=6, input_bounds=([-3.0], [3.0]))

    def ekf() -> EKF:
        return EKF(model, measurement_noise=1e-3, process_noise=1e-2)

    policy = adapt(
        receding_horizon(GradientDescent(problem, iterations=3, starts=1), estimator=ekf()),
        model,
        parameters=["mass"],
        noise=1e-2,
        estimator=ekf(),
    )
    truth = HybridModel(system.with_parameters(mass=1.5), dt=DT)
    collect(Changing(truth, truth, 0), policy, steps=60, seed=0)
    assert model.parameter_values()["mass"] > 1.2
    with pytest.raises(ValueError, match="model must be the one"):
        adapt(policy.policy, pendulum(), parameters=["mass"], noise=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to adapt"),
        ({"parameters": ["weight"]}, "parameters: 'weight' is none"),
        ({"residual": True}, "residuals.Linear to be updated online, got MLP"),
        ({"parameters": ["mass"], "noise": None}, "process_noise must be given"),
        ({"parameters": ["mass"], "every": 0}, "every must be at least 1"),
    ],
)
def test_errors_name_the_argument(options, message: str) -> None:
    model = HybridModel(Pendulum(), MLP((4,)), dt=DT, fit_parameters=("mass",))
    with pytest.raises(ValueError, match=message):
        adapt(Waves(), model, **{"noise": 1e-3, **options})


@dataclass
class Held:
    """Holds the arm, as far as it knows, with a little motion."""

    torque: np.ndarray
    size: np.ndarray

    def reset(self, seed) -> None:
        """Nothing to forget."""

    def __call__(self, t, y):
        return self.torque + self.size * np.sin(9 * t + np.arange(len(self.size)))


def test_what_is_picked_up_is_a_payload_from_then_on() -> None:
    pytest.importorskip("pybullet")
    from hybridmodel import envs
    from hybridmodel.tasks.kuka import iiwa

    arm, at = iiwa(), (0.0, 0.0, 0.06)
    x0 = np.array([0, 0.6, 0, -1.3, 0, 0.9, 0, *[0.0] * 7])
    torque = arm.bias_function()(x0[:7], np.zeros(7)).full().ravel()
    policy = Held(torque, 0.02 * np.array([s.high for s in arm.inputs]))

    def path(**effects) -> np.ndarray:
        plant = envs.make(arm, engine="pybullet", dt=0.01, hidden=RobotEffects(**effects))
        logs = [collect(plant, policy, steps=20, seed=0, state=x0) for _ in range(2)]
        np.testing.assert_array_equal(logs[0].y, logs[1].y)
        return logs[0].y

    from_the_start = path(pickup=(0.0, 2.0, at))
    np.testing.assert_allclose(from_the_start, path(payload=2.0, payload_at=at), atol=1e-12)
    later, never = path(pickup=(0.1, 2.0, at)), path()
    np.testing.assert_allclose(later[:11], never[:11], atol=1e-7)
    assert np.abs(later[12] - never[12]).max() > 1e-3
    with pytest.raises(ValueError, match="pickup must be"):
        RobotEffects(pickup=(1.0, -2.0, at))
    with pytest.raises(ValueError, match="pickup"):
        envs.make(arm, engine="ode", dt=0.01, hidden=RobotEffects(pickup=(0.1, 2.0, at)))


def test_an_estimator_of_the_policy_is_not_advanced_twice() -> None:
    model = HybridModel(Pendulum(), dt=DT, fit_parameters=("mass",))
    cost = Quadratic(model.system, state={"angle": 1.0}, input={"torque": 0.01})
    planner = CEM(OptimalControlProblem(model, cost, horizon=3), samples=8, elites=2, iterations=1)
    one, other = (EKF(model, measurement_noise=0.01, process_noise=0.01) for _ in range(2))
    policy = receding_horizon(planner, estimator=one)
    with pytest.raises(ValueError, match="estimator must be another object than the policy's"):
        adapt(policy, model, parameters=("mass",), noise=0.01, estimator=one)
    outer = adapt(policy, model, parameters=("mass",), noise=0.01, estimator=other)
    with pytest.raises(ValueError, match="estimator must be another object"):
        adapt(outer, model, parameters=("mass",), noise=0.01, estimator=one)
