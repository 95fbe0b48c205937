"""The Gymnasium contract, seeds, isolation, bad input, pictures."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from hybridmodel import envs
from physics import CartPole, DoublePendulum, InputDelay, Linear, Pendulum

SYSTEMS = [Pendulum(), CartPole(), DoublePendulum(), DoublePendulum.acrobot()]
EVERY = pytest.mark.parametrize(
    ("system", "engine"),
    [(system, engine) for system in SYSTEMS for engine in ("pybullet", "ode")]
    + [(Linear(), "ode")],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
HIDDEN = envs.HiddenEffects(coulomb=(0.4, 0.01), wind=0.3, observation_noise=0.01, input_lag=0.05)


def run(plant, seed, steps=25):
    """Observations (steps+1, ny) under a fixed input."""
    rows = [plant.reset(seed=seed)[0]]
    high = np.minimum(1.0, plant.action_space.high)
    rows += [plant.step(high * np.sin(k))[0] for k in range(steps)]
    return np.array(rows)


@EVERY
@pytest.mark.filterwarnings("ignore:.*recommend using a symmetric and normalized space")
@pytest.mark.filterwarnings("ignore:.*Box observation space m..imum value is .?infinity")
@pytest.mark.filterwarnings("ignore:.*Box action space m..imum value is .?infinity")
@pytest.mark.filterwarnings("ignore:.*not able to test alternative render modes")
def test_gymnasium_contract(system, engine):
    check_env(envs.make(system, engine=engine, dt=0.04))


@EVERY
def test_the_first_observation_is_the_state_asked_for(system, engine):
    plant = envs.make(system, engine=engine, dt=0.04)
    x0 = np.linspace(7.0, 0.3, system.nx)  # angles stay unwrapped
    y, info = plant.reset(options={"state": x0})
    np.testing.assert_array_equal(y, x0)
    np.testing.assert_array_equal(info["x"], x0)
    assert info["t"] == 0.0


def test_angles_stay_unwrapped():
    plant = envs.make(Pendulum(damping=1e-6), dt=0.04)
    plant.reset(options={"state": [0.0, 20.0]})
    for _ in range(25):
        *_, info = plant.step(np.zeros(1))
    assert info["x"][0] > 4 * np.pi
    assert info["t"] == pytest.approx(1.0)


@pytest.mark.parametrize("engine", ["pybullet", "ode"])
def test_seeds_repeat_to_the_bit(engine):
    first = envs.make(CartPole(), engine=engine, dt=0.04, hidden=HIDDEN)
    again = envs.make(CartPole(), engine=engine, dt=0.04, hidden=HIDDEN)
    log = run(first, 5)
    np.testing.assert_array_equal(log, run(first, 5))
    np.testing.assert_array_equal(log, run(again, 5))
    assert np.any(log != run(first, 6))


@pytest.mark.parametrize("engine", ["pybullet", "ode"])
def test_asking_for_accelerations_changes_nothing(engine):
    plant = envs.make(CartPole(), engine=engine, dt=0.04, hidden=HIDDEN)
    log = run(plant, 5)
    rows = [plant.reset(seed=5)[0]]
    for k in range(25):
        plant.acceleration([0.3, 1.0, -2.0, 3.0], np.array([4.0]))
        rows.append(plant.step(np.array([np.sin(k)]))[0])
    np.testing.assert_array_equal(rows, log)


def test_two_worlds_do_not_meet():
    alone = run(envs.make(CartPole(), dt=0.04, hidden=HIDDEN), 1)
    one = envs.make(CartPole(), dt=0.04, hidden=HIDDEN)
    other = envs.make(DoublePendulum(gravity=3.0), dt=0.01)
    rows, _ = [one.reset(seed=1)[0]], other.reset(seed=2)
    for k in range(25):
        other.step(np.array([1.0, -1.0]))
        rows.append(one.step(np.array([np.sin(k)]))[0])
        if k == 12:
            other.close()
            other = envs.make(DoublePendulum(), dt=0.01)
            other.reset(seed=3)
    np.testing.assert_array_equal(rows, alone)


def test_closing_twice_is_harmless_and_frees_the_world():
    import pybullet

    plant = envs.make(Pendulum(), dt=0.04)
    client = plant._client
    assert pybullet.isConnected(client)
    plant.close()
    plant.close()
    assert not pybullet.isConnected(client)


def test_reward_is_given_what_was_before_the_step():
    seen = []

    def reward(x, u, k):
        seen.append((x.copy(), u.copy(), k))
        return -float(u[0])

    plant = envs.OdePlant(Pendulum(), dt=0.04, reward=reward, initial_state=[0.2, 0.0])
    plant.reset(seed=0)
    assert plant.step(np.array([0.5]))[1] == -0.5
    plant.step(np.array([0.1]))
    np.testing.assert_array_equal(seen[0][0], [0.2, 0.0])
    assert [k for *_, k in seen] == [0, 1]


def test_episodes_end_by_count_or_at_the_bounds():
    plant = envs.make(CartPole(), dt=0.04, episode_steps=3)
    plant.reset(seed=0)
    ends = [plant.step(np.zeros(1))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    plant.reset(options={"state": [2.39, 0.0, 2.0, 0.0]})
    assert plant.step(np.zeros(1))[2]


@pytest.mark.parametrize("action", [[np.nan], [1.0, 2.0], 1.0, [2.1], [-2.1], ["fast"], None])
def test_bad_actions_are_refused_by_name(action):
    plant = envs.OdePlant(Pendulum(), dt=0.04)
    plant.reset(seed=0)
    with pytest.raises(ValueError, match=r"action .*torque"):
        plant.step(action)
    plant.step(np.array([2.0 + 1e-10]))  # rounding is not a mistake


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dt", 0.0),
        ("dt", np.nan),
        ("substeps", 0),
        ("substeps", 2.5),
        ("episode_steps", 0),
        ("initial_state", [0.0]),
        ("render_mode", "human"),
    ],
)
def test_bad_arguments_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match="state" if name == "initial_state" else name):
        envs.make(Pendulum(), **({"dt": 0.04} | {name: value}))


def test_bad_starts_are_refused():
    plant = envs.OdePlant(Pendulum(), dt=0.04)
    with pytest.raises(RuntimeError, match="reset"):
        plant.step(np.zeros(1))
    with pytest.raises(ValueError, match=r"state .*angle"):
        plant.reset(options={"state": [0.0, np.inf]})
    with pytest.raises(ValueError, match=r"options .*stat"):
        plant.reset(options={"stat": [0.0, 0.0]})


def test_systems_that_no_plant_builds_are_refused():
    with pytest.raises(ValueError, match=r"CartPole.*Linear"):
        envs.make(Linear(), dt=0.04)
    with pytest.raises(ValueError, match=r"Pendulum.*CartPole"):
        envs.BulletPendulum(CartPole(), dt=0.04)
    with pytest.raises(ValueError, match="input_delay"):
        envs.OdePlant(InputDelay(system=Pendulum(), steps=1), dt=0.04)
    with pytest.raises(ValueError, match="engine"):
        envs.make(Pendulum(), engine="drake", dt=0.04)


@pytest.mark.parametrize("system", SYSTEMS[:3], ids=lambda system: type(system).__name__)
def test_pictures_show_the_plant_and_change_nothing(system):
    cls = type(envs.make(system, dt=0.04))
    plant = cls(system, dt=0.04, render_mode="rgb_array", size=(160, 100))
    assert plant.metadata["render_fps"] == 25
    plant.reset(options={"state": np.zeros(system.nx)})
    hanging = plant.render()
    assert hanging.shape == (100, 160, 3)
    assert hanging.dtype == np.uint8
    # orange pixels: below the middle when hanging, above when standing, right when θ = π/2 > 0
    assert _orange(hanging)[0] > 50
    for angle, place in ((np.pi, lambda row, column: row < 50), (np.pi / 2, lambda r, c: c > 80)):
        x = np.zeros(system.nx)
        x[system.angle_rows[0]] = angle
        plant.reset(options={"state": x})
        assert place(*_orange(plant.render()))
        np.testing.assert_array_equal(plant.state, x)


def _orange(picture):
    """Mean (row, column) of the orange pixels."""
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    return np.argwhere((red > 180) & (green < 180) & (blue < 120)).mean(axis=0)


def test_pictures_have_a_size():
    with pytest.raises(ValueError, match="size"):
        envs.BulletPendulum(Pendulum(), dt=0.04, render_mode="rgb_array", size=(0, 100))


def test_settings_record_what_was_set():
    settings = envs.make(CartPole(), dt=0.04, hidden=HIDDEN).settings
    assert settings["engine"] == "pybullet"
    assert settings["substeps"] == 160
    assert settings["linear_damping"] == settings["angular_damping"] == 0.0
    assert settings["joint_damping"] == (0.05, 0.002)
    assert settings["hidden"]["coulomb"] == (0.4, 0.01)


@pytest.mark.parametrize("missing", ["pybullet", "gymnasium"])
def test_a_missing_engine_names_the_extra(missing):
    code = f"""
import sys
sys.modules[{missing!r}] = None
import physics
from hybridmodel import envs
envs.HiddenEffects(), envs.Disturbed(system=physics.Pendulum())
try:
    envs.BulletPendulum
except ImportError as error:
    assert "pip install hybridmodel[sim]" in str(error), error
else:
    raise SystemExit("no error")
if {missing!r} == "pybullet":
    envs.make(physics.Pendulum(), engine="ode", dt=0.1).reset()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_loads_no_engine():
    code = """
import sys
import hybridmodel.envs
assert not {"pybullet", "gymnasium", "torch"} & set(sys.modules)
hybridmodel.envs.make
from hybridmodel.envs import BulletCartPole, OdePlant, rollout_gap
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
