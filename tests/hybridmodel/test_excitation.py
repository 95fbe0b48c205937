"""Excitations stay inside the bounds, repeat with their seed and fill their band."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel.collection import collect
from hybridmodel.envs import OdePlant
from hybridmodel.excitation import (
    Chirp,
    ComputedTorque,
    Dithered,
    Excitation,
    FourierMotion,
    GeometricFlight,
    Hold,
    Multisine,
    RandomSteps,
)
from physics import CartPole, DoublePendulum, Signal
from physics.quadrotor import Quadrotor

Make = Callable[..., Excitation]
ALL: tuple[Make, ...] = (Multisine, Chirp, RandomSteps)  # a new excitation joins here
INPUTS = (Signal("force", "N", -1.0, 3.0), Signal("torque", "N·m", -2.0, 2.0))
Y = np.zeros(2)
LAWS = settings(derandomize=True, deadline=None, max_examples=25)


def record(policy: Excitation, times: Sequence[float], seed: int | None = 0) -> np.ndarray:
    policy.reset(seed)
    return np.array([policy(t, Y) for t in times])


@pytest.mark.parametrize("make", ALL)
@LAWS
@given(seed=st.integers(0, 10**6), amplitude=st.floats(0.01, 1), start=st.floats(0, 100))
def test_inside_the_share_of_the_bounds(
    make: Make, seed: int, amplitude: float, start: float
) -> None:
    u = record(make(INPUTS, amplitude=amplitude), start + np.linspace(0, 20, 400), seed)
    low, high = (np.array([getattr(s, name) for s in INPUTS]) for name in ("low", "high"))
    assert ((low <= u) & (u <= high)).all()
    assert (np.abs(u - (low + high) / 2) <= amplitude * (high - low) / 2 * (1 + 1e-12)).all()


@pytest.mark.parametrize("make", ALL)
def test_uses_most_of_its_swing(make: Make) -> None:
    u = record(make(INPUTS, amplitude=0.5), np.linspace(0, 60, 6000))
    assert (np.ptp(u, axis=0) > 0.8 * 0.5 * 4).all()


@pytest.mark.parametrize("make", ALL)
def test_repeats_with_its_seed_alone(make: Make) -> None:
    times = np.arange(0, 10, 0.05)
    policy = make(INPUTS)
    first = record(policy, times, seed=3)
    assert np.array_equal(first, record(policy, times, seed=3))
    assert np.array_equal(first, record(make(INPUTS), times, seed=3))
    assert not np.array_equal(first, record(policy, times, seed=4))
    assert np.array_equal(record(policy, times, None), record(policy, times, 0))
    assert np.array_equal(record(pickle.loads(pickle.dumps(policy)), times, 3), first)


@pytest.mark.parametrize("make", ALL)
def test_depends_on_time_alone(make: Make) -> None:
    policy = make(INPUTS)
    policy.reset(1)
    late = policy(7.3, Y)
    policy(2.0, Y)
    assert np.array_equal(policy(7.3, Y + 1), late)


@pytest.mark.parametrize("make", ALL)
def test_inputs_move_independently(make: Make) -> None:
    u = record(make(INPUTS), np.linspace(0, 200, 8000))
    assert abs(np.corrcoef(u.T)[0, 1]) < 0.2


@pytest.mark.parametrize("make", [Multisine, Chirp])
def test_power_lies_in_the_band(make: Make) -> None:
    dt, low, high = 0.02, 0.5, 2.0
    u = record(make(INPUTS, band=(low, high)), dt * np.arange(10000))
    power = np.abs(np.fft.rfft((u - u.mean(axis=0)) * np.hanning(len(u))[:, None], axis=0)) ** 2
    hertz = np.fft.rfftfreq(len(u), dt)
    inside = (hertz > low - 0.1) & (hertz < high + 0.1)
    assert (power[inside].sum(axis=0) > 0.99 * power.sum(axis=0)).all()
    for part in np.split(np.flatnonzero(inside), [len(np.flatnonzero(inside)) // 2]):
        assert (power[part].sum(axis=0) > 0.25 * power.sum(axis=0)).all()


def test_the_documented_multisine() -> None:
    policy = Multisine(INPUTS, band=(1.0, 2.0), tones=3, amplitude=1.0)
    assert policy.frequencies.tolist() == [[1.0, 1.4, 1.8], [1.2, 1.6, 2.0]]
    t = np.linspace(0, 50, 20001)
    waves = np.array([policy.wave(at) for at in t])
    assert np.abs(waves).max() <= 1
    assert (np.abs(waves).max(axis=0) > 0.9).all()


def test_the_documented_chirp() -> None:
    band, sweep = (0.5, 2.0), 4.0
    policy = Chirp(INPUTS[:1], band=band, sweep=sweep)
    t = np.arange(0, 20, 1e-3)
    hertz = np.gradient(policy._turns(t), t)[5:-5]
    away = np.abs((t[5:-5] % (2 * sweep)) - sweep) / sweep  # 1 at the low end, 0 at the high end
    assert hertz == pytest.approx(band[1] - (band[1] - band[0]) * away, abs=1e-3)


def test_steps_are_held_as_long_as_said() -> None:
    dt = 0.001
    u = record(RandomSteps(INPUTS, hold=(0.2, 0.4)), dt * np.arange(20000))
    switches = np.flatnonzero(np.any(np.diff(u, axis=0) != 0, axis=1))
    lengths = dt * np.diff(switches)
    assert lengths.min() >= 0.2 - 2 * dt
    assert lengths.max() <= 0.4 + 2 * dt
    assert np.ptp(lengths) > 0.15


def test_hold_commands_one_value() -> None:
    policy = Hold(INPUTS, (3.0, -1.0))
    policy.reset(0)
    policy(0.0, Y)[:] = 9
    assert policy(5.0, Y).tolist() == [3.0, -1.0]
    with pytest.raises(ValueError, match=r"'force' is outside -1.0 … 3.0"):
        Hold(INPUTS, (3.1, 0.0))
    with pytest.raises(ValueError, match="must hold 2 numbers"):
        Hold(INPUTS, (0.0,))
    with pytest.raises(ValueError, match="nan of input 'force'"):
        Hold(INPUTS, (np.nan, 0.0))


@pytest.mark.parametrize("make", ALL)
def test_bounds_and_amplitude_are_checked(make: Make) -> None:
    with pytest.raises(ValueError, match="input 'free' has bounds -inf … inf"):
        make((Signal("free"),))
    with pytest.raises(ValueError, match="inputs is empty"):
        make(())
    for amplitude in (0.0, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"amplitude is a share .* got"):
            make(INPUTS, amplitude=amplitude)


@pytest.mark.parametrize("band", [(0, 1), (2, 1), (1, np.inf), (1, np.nan), (1,)])
def test_bands_are_checked(band: tuple[float, float]) -> None:
    for make in (Multisine, Chirp):
        with pytest.raises(ValueError, match="band must be"):
            make(INPUTS, band=band)


def test_other_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="tones must be at least 2"):
        Multisine(INPUTS, tones=1)
    with pytest.raises(ValueError, match="sweep must be a positive time"):
        Chirp(INPUTS, sweep=0)
    with pytest.raises(ValueError, match="hold must be"):
        RandomSteps(INPUTS, hold=(0.5, 0.1))


def test_dither_is_added_about_its_centre() -> None:
    policy = Dithered(Hold(INPUTS, (2.9, 0.0)), RandomSteps(INPUTS, amplitude=0.2))
    u = record(policy, np.linspace(0, 50, 2000))  # type: ignore[arg-type]
    assert u[:, 0].max() == 3.0  # the bound, which the wave would pass
    assert u[:, 0].min() >= 2.9 - 0.2 * 2.0
    assert abs(u[:, 1].mean()) < 0.05


@LAWS
@given(seed=st.integers(0, 10**6), t=st.floats(0.0, 30.0), harmonics=st.integers(1, 7))
def test_a_motion_stays_within_reach_and_knows_its_derivatives(
    seed: int, t: float, harmonics: int
) -> None:
    reach = np.array([0.5, 0.0, 2.0])
    center = (1.0, -1.0, 0.0)
    motion = FourierMotion(center, reach.tolist(), period=7.0, harmonics=harmonics, rise=2.0)
    motion.reset(seed)
    assert (np.abs(motion(t).value - motion.center) <= reach * (1 + 1e-12)).all()
    h = 1e-5
    before, here, after = motion(t), motion(t + h), motion(t + 2 * h)
    for k in (0, 1):  # a rate's derivative is the acceleration
        slope = (after[k] - before[k]) / (2 * h)
        np.testing.assert_allclose(slope, here[k + 1], atol=2e-4 * reach.max() * harmonics)


def test_a_motion_begins_at_rest_and_uses_its_reach() -> None:
    motion = FourierMotion((0.3, 0.0), (1.0, 0.5), period=5.0)
    first = motion(0.0)
    np.testing.assert_array_equal(first.value, [0.3, 0.0])
    np.testing.assert_array_equal([first.rate, first.acceleration], np.zeros((2, 2)))
    y = np.array([motion(t).value for t in np.linspace(1, 6, 2000)])
    assert (np.abs(y - motion.center).max(axis=0) > 0.95 * motion.reach).all()
    one, other = motion(3.3).value, None
    motion.reset(1)
    other = motion(3.3).value
    motion.reset(0)
    assert np.array_equal(motion(3.3).value, one)
    assert not np.array_equal(other, one)


def test_computed_torque_on_the_true_physics_follows_exactly() -> None:
    system = DoublePendulum()
    motion = FourierMotion((0.5, -0.3), (0.8, 0.6), period=6.0, harmonics=3)
    plant = OdePlant(system, dt=0.005)
    policy = ComputedTorque(system, motion)
    log = collect(plant, policy, steps=1200, seed=2, state=(0.5, -0.3, 0.0, 0.0))
    wanted = np.array([motion(t).value for t in log.t])
    assert np.abs(log.y[:, :2] - wanted).max() < 0.01  # commands are held for a step
    assert np.ptp(wanted, axis=0).min() > 0.5


def test_computed_torque_stays_inside_the_bounds() -> None:
    low = tuple(Signal(s.name, s.unit, -0.5, 0.3) for s in DoublePendulum().inputs)
    policy = ComputedTorque(
        DoublePendulum(inputs=low), FourierMotion((0.0, 0.0), (3.0, 3.0), period=1.0)
    )
    u = np.array([policy(t, 4 * np.ones(4)) for t in np.linspace(0, 5, 200)])
    assert ((u >= -0.5) & (u <= 0.3)).all()
    assert len(np.unique(u)) > 1


def test_a_flight_follows_its_motion_and_its_yaw() -> None:
    system = Quadrotor()
    motion = FourierMotion((0.0, 0.0, 2.0, 0.5), (1.0, 1.0, 0.5, 0.5), period=12.0, harmonics=2)
    start = np.array(system.neutral)
    start[2] = 2.0
    log = collect(
        OdePlant(system, dt=0.01), GeometricFlight(system, motion), steps=1200, seed=1, state=start
    )
    wanted = np.array([motion(t).value for t in log.t])[300:]
    assert np.abs(log.y[300:, :3] - wanted[:, :3]).max() < 0.1
    w, x, y, z = log.y[300:, 3:7].T
    yaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y**2 + z**2))
    assert np.abs(yaw - wanted[:, 3]).max() < 0.2
    assert ((log.u >= 0) & (log.u <= 3)).all()


def test_motions_and_followers_check_their_arguments() -> None:
    motion = FourierMotion((0.0, 0.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="a number for each channel"):
        FourierMotion((0.0,), (1.0, 1.0))
    with pytest.raises(ValueError, match="reach must be at least 0"):
        FourierMotion((0.0,), (-1.0,))
    with pytest.raises(ValueError, match="period must be a positive time"):
        FourierMotion((0.0,), (1.0,), period=0.0)
    with pytest.raises(ValueError, match="rise must be a positive time"):
        FourierMotion((0.0,), (1.0,), rise=0.0)
    with pytest.raises(ValueError, match="harmonics must be at least 1"):
        FourierMotion((0.0,), (1.0,), harmonics=0)
    with pytest.raises(ValueError, match="an input for each of its joints"):
        ComputedTorque(CartPole(), motion)
    with pytest.raises(ValueError, match="motion must be of x, y, z, yaw"):
        GeometricFlight(Quadrotor(), motion)
    with pytest.raises(ValueError, match="bandwidth must be positive"):
        ComputedTorque(DoublePendulum(), motion, bandwidth=0.0)
