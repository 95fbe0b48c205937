"""Standard errors are those of the estimates, and what nothing sees is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hybridmodel import Dataset, HybridModel, Multisine, Trajectory
from hybridmodel.batches import batch
from hybridmodel.identification import fit_jointly, information, profile
from hybridmodel.identification.directions import sparse_basis
from hybridmodel.identification.sensitivity import Predictor
from hybridmodel.identification.weights import Weights
from physics import CartPole, Pendulum, System
from residuals import MLP

DT, NOISE = 0.04, 0.01


def logs(
    system: System, count: int = 3, steps: int = 102, seed: int = 0, noise: float = NOISE
) -> Dataset:
    """Noisy logs from rest under multisines."""
    rng, wave = np.random.default_rng(seed), Multisine(system.inputs, band=(0.1, 2.0))
    inputs = []
    for k in range(count):
        wave.reset(100 * seed + k)
        inputs.append([wave(i * DT, np.zeros(system.ny)) for i in range(steps)])
    u = torch.tensor(np.array(inputs))
    with torch.no_grad():
        x = HybridModel(system, dt=DT).rollout(u.new_zeros(count, system.nx), u).numpy()
    y = x + noise * rng.standard_normal(x.shape)
    t = DT * np.arange(steps + 1.0)
    return Dataset([Trajectory(t=t, u=v, y=w) for v, w in zip(u.numpy(), y, strict=True)])


def pendulum(*names: str, **values: Any) -> HybridModel:
    return HybridModel(Pendulum(**values), dt=DT, fit_parameters=names)


def test_sensitivities_are_the_derivatives() -> None:
    model = HybridModel(CartPole(), MLP((4,)), dt=DT, fit_parameters=("cart_mass", "pole_length"))
    data = logs(CartPole(), 1, 30)
    windows, weights = batch(model, data, 6, stride=7), Weights(model)
    predictor = Predictor(model, windows, weights, first=True)
    found = predictor.sensitivities(
        model.theta.detach(), weights.value, windows.start, initial=True
    )
    exact = torch.func.jacfwd(lambda t: predictor(t, windows.start))(model.theta.detach())
    torch.testing.assert_close(found.theta, exact.detach(), atol=1e-8, rtol=1e-6)
    # the sample at the start moves with the start itself, and with nothing else
    torch.testing.assert_close(
        found.initial[:, :4], torch.eye(4).double().expand(len(windows), 4, 4), atol=1e-8, rtol=0
    )
    assert not found.theta[:, :4].any()
    assert not found.weights[:, :4].any()


@pytest.mark.slow
@pytest.mark.parametrize("fits", [8, pytest.param(24, marks=pytest.mark.slow)])
def test_standard_errors_are_the_scatter_of_the_estimates(fits: int) -> None:
    """n fits: the mean of ((ϑ̂ − ϑ)/s)² is χ²ₙ/n about 1, here within 3.5 deviations."""
    scaled = []
    for seed in range(fits):
        found = fit_jointly(
            pendulum("length", "damping", damping=0.12, length=0.55),
            logs(Pendulum(damping=0.1), 1, seed=seed),
            horizons=(10, 33),
        )
        about = found.information
        true = np.array([0.5, 0.1])
        scaled.append(np.log(true / about.values) / about.relative_errors)
    scaled = np.array(scaled)
    assert (np.abs(scaled.mean(0)) < 3.5 / np.sqrt(fits)).all()
    assert (np.abs((scaled**2).mean(0) - 1) < 3.5 * np.sqrt(2 / fits)).all()


def test_estimated_and_given_noise_agree() -> None:
    model, data = pendulum("length", "damping"), logs(Pendulum())
    a = information(model, data)
    b = information(model, data, noise=NOISE)
    np.testing.assert_allclose(a.noise, NOISE, rtol=0.2)
    np.testing.assert_allclose(a.relative_errors, b.relative_errors, rtol=0.2)


def test_more_data_say_more_by_the_square_root() -> None:
    model = pendulum("length", "damping")
    data = logs(Pendulum(), 2)
    one = information(model, data, noise=NOISE)
    four = information(model, Dataset([*data] * 4), noise=NOISE)
    np.testing.assert_allclose(four.matrix, 4 * one.matrix, rtol=1e-9)
    np.testing.assert_allclose(2 * four.standard_errors, one.standard_errors, rtol=1e-9)


def test_mass_and_friends_that_only_enter_as_ratios_are_told() -> None:
    names = ("mass", "inertia", "damping", "motor_gain")
    about = information(pendulum(*names), logs(Pendulum()), noise=NOISE)
    # all four scaled alike leave θ̈ alone: m l² + I, b, m g l, k
    assert about.rank == 3
    (direction, *_) = about.unidentifiable
    np.testing.assert_allclose(np.abs(direction.move), 0.5, atol=1e-4)
    assert np.isinf(about.relative_errors).all()
    assert "nothing in the log sees it" in str(direction)
    assert all(about.verdict(name) == "not" for name in names)
    held = information(pendulum(*names[:3]), logs(Pendulum()), noise=NOISE)
    assert held.rank == 3
    assert not np.isinf(held.relative_errors).any()


def test_the_residual_takes_what_it_could_do() -> None:
    system, data = Pendulum(), logs(Pendulum())
    names = ("length", "damping")
    model = HybridModel(system, MLP((12,)), dt=DT, fit_parameters=names)
    bare = information(pendulum(*names), data, noise=NOISE)
    fixed = information(model, data, noise=NOISE, residual="fixed")
    projected = information(model, data, noise=NOISE)
    np.testing.assert_allclose(fixed.matrix, bare.matrix, rtol=1e-6)
    # what is left is smaller in every direction
    assert np.linalg.eigvalsh(fixed.matrix - projected.matrix).min() > -1e-6 * fixed.matrix.max()
    assert (projected.relative_errors >= fixed.relative_errors).all()


def test_sandwich_and_white_errors_are_of_one_size() -> None:
    """Starting from measured samples loses information; the sandwich knows by how much."""
    model, data = pendulum("length", "damping"), logs(Pendulum(), 6, 204, noise=0.003)
    white = information(model, data, horizon=10)
    sandwich = information(model, data, horizon=10, initial="measured")
    ratio = sandwich.relative_errors / white.relative_errors
    assert (ratio > 0.8).all()
    assert (ratio < 5).all()


def test_intervals_stay_in_the_domain_and_hold_the_value() -> None:
    about = information(pendulum("length", "damping"), logs(Pendulum(), 1), noise=0.1)
    ends = about.intervals()
    assert (ends[:, 0] > 0).all()
    assert (ends[:, 0] < about.values).all()
    assert (about.values < ends[:, 1]).all()
    assert (np.diff(about.intervals(0.99)) > np.diff(ends)).all()


@pytest.mark.slow
def test_the_profile_is_the_parabola_of_the_standard_error() -> None:
    data = logs(Pendulum())
    about = fit_jointly(pendulum("length", "damping"), data).information
    found = profile(pendulum("length", "damping"), data, "damping", count=5)
    low, high = found.interval()
    np.testing.assert_allclose([low, high], about.intervals()[1], rtol=0.03)


def test_sparse_basis_spans_the_same() -> None:
    rows = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 2)))[0].T
    found = sparse_basis(rows)
    np.testing.assert_allclose(np.linalg.matrix_rank(np.vstack([rows, found])), 2)
    assert (found == 0).sum() >= 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"residual": "ignore"}, "residual must be"),
        ({"initial": "guessed"}, "initial must be"),
        ({"noise": -1.0}, "noise must be positive"),
        ({"noise": float("nan")}, "noise must be positive"),
        ({"noise": np.array([0.1, 0.1, 0.1])}, "noise must be one number"),
        ({"stride": 3}, "stride must exceed"),
    ],
)
def test_bad_input_names_the_argument(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        information(pendulum("mass"), logs(Pendulum(), 1), **wrong)


def test_a_joint_fit_names_a_noise_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="noise must be one number"):
        fit_jointly(pendulum("mass"), logs(Pendulum(), 1), noise=np.array([0.1, 0.1, 0.1]))


def test_nothing_declared_is_refused() -> None:
    with pytest.raises(ValueError, match="fit_parameters is empty"):
        information(pendulum(), logs(Pendulum(), 1))
