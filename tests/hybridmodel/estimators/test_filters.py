"""Estimators agree with what is known: each other, the Kalman filter, the truth."""

from __future__ import annotations

from dataclasses import dataclass

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import (
    EKF,
    Dataset,
    HybridModel,
    MeasuredState,
    MovingHorizon,
    Trajectory,
    with_states,
)
from hybridmodel.estimators.linearization import Linearization
from physics import InputDelay, InputLag, Pendulum, Quadrotor, Signal, System, TwoTanks
from residuals import MLP, Window

DT = 0.05


@dataclass(frozen=True, kw_only=True)
class Oscillator(System):
    """ẍ = −4 x − 0.2 ẋ + u, of which x is measured; exogenous wind pushes."""

    states: tuple[Signal, ...] = (Signal("x"), Signal("v", rate_of="x"))
    inputs: tuple[Signal, ...] = (Signal("u"),)
    exogenous: tuple[Signal, ...] = (Signal("wind"),)

    @property
    def outputs(self) -> tuple[Signal, ...]:
        return (Signal("reading"),)

    def dynamics(self, x, u, p, d):
        return ca.vertcat(x[1], -4 * x[0] - 0.2 * x[1] + u + d)

    def output(self, x, u, p, d):
        return x[0]


@dataclass(frozen=True, kw_only=True)
class LowerTank(TwoTanks):
    """Of which only the lower level is measured."""

    @property
    def outputs(self) -> tuple[Signal, ...]:
        return (Signal("lower_level", "m"),)

    def output(self, x, u, p, d):
        return x[1]


def simulated(model: HybridModel, x0, u, d=None, noise=0.0, seed=0) -> Trajectory:
    """A log of the model, y with noise, x true."""
    rng = np.random.default_rng(seed)
    u = np.asarray(u, dtype=float)
    d = np.zeros((len(u), model.system.nd)) if d is None else d
    with torch.no_grad():
        start = model.initial_state(torch.tensor(np.asarray(x0, dtype=float)))
        x = model.rollout(start, torch.tensor(u), torch.tensor(d))
        us, ds = (np.vstack([0 * v[:1], v]) for v in (u, d))
        y = model.output(x, torch.tensor(us), torch.tensor(ds)).numpy()
    y = y + noise * rng.standard_normal(y.shape)
    states = x.numpy()[:, : len(model.system.states)]
    return Trajectory(t=model.dt * np.arange(len(y)), u=u, y=y, d=d, x=states)


def run(estimator, log: Trajectory, lost=()) -> np.ndarray:
    estimator.reset()
    rows = []
    for k in range(len(log.t)):
        y = np.full_like(log.y[k], np.nan) if k in lost else log.y[k]
        rows.append(estimator.update(y, *((log.u[k - 1], log.d[k - 1]) if k else (None,))))
    return np.array(rows)


def steps(count: int, low: float, high: float, hold: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.repeat(rng.uniform(low, high, (count // hold + 1, 1)), hold, axis=0)[:count]


def test_on_a_linear_model_it_is_the_kalman_filter() -> None:
    model = HybridModel(Oscillator(), dt=DT)
    rng = np.random.default_rng(1)
    log = simulated(model, [1.0, 0.0], steps(60, -1, 1), rng.normal(size=(60, 1)), noise=0.1)
    A, B = (
        v.detach().numpy() for v in model.linearize(*(torch.zeros(n).double() for n in (2, 1, 1)))
    )
    C, Q, R = np.array([[1.0, 0.0]]), np.diag([1e-4, 4e-4]), np.array([[0.01]])
    options = {"measurement_noise": 0.1, "process_noise": (0.01, 0.02), "initial_deviation": 2.0}
    x, P = np.zeros(2), 4.0 * np.eye(2)
    expected = []
    for k in range(len(log.t)):
        if k:
            x = A @ x + B[:, 0] * (log.u[k - 1, 0] + log.d[k - 1, 0])
            P = A @ P @ A.T + Q
        S = C @ P @ C.T + R
        K = P @ C.T @ np.linalg.inv(S)
        x, P = x + K @ (log.y[k] - C @ x), (np.eye(2) - K @ C) @ P
        expected.append(x)
    ekf = EKF(model, **options, initial_state=np.zeros(2))
    np.testing.assert_allclose(run(ekf, log), expected, atol=1e-12)
    np.testing.assert_allclose(ekf.covariance, P, atol=1e-12)
    for window in (1, 7):  # whatever the window: the arrival cost is exact
        horizon = MovingHorizon(
            model, **options, initial_state=np.zeros(2), window=window, iterations=1
        )
        np.testing.assert_allclose(run(horizon, log), expected, atol=1e-9)


@pytest.mark.parametrize("system", [Pendulum(), Quadrotor()], ids=lambda s: type(s).__name__)
def test_slopes_are_those_of_the_tangent_space(system: System) -> None:
    rng = np.random.default_rng(0)
    model = HybridModel(system, MLP((8,)), dt=DT)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    linear = Linearization(model)
    nt = len(linear.rows)
    x = linear.retract(np.array(system.neutral), 0.3 * rng.standard_normal(nt))
    u, d = rng.uniform(0.5, 1.0, system.nu), np.zeros(0)
    ahead, A = linear.step(x, u, d)
    with torch.no_grad():
        np.testing.assert_allclose(ahead, model(torch.tensor(x), torch.tensor(u)), atol=1e-9)
    h = 1e-6
    for i, unit in enumerate(np.eye(nt)):
        sides = [linear.step(linear.retract(x, s * h * unit), u, d)[0] for s in (1, -1)]
        np.testing.assert_allclose(
            A[:, i], linear.difference(*sides) / (2 * h), rtol=2e-5, atol=2e-6
        )


@pytest.mark.parametrize("kind", [EKF, MovingHorizon])
def test_the_upper_level_is_found_from_the_lower(kind) -> None:
    model = HybridModel(LowerTank(), dt=4.0)
    log = simulated(model, [0.2, 0.05], steps(80, 2, 6), noise=1e-3)
    with pytest.raises(ValueError, match=r"upper_level among it.*EKF"):
        MeasuredState(model)
    found = run(kind(model, measurement_noise=1e-3, process_noise=1e-4), log, lost=range(40, 50))
    assert np.abs(found[20:] - log.x[20:]).max() < 2e-3


@pytest.mark.parametrize("kind", [EKF, MovingHorizon])
def test_delays_are_exact_and_lags_are_found(kind) -> None:
    system = InputDelay(system=InputLag(system=Pendulum(), time_constant=0.1), steps=2)
    model = HybridModel(system, dt=DT)
    log = simulated(model, [0.5, 0.0, 0.8], steps(60, -2, 2), noise=1e-3)
    found = run(kind(model, measurement_noise=1e-3, process_noise=1e-4), log)
    under_way = np.vstack([np.zeros((2, 1)), log.u])
    np.testing.assert_array_equal(found[:, 3], under_way[:-1, 0][: len(found)])
    np.testing.assert_array_equal(found[:, 4], under_way[1:, 0])
    assert abs(found[0, 2] - 0.8) > 0.5
    assert np.abs(found[20:, 2] - log.x[20:, 2]).max() < 0.02


@pytest.mark.parametrize("kind", [EKF, MovingHorizon])
def test_a_recurrent_residual_remembers_what_the_estimates_were(kind) -> None:
    model = HybridModel(Pendulum(), Window(steps=3), dt=DT)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    log = simulated(model, [0.5, 0.0], steps(30, -1, 1))
    found = run(kind(model, measurement_noise=1e-6, process_noise=1e-4), log)
    assert found.shape == (31, model.nx)
    with torch.no_grad():
        ahead = model(torch.tensor(found[:-1]), torch.tensor(log.u)).numpy()
    np.testing.assert_allclose(found[1:, 2:], ahead[:, 2:], atol=1e-5)


def test_a_lost_part_of_a_measurement_is_skipped() -> None:
    model = HybridModel(Pendulum(), dt=DT)
    log = simulated(model, [0.5, 0.0], steps(40, -2, 2), noise=1e-3)
    half = Trajectory(t=log.t, u=log.u, y=log.y, x=log.x)
    ekf = EKF(model, measurement_noise=1e-3, process_noise=1e-4)
    whole = run(ekf, half)
    ekf.reset()
    rows = []
    for k in range(41):
        y = log.y[k].copy()
        y[1] = np.nan if k else y[1]
        rows.append(ekf.update(y, log.u[k - 1] if k else None))
    assert np.abs(np.array(rows) - log.x).max() < 0.02
    assert np.abs(whole - log.x).max() < 0.01


def test_before_the_first_measurement_nothing_is_known_but_the_inputs() -> None:
    model = HybridModel(InputDelay(system=Pendulum(), steps=2), dt=DT)
    ekf = EKF(model, measurement_noise=1e-3, process_noise=1e-3)
    nothing = np.full(2, np.nan)
    assert np.isnan(ekf.update(nothing, None)).all()
    assert np.isnan(ekf.update(nothing, np.array([1.0]))).all()
    assert ekf.update(np.zeros(2), np.array([2.0]))[2:].tolist() == [1.0, 2.0]


def test_turns_do_not_matter() -> None:
    model = HybridModel(Pendulum(), dt=DT)
    ekf = EKF(model, measurement_noise=1e-3, process_noise=1e-3)
    ekf.update(np.array([3.0, 1.0]), None)
    near = ekf.update(np.array([3.05, 1.0]), np.zeros(1))
    ekf.reset()
    ekf.update(np.array([3.0, 1.0]), None)
    turned = ekf.update(np.array([3.05 - 2 * np.pi, 1.0]), np.zeros(1))
    np.testing.assert_allclose(near, turned, atol=1e-12)


def test_rotations_stay_rotations() -> None:
    model = HybridModel(Quadrotor(), dt=0.02)
    rng = np.random.default_rng(0)
    system = model.system
    high = np.array([s.high for s in system.inputs])
    hover = np.where(np.isfinite(high), high / 2, 2.0)
    log = simulated(model, system.neutral, hover + 0.05 * rng.standard_normal((60, system.nu)))
    linear = Linearization(model)
    noisy = [linear.retract(y, 0.02 * rng.standard_normal(12)) for y in log.y]
    noisy = Trajectory(t=log.t, u=log.u, y=np.array(noisy), x=log.x)
    for kind in (EKF, MovingHorizon):
        found = run(kind(model, measurement_noise=0.02, process_noise=1e-4), noisy)
        np.testing.assert_allclose(np.linalg.norm(found[:, 3:7], axis=1), 1, atol=1e-9)
        off = [linear.difference(a, b) for a, b in zip(found[30:], log.x[30:], strict=True)]
        raw = [linear.difference(a, b) for a, b in zip(noisy.y[30:], log.x[30:], strict=True)]
        assert np.square(off).mean() < 0.1 * np.square(raw).mean()


def test_estimates_stay_within_the_bounds_of_states() -> None:
    model = HybridModel(LowerTank(), dt=4.0)
    log = simulated(model, [0.0, 0.0], np.zeros((30, 1)), noise=2e-3)
    options = {"measurement_noise": 2e-3, "process_noise": 1e-3}
    assert run(EKF(model, **options), log).min() < 0
    assert run(MovingHorizon(model, **options, bounded=False), log).min() < 0
    assert run(MovingHorizon(model, **options), log).min() >= 0


def test_a_smoothed_log_is_nearer_to_the_truth() -> None:
    model = HybridModel(Oscillator(), dt=DT)
    rng = np.random.default_rng(1)
    log = simulated(model, [1.0, 0.0], steps(80, -1, 1), rng.normal(size=(80, 1)), noise=0.1)
    ekf = EKF(model, measurement_noise=0.1, process_noise=1e-3)
    filtered, smooth = (with_states(Dataset([log]), ekf, smooth=s)[0] for s in (False, True))
    np.testing.assert_array_equal(filtered.x, run(ekf, log))
    np.testing.assert_array_equal(filtered.x[-1], smooth.x[-1])
    errors = [np.sqrt(np.mean((t.x - log.x) ** 2)) for t in (filtered, smooth)]
    assert errors[1] < 0.7 * errors[0]


def test_new_weights_and_parameters_need_no_rebuild() -> None:
    model = HybridModel(Pendulum(), MLP((8,)), dt=DT, fit_parameters=("mass",))
    ekf = EKF(model, measurement_noise=1e-3, process_noise=1e-3)
    x, u, d = np.array([0.5, 0.1]), np.ones(1), np.zeros(0)
    before = ekf.linear.step(x, u, d)[0]
    with torch.no_grad():
        model.theta += 0.3
        for weight in model.residual.parameters():
            weight += 0.1
        after = model(torch.tensor(x), torch.tensor(u)).numpy()
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(ekf.linear.step(x, u, d)[0], after, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "process_noise must be given"),
        ({"process_noise": -1.0}, "process_noise must be positive"),
        ({"process_noise": {"theta": 1.0}}, "process_noise: no row 'theta'"),
        ({"process_noise": 1.0, "measurement_noise": (1.0,)}, "measurement_noise must be positive"),
        ({"process_noise": 1.0, "initial_state": np.zeros(3)}, "initial_state must be 2"),
    ],
)
def test_errors_name_the_argument(options, message: str) -> None:
    for kind in (EKF, MovingHorizon):
        with pytest.raises(ValueError, match=message):
            kind(HybridModel(Pendulum(), dt=DT), **{"measurement_noise": 1e-3, **options})
