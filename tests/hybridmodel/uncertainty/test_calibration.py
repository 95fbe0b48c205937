"""Calibration: a plant whose noise is known is nominal, one whose R is wrong is mended."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from hybridmodel import Dataset, HybridModel, Trajectory
from hybridmodel.uncertainty import (
    Noise,
    Recalibration,
    calibration,
    propagate,
    recalibrate,
    split_noise,
)
from physics import Pendulum

DT, STEPS = 0.05, 100
PROCESS, SENSOR = np.array([1e-4, 9e-4]), np.array([4e-4, 9e-4])  # variances
KNOWN = Noise(tuple(PROCESS), tuple(SENSOR))


def plant() -> HybridModel:
    return HybridModel(Pendulum(damping=0.5), dt=DT)


def logs(count: int, seed: int) -> Dataset:
    """A pendulum with Gaussian noise in each step and at its sensors."""
    rng, model = np.random.default_rng(seed), plant()
    u = np.repeat(rng.uniform(-1, 1, (count, STEPS // 5, 1)), 5, axis=1)
    x = [rng.uniform(-1, 1, (count, 2))]
    for k in range(STEPS):
        after = model(torch.tensor(x[-1]), torch.tensor(u[:, k])).detach().numpy()
        x.append(after + np.sqrt(PROCESS) * rng.standard_normal(after.shape))
    y = np.stack(x, 1)
    y = y + np.sqrt(SENSOR) * rng.standard_normal(y.shape)
    t = DT * np.arange(STEPS + 1)
    return Dataset(Trajectory(t=t, u=u[i], y=y[i]) for i in range(count))


VALIDATION, HELD_OUT = logs(40, 0), logs(60, 1)
SETTINGS = {"horizon": 12, "stride": 3}


@pytest.mark.parametrize("method", ["tsinf", "ts1", "moments"])
def test_intervals_of_noise_that_is_known_are_nominal(method) -> None:
    found = calibration(plant(), HELD_OUT, method=method, noise=KNOWN, particles=40, **SETTINGS)
    assert found.windows == 60 * 30
    assert np.all(np.abs(found.coverage - 0.9) < 0.03)
    levels = np.array(found.levels)[:, None]
    assert np.all(np.abs(found.reliability - levels) < 0.03)
    # 2 z of a Gaussian; samples estimate the width and pay for it
    assert np.all(np.abs(found.sharpness - 3.29) < 0.4)
    assert "all signals" in found.table()
    assert "angle" in found.table()


def test_the_growth_of_errors_tells_sensors_from_process() -> None:
    found = split_noise(plant(), VALIDATION, horizon=15)
    assert np.allclose(np.sqrt(found.process), np.sqrt(PROCESS), rtol=0.25)
    assert np.allclose(np.sqrt(found.measurement), np.sqrt(SENSOR), rtol=0.25)
    assert Noise.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("scale", [0.04, 16.0])
def test_factors_mend_a_noise_that_is_wrong(scale) -> None:
    model, wrong = plant(), Noise(tuple(scale * PROCESS), tuple(scale * SENSOR))
    settings = {"method": "moments", **SETTINGS}
    before = calibration(model, HELD_OUT, noise=wrong, **settings)
    assert np.all(np.abs(before.pooled - 0.9) > 0.08)
    mended = recalibrate(model, VALIDATION, noise=wrong, **settings)
    assert np.allclose(mended.factors, 1 / np.sqrt(scale), rtol=0.15)
    after = calibration(model, HELD_OUT, calibration=mended, **settings)
    assert np.all(np.abs(after.coverage - 0.9) < 0.04)


def test_factors_are_plain_data() -> None:
    found = recalibrate(plant(), VALIDATION, horizon=5, stride=5, method="moments", noise=KNOWN)
    assert Recalibration.from_json(json.loads(json.dumps(found.to_json()))) == found
    x0, u = torch.zeros(2, dtype=torch.float64), torch.zeros(5, 1, dtype=torch.float64)
    seen = propagate(plant(), x0, u, method="moments", calibration=found)
    plain = propagate(plant(), x0, u, method="moments", noise=KNOWN, measured=True)
    assert torch.allclose(seen.std, plain.std * found.factor(5))
    with pytest.raises(ValueError, match="calibration is of method"):
        propagate(plant(), x0, u, method="ts1", calibration=found)
    with pytest.raises(ValueError, match="calibration holds 5 steps"):
        propagate(plant(), x0, torch.zeros(6, 1).double(), method="moments", calibration=found)


def test_too_few_logs_for_a_level_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        recalibrate(plant(), VALIDATION[:1], horizon=50, method="moments", noise=KNOWN)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"horizon": 0}, "horizon"), ({"level": 0.0}, "level"), ({"level": 1.5}, "level")],
)
def test_wrong_arguments_are_named(wrong, told) -> None:
    with pytest.raises(ValueError, match=f"^{told} must"):
        recalibrate(plant(), VALIDATION, **wrong)
