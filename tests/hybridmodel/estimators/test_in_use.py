"""Estimators between a plant and a planner, and between a log and a fit."""

from __future__ import annotations

from dataclasses import dataclass

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import (
    EKF,
    Dataset,
    GradientDescent,
    HybridModel,
    MovingHorizon,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
    Trajectory,
    collect,
    fit,
    identify,
    receding_horizon,
    with_states,
)
from hybridmodel.fitting import identify_delay
from physics import InputDelay, InputLag, Parameter, Pendulum, Signal, System, TwoTanks

DT = 0.05


@dataclass(frozen=True, kw_only=True)
class LowerTank(TwoTanks):
    """Of which only the lower level is measured."""

    @property
    def outputs(self) -> tuple[Signal, ...]:
        return (Signal("lower_level", "m"),)

    def output(self, x, u, p, d):
        return x[1]


@dataclass(frozen=True, kw_only=True)
class Carrier(System):
    """A mass that is pushed; what it carries is told by the log: v̇ = (u − c v)/(m + load)."""

    mass: float = Parameter(1.0, "kg", "positive")
    friction: float = Parameter(0.5, "N·s/m", "positive")
    states: tuple[Signal, ...] = (Signal("q", "m"), Signal("v", "m/s", rate_of="q"))
    inputs: tuple[Signal, ...] = (Signal("u", "N"),)
    exogenous: tuple[Signal, ...] = (Signal("load", "kg"),)

    def dynamics(self, x, u, p, d):
        return ca.vertcat(x[1], (u - p.friction * x[1]) / (p.mass + d))


class Plant:
    """The model itself with noisy sensors."""

    def __init__(self, model: HybridModel, x0, noise: float) -> None:
        self.model, self.x0, self.noise, self.dt = model, x0, noise, model.dt

    def reset(self, *, seed=None, options=None):
        self.random = np.random.default_rng(seed)
        self.x = self.model.initial_state(torch.tensor(np.asarray(self.x0, dtype=float)))
        return self._seen(torch.zeros(self.model.system.nu).double()), self._info()

    def step(self, action, /):
        u = torch.tensor(action)
        with torch.no_grad():
            self.x = self.model(self.x, u)
        return self._seen(u), 0.0, False, False, self._info()

    def _seen(self, u):
        with torch.no_grad():
            y = self.model.output(self.x, u).numpy()
        return y + self.noise * self.random.standard_normal(len(y))

    def _info(self):
        return {"x": self.x.numpy()[: len(self.model.system.states)]}


@pytest.mark.parametrize("kind", [EKF, MovingHorizon])
def test_a_loop_closes_on_a_level_that_is_not_measured(kind) -> None:
    model = HybridModel(LowerTank(), dt=4.0)
    u = 4.0
    level = (3.3e-6 * u / 0.178e-4) ** 2 / (2 * 9.81)
    target = {"upper_level": level, "lower_level": level, "pump": u}
    cost = Quadratic(model.system, state={"lower_level": 0.02}, input={"pump": 8.0}, target=target)
    problem = OptimalControlProblem(model, cost, horizon=12)
    policy = receding_horizon(
        MultipleShooting(problem, samples=0),
        every=3,
        estimator=kind(model, measurement_noise=1e-3, process_noise=1e-4),
    )
    log = collect(Plant(model, [0.25, 0.01], 1e-3), policy, steps=60, seed=0)
    assert abs(log.x[-1, 1] - level) < 0.005
    assert not any("estimat" in event for event in policy.events)


def test_a_loop_closes_through_a_delay_and_a_lag() -> None:
    system = InputDelay(system=InputLag(system=Pendulum(), time_constant=0.1), steps=2)
    model = HybridModel(system, dt=DT)
    cost = Quadratic(system, state={"angle": 0.5, "rate": 2.0}, input={"torque": 2.0})
    problem = OptimalControlProblem(model, cost, horizon=12, input_bounds=([-8.0], [8.0]))
    policy = receding_horizon(
        MultipleShooting(problem, samples=0),
        every=2,
        estimator=EKF(model, measurement_noise=2e-3, process_noise=1e-3),
    )
    log = collect(Plant(model, [1.0, 0.0, 0.0], 2e-3), policy, steps=80, seed=0)
    assert np.abs(log.x[-20:, 0]).max() < 0.05


def test_estimators_are_told_the_exogenous_signals() -> None:
    model = HybridModel(Carrier(), dt=DT)
    heard = []

    class Listening(EKF):
        def update(self, y, previous_input, d=None):
            heard.append(None if d is None else d.tolist())
            return super().update(y, previous_input, d)

    cost = Quadratic(model.system, state={"q": 1.0}, input={"u": 1.0})
    problem = OptimalControlProblem(model, cost, horizon=3, input_bounds=([-1.0], [1.0]))
    policy = receding_horizon(
        GradientDescent(problem, iterations=2, starts=1),
        estimator=Listening(model, measurement_noise=1e-3, process_noise=1e-3),
        parameters=lambda t: np.array([t]),
    )
    for k in range(3):
        policy(DT * k, np.zeros(2))
    assert heard == [None, [0.0], [DT]]


def lagged_logs(delay: int, lag: float, count: int = 4, steps: int = 80, seed: int = 0) -> Dataset:
    system: System = InputLag(system=Pendulum(), time_constant=lag)
    model = HybridModel(InputDelay(system=system, steps=delay) if delay else system, dt=DT)
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        u = np.repeat(rng.uniform(-2, 2, (steps // 5, 1)), 5, axis=0)
        with torch.no_grad():
            start = model.initial_state(torch.tensor([*rng.uniform(-0.5, 0.5, 2), 0.0]))
            x = model.rollout(start, torch.tensor(u)).numpy()
        y = x[:, :2] + 1e-3 * rng.standard_normal((steps + 1, 2))
        made.append(Trajectory(t=DT * np.arange(steps + 1), u=u, y=y))
    return Dataset(made)


@pytest.mark.slow
def test_delay_and_lag_are_found_from_logs_that_do_not_show_the_lag() -> None:
    train, validation = lagged_logs(2, 0.12, count=3), lagged_logs(2, 0.12, count=1, seed=1)
    system = InputLag(system=Pendulum(), time_constant=0.05)
    found = identify_delay(
        system,
        train,
        validation,
        steps=range(1, 4),
        fit_parameters=("time_constant",),
        initial="estimated",
        horizon=10,
        stride=12,
    )
    assert found.steps == 2
    assert found.margin > 1.2
    assert abs(found.parameters[2]["time_constant"] - 0.12) < 0.015
    assert isinstance(found.system, InputDelay)


@pytest.mark.slow
def test_a_lag_is_identified_from_estimated_states() -> None:
    train, validation = lagged_logs(0, 0.12), lagged_logs(0, 0.12, count=2, seed=1)
    model = HybridModel(
        InputLag(system=Pendulum(), time_constant=0.06), dt=DT, fit_parameters=("time_constant",)
    )
    with pytest.raises(ValueError, match="with_states"):
        identify(model, train, validation)
    for _ in range(3):  # states at the present parameters, parameters at these states
        ekf = EKF(model, measurement_noise=1e-3, process_noise=(1e-3, 1e-2, 0.3))
        logs = [with_states(part, ekf, smooth=True) for part in (train, validation)]
        found = identify(model, *logs, horizon=15, stride=5, starts=1)
        value = float(found.model.system.parameters["time_constant"])
        model = HybridModel(
            InputLag(system=Pendulum(), time_constant=value),
            dt=DT,
            fit_parameters=("time_constant",),
        )
    assert abs(value - 0.12) < 0.006


def test_a_delay_is_found_without_parameters_too() -> None:
    def logs(seed: int) -> Dataset:
        model = HybridModel(InputDelay(system=Pendulum(), steps=3), dt=DT)
        rng = np.random.default_rng(seed)
        u = np.repeat(rng.uniform(-2, 2, (16, 1)), 5, axis=0)
        with torch.no_grad():
            x = model.rollout(model.initial_state(torch.zeros(2).double()), torch.tensor(u))
        return Dataset([Trajectory(t=DT * np.arange(81), u=u, y=x.numpy()[:, :2])])

    found = identify_delay(Pendulum(), logs(0), logs(1))
    assert found.steps == 3
    assert found.validation[3] < 1e-9
    assert sorted(found.validation) == [0, 1, 2, 3, 4, 5]


def carrier_logs(loads, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    made = []
    model = HybridModel(Carrier(), dt=DT)
    for load in loads:
        u = np.repeat(rng.uniform(-2, 2, (12, 1)), 5, axis=0)
        with torch.no_grad():
            x = model.rollout(
                torch.zeros(2).double(), torch.tensor(u), torch.full((60, 1), load).double()
            )
        made.append(
            Trajectory(t=DT * np.arange(61), u=u, y=x.numpy(), context={"payload": float(load)})
        )
    return Dataset(made)


def test_a_context_of_each_log_becomes_what_the_system_sees() -> None:
    from hybridmodel.data import context_as_exogenous

    train, validation = (
        context_as_exogenous(carrier_logs(loads, seed), ["payload"])
        for loads, seed in (((0.0, 1.0, 2.0), 0), ((0.5, 1.5), 1))
    )
    assert [log.d[7, 0] for log in train] == [0.0, 1.0, 2.0]
    assert train[1].context == {"payload": 1.0}
    model = HybridModel(Carrier(mass=2.0, friction=0.2), dt=DT, fit_parameters=("mass", "friction"))
    found = identify(model, train, validation, horizon=10, starts=1)
    assert float(found.model.system.parameters["mass"]) == pytest.approx(1.0, rel=1e-4)
    for names, message in ((["weight"], "no context 'weight'"), ([], "names is empty")):
        with pytest.raises(ValueError, match=message):
            context_as_exogenous(carrier_logs((0.0,)), names)


@pytest.mark.slow
def test_a_parameter_of_each_log_is_found_beside_one_shared_residual() -> None:
    from residuals import MLP

    class Drag(torch.nn.Module):
        def forward(self, z):
            return -0.6 * z[..., 2:3] * z[..., 2:3].abs()

    masses = (0.8, 1.0, 1.4)
    rng = np.random.default_rng(0)

    def logs(masses) -> Dataset:
        made = []
        for mass in masses:
            truth = HybridModel(Pendulum(mass=mass), Drag(), dt=DT)
            truth.residual.gate.data.fill_(1.0)
            u = np.repeat(rng.uniform(-3, 3, (20, 1)), 4, axis=0)
            with torch.no_grad():
                x = truth.rollout(torch.tensor(rng.uniform(-1, 1, 2)), torch.tensor(u)).numpy()
            made.append(Trajectory(t=DT * np.arange(81), u=u, y=x))
        return Dataset(made)

    model = HybridModel(Pendulum(mass=1.1), MLP((12,)), dt=DT, fit_parameters=("mass",))
    found = fit(
        model,
        logs(masses),
        logs((1.0,)),
        horizons=(1, 5),
        epochs=60,
        batch_size=60,
        patience=60,
        parameter_rate=0.03,
        per_log=("mass",),
        residual_penalty=1e-3,
    )
    np.testing.assert_allclose(found.per_log["mass"], masses, rtol=0.06)
