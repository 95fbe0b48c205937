"""A car on four wheels: the bicycle's laws where tyres hold, and how far apart they are."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel import envs
from hybridmodel.envs import VehicleEffects
from physics import DynamicBicycle, Pendulum

SYSTEM = DynamicBicycle()


def drive(plant, speed, duty, steering, steps=50):
    """States (steps + 1, 6) from straight ahead at this speed."""
    plant.reset(options={"state": [0, 0, 0, speed, 0, 0]})
    states = [plant.state]
    states += [plant.step(np.array([duty, steering]))[4]["x"] for _ in range(steps)]
    return np.array(states)


@pytest.fixture(scope="module")
def car():
    with envs.BulletCar(SYSTEM, dt=0.02) as plant:
        yield plant


@pytest.fixture(scope="module")
def bicycle():
    return envs.OdePlant(SYSTEM, dt=0.02)


@pytest.mark.parametrize("duty", [0.0, 0.3, 0.6])
def test_it_drives_straight_like_the_bicycle(car, bicycle, duty):
    found, expected = drive(car, 1.0, duty, 0.0), drive(bicycle, 1.0, duty, 0.0)
    np.testing.assert_allclose(found[:, [0, 3]], expected[:, [0, 3]], rtol=0.01, atol=2e-3)
    np.testing.assert_allclose(found[:, [1, 2, 4, 5]], 0.0, atol=1e-6)


def test_it_stands_still(car):
    np.testing.assert_allclose(drive(car, 0.0, 0.0, 0.0), 0.0, atol=1e-6)


@pytest.mark.parametrize("steering", [0.02, 0.05])
def test_slowly_it_follows_its_wheels(car, steering):
    # no slip: ω = v tan δ / l
    last = drive(car, 0.5, 0.25, steering)[-1]
    length = SYSTEM.front_length + SYSTEM.rear_length
    assert last[5] == pytest.approx(last[3] * np.tan(steering) / length, rel=0.02)


def test_it_turns_more_tightly_than_tyres_that_slip(car, bicycle):
    for speed, share in ((0.5, 0.25), (1.0, 0.45), (2.0, 1.0)):
        found, expected = (drive(plant, speed, 0.3, 0.1)[-1, 5] for plant in (car, bicycle))
        assert 0 < found / expected - 1 < share


def test_grip_bounds_the_acceleration_across(car):
    states = drive(car, 2.5, 0.3, 0.3, 20)
    across = np.abs(states[2:, 3] * states[2:, 5])
    assert across.max() < 1.05 * (SYSTEM.front_peak + SYSTEM.rear_peak) / SYSTEM.mass
    assert across.max() > 5.0


def test_left_and_right_are_alike(car):
    sign = np.array([1, -1, -1, 1, -1, -1])
    left, right = drive(car, 1.0, 0.3, 0.05, 30), drive(car, 1.0, 0.3, -0.05, 30)
    np.testing.assert_allclose(left, right * sign, atol=0.02)


def test_the_heading_stays_unwrapped(car):
    heading = drive(car, 1.0, 0.3, 0.3, 150)[:, 2]
    assert heading[-1] > 2 * np.pi
    assert np.all(np.diff(heading) > 0)


def test_a_slippery_road_turns_less():
    rates = []
    for grip in (1.0, 0.3):
        hidden = VehicleEffects(tyre_friction=grip)
        with envs.BulletCar(SYSTEM, dt=0.02, hidden=hidden) as plant:
            rates.append(drive(plant, 1.5, 0.3, 0.2, 20)[-1, 5])
        true = hidden.true_system(SYSTEM)
        assert true.parameters["rear_peak"] == pytest.approx(grip * SYSTEM.rear_peak)
    assert rates[1] < 0.6 * rates[0]


def test_make_builds_it_and_pictures_show_it():
    plant = envs.make(SYSTEM, dt=0.02, render_mode="rgb_array")
    assert isinstance(plant, envs.BulletCar)
    plant.reset(seed=0)
    picture = plant.render()
    assert picture is not None
    assert np.ptp(picture) > 50
    again = plant.with_settings(solver_iterations=20)
    assert again.settings["solver_iterations"] == 20
    for one in (plant, again):
        one.close()


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf")])
def test_friction_of_the_road_is_positive(value):
    with pytest.raises(ValueError, match="tyre_friction"):
        VehicleEffects(tyre_friction=value)


def test_the_road_is_for_cars():
    with pytest.raises(ValueError, match=r"tyre_friction .*Pendulum"):
        envs.OdePlant(Pendulum(), dt=0.02, hidden=VehicleEffects(tyre_friction=0.5))
    with pytest.raises(ValueError, match=r"DynamicBicycle .*Pendulum"):
        envs.BulletCar(Pendulum(), dt=0.02)  # type: ignore[arg-type]
