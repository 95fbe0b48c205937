"""Delays and derivatives against signals whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel.data import differentiate, estimate_delay

DT = 0.01


def motion(seed: int, count: int = 20, fastest: float = 8.0):
    """A sum of sinusoids: position and velocity at any time."""
    rng = np.random.default_rng(seed)
    w = 2 * np.pi * rng.uniform(0.2, fastest, count)
    a, phase = rng.normal(size=count) / w, rng.uniform(0, 2 * np.pi, count)

    def position(t: np.ndarray) -> np.ndarray:
        return np.cos(np.outer(t, w) + phase) @ a

    def velocity(t: np.ndarray) -> np.ndarray:
        return -np.sin(np.outer(t, w) + phase) @ (a * w)

    return position, velocity


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_a_delay_is_found_within_a_fifth_of_a_sample(noise: float) -> None:
    t = DT * np.arange(2000)
    for seed in range(40):
        rng = np.random.default_rng(1000 + seed)
        _, velocity = motion(seed)
        delay = rng.uniform(-25, 25) * DT
        x, y = velocity(t), 3 * velocity(t - delay) + 1
        x, y = (c + noise * c.std() * rng.normal(size=len(t)) for c in (x, y))
        found = estimate_delay(x, y, DT, max_delay=0.4)
        assert abs(found.samples - delay / DT) < 0.2
        assert found.certain


def test_a_velocity_lags_the_position_it_belongs_to() -> None:
    t = DT * np.arange(3000)
    for seed in range(10):
        position, velocity = motion(seed, fastest=4.0)
        rng = np.random.default_rng(seed)
        y = position(t) + 1e-4 * rng.normal(size=len(t))
        slope = differentiate(t, y).derivative
        assert abs(estimate_delay(slope, velocity(t - 0.0337), DT).samples - 3.37) < 0.2


@pytest.mark.slow
def test_delays_that_cannot_be_told_are_uncertain() -> None:
    t = DT * np.arange(2000)
    rng = np.random.default_rng(0)
    certain = [estimate_delay(*rng.normal(size=(2, 2000)), DT).certain for _ in range(50)]
    assert not any(certain)
    wave = np.sin(2 * np.pi * 3 * t)
    assert not estimate_delay(wave, np.roll(wave, 5), DT).certain


def test_swapping_channels_turns_the_sign() -> None:
    t = DT * np.arange(2000)
    _, velocity = motion(3)
    a = estimate_delay(velocity(t), velocity(t - 0.123), DT)
    b = estimate_delay(velocity(t - 0.123), velocity(t), DT)
    assert a.samples == pytest.approx(-b.samples, abs=0.05)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros(100), np.arange(100.0), "first is constant"),
        (np.arange(10.0), np.arange(10.0), "n at least 64"),
        (np.arange(100.0), np.full(100, np.nan), "must be finite"),
    ],
)
def test_channels_are_checked(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_delay(x, y, DT)


@pytest.mark.parametrize("method", ["savitzky_golay", "zero_phase"])
@pytest.mark.parametrize(("noise", "step"), [(1e-3, 0.0), (1e-2, 0.0), (0.0, 5e-3)])
def test_derivatives_are_better_than_differences(method, noise: float, step: float) -> None:
    t = DT * np.arange(2000)
    shares = []
    for seed in range(20):
        position, velocity = motion(seed, count=8, fastest=2.0)
        y = position(t) + noise * np.random.default_rng(seed).normal(size=len(t))
        y = np.round(y / step) * step if step else y
        found = differentiate(t, y, method=method)
        error = np.std(found.derivative - velocity(t))
        shares.append(error / np.std(np.gradient(y, DT) - velocity(t)))
    assert np.mean(shares) < 0.5


def test_uneven_stamps_lose_nothing() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        t = DT * (np.arange(1000) + rng.uniform(-0.3, 0.3, 1000))
        position, velocity = motion(seed, count=8, fastest=2.0)
        y = position(t) + 1e-3 * rng.normal(size=len(t))
        found = differentiate(t, y)
        naive = np.std(np.gradient(y, t) - velocity(t))
        assert np.std(found.derivative - velocity(t)) < 0.6 * naive
        assert found.noise == pytest.approx(1e-3, rel=0.25)


@pytest.mark.parametrize(
    "options",
    [
        {"window": 11},
        {"window": 31, "order": 2},
        {"method": "zero_phase", "cutoff": 5.0},
        {"method": "zero_phase", "cutoff": 20.0, "order": 4},
    ],
)
def test_the_stated_noise_gain_is_that_of_noise(options) -> None:
    white = np.random.default_rng(0).normal(size=200_000)
    found = differentiate(DT * np.arange(len(white)), white, **options)
    inner = found.derivative[1000:-1000]
    assert np.std(inner) == pytest.approx(found.noise_gain, rel=0.03)
    assert found.noise == pytest.approx(1.0, rel=0.03)
    assert found.noise_gain < np.sqrt(2) / DT


def test_polynomials_and_turns_are_exact() -> None:
    t = DT * np.arange(200)
    cubic = 1 + 2 * t - t**2 + 0.5 * t**3
    found = differentiate(t, cubic, window=9, order=3)
    assert found.derivative == pytest.approx(2 - 2 * t + 1.5 * t**2, abs=1e-8)
    t = t + 0.004 * np.sin(np.arange(200.0))
    cubic = 1 + 2 * t - t**2 + 0.5 * t**3
    found = differentiate(t, cubic, window=9, order=3)
    assert found.derivative == pytest.approx(2 - 2 * t + 1.5 * t**2, abs=1e-8)
    angle = np.mod(7 * t, 2 * np.pi)
    assert differentiate(t, angle, window=9, angle=True).derivative == pytest.approx(7, abs=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 10}, "window must be odd"),
        ({"cutoff": 3.0}, "takes no cutoff"),
        ({"method": "zero_phase", "window": 9}, "takes no window"),
        ({"method": "zero_phase", "cutoff": 60.0}, "cutoff must be within 0 … 50"),
        ({"method": "spline"}, "method is 'savitzky_golay' or"),
    ],
)
def test_options_of_derivatives_are_checked(options, message: str) -> None:
    t = DT * np.arange(100)
    with pytest.raises(ValueError, match=message):
        differentiate(t, np.sin(t), **options)
