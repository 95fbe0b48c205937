"""MuJoCo as a plant: the Gymnasium contract, dry friction, damping, settings, refusals."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from hybridmodel import envs
from hybridmodel.envs.effects import RobotEffects
from physics import CartPole, DoublePendulum, Linear, Pendulum, PlanarQuadrotor
from physics.rigid_body import RigidBody
from physics.rigid_body.description import Description, Joint, Link

mujoco = pytest.importorskip("mujoco")

from hybridmodel.envs.mujoco.plant import MujocoPlant  # noqa: E402
from hybridmodel.envs.mujoco.settings import MujocoSettings  # noqa: E402

STILL = np.zeros(1)
HIDDEN = envs.HiddenEffects(
    coulomb=(0.4, 0.01), ripple=0.5, wind=0.3, observation_noise=0.01, input_lag=0.05
)
INERTIA = 0.02 + 1.0 * 0.5**2  # of Pendulum() about its pivot [kg·m²]


def run(plant, seed, steps=25):
    """Observations (steps+1, ny) under a fixed input."""
    rows = [plant.reset(seed=seed)[0]]
    rows += [plant.step(np.array([np.sin(k)]))[0] for k in range(steps)]
    return np.array(rows)


def settled(plant, x, steps=50):
    """The state after so many steps without input."""
    plant.reset(options={"state": x})
    for _ in range(steps):
        plant.step(np.zeros(plant.system.nu))
    return plant.state


@pytest.mark.parametrize("system", [Pendulum(), CartPole(), DoublePendulum.acrobot()])
@pytest.mark.filterwarnings("ignore:.*recommend using a symmetric and normalized space")
@pytest.mark.filterwarnings("ignore:.*Box observation space m..imum value is .?infinity")
@pytest.mark.filterwarnings("ignore:.*Box action space m..imum value is .?infinity")
def test_gymnasium_contract(system):
    check_env(MujocoPlant(system, dt=0.04), skip_render_check=True)


def test_the_first_observation_is_the_state_asked_for():
    x = np.array([7.0, -5.0, 3.0, 0.3])  # angles stay unwrapped
    y, info = MujocoPlant(DoublePendulum(), dt=0.04).reset(options={"state": x})
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(info["x"], x)


def test_seeds_repeat_to_the_bit_and_worlds_do_not_meet():
    one, other = (MujocoPlant(CartPole(), dt=0.04, hidden=HIDDEN) for _ in range(2))
    record = run(one, 5)
    assert np.any(record != run(one, 6))
    np.testing.assert_array_equal(record, run(one, 5))
    rows = [one.reset(seed=5)[0]]
    other.reset(seed=1)
    for k in range(25):
        other.step(np.ones(1))
        rows.append(one.step(np.array([np.sin(k)]))[0])
    np.testing.assert_array_equal(rows, record)


def test_asking_for_accelerations_changes_nothing():
    plant = MujocoPlant(CartPole(), dt=0.04, hidden=HIDDEN)
    record = run(plant, 5)
    rows = [plant.reset(seed=5)[0]]
    for k in range(25):
        plant.acceleration([0.3, 1.0, -2.0, 3.0], np.array([4.0]))
        rows.append(plant.step(np.array([np.sin(k)]))[0])
    np.testing.assert_array_equal(rows, record)


@pytest.mark.parametrize("integrator", ["RK4", "Euler", "implicitfast"])
@pytest.mark.parametrize("implicit_damping", [False, True])
def test_a_step_is_the_engine_s_own(integrator, implicit_damping):
    settings = MujocoSettings(integrator=integrator, implicit_damping=implicit_damping)
    plant = MujocoPlant(CartPole(), dt=0.04, settings=settings)
    plant.reset(options={"state": [0.1, 0.5, -0.3, 2.0]})
    model = mujoco.MjModel.from_xml_string(plant.mjcf)  # all that was set is in the text
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = [0.1, 0.5], [-0.3, 2.0]
    for k in range(20):
        u = np.array([3 * np.sin(k)])
        data.qfrc_applied[0] = u[0]
        for _ in range(plant.substeps):
            mujoco.mj_step(model, data)
        np.testing.assert_array_equal(plant.step(u)[4]["x"], [*data.qpos, *data.qvel])


# -- friction and damping --------------------------------------------------------------------


@pytest.mark.parametrize("integrator", ["RK4", "Euler", "implicitfast"])
@pytest.mark.parametrize("substeps", [20, 40])
def test_a_joint_that_ought_to_stick_creeps_by_the_stated_law(integrator, substeps):
    # m g l sin 0.1 = 0.49 N·m is less than 0.6 N·m;  v = f (1 − d₀) / (d₀ b M),  b = 1 / (d₁ h)
    settings = MujocoSettings(integrator=integrator)
    hidden = envs.HiddenEffects(coulomb=(0.6,))
    plant = MujocoPlant(Pendulum(), dt=0.04, substeps=substeps, hidden=hidden, settings=settings)
    angle, rate = settled(plant, [0.1, 0.0])
    force, h = 9.81 * 0.5 * math.sin(0.1), 0.04 / substeps
    assert rate == pytest.approx(-force * 1e-4 * h / INERTIA, rel=1e-3)
    assert abs(angle - 0.1) < 1e-6


def test_the_engine_s_own_friction_creeps_a_thousand_times_faster():
    settings = dataclasses.replace(MujocoSettings.engine_defaults(), inertia="system")
    hidden = envs.HiddenEffects(coulomb=(0.6,))
    plant = MujocoPlant(Pendulum(), dt=0.04, substeps=20, hidden=hidden, settings=settings)
    angle, rate = settled(plant, [0.1, 0.0])
    force, b = 9.81 * 0.5 * math.sin(angle), 2 / (0.95 * 0.02)
    assert rate == pytest.approx(-force * 0.1 / (0.9 * b * INERTIA), rel=1e-2)
    assert abs(angle - 0.1) > 3e-3


def test_dry_friction_takes_its_work():
    # on the flat, ½ m v² = c s: the cart stops after 1/(2·0.8) m, then stands
    system = CartPole(cart_mass=0.999999, pole_mass=1e-6, cart_damping=1e-9, pole_inertia=1e-6)
    plant = MujocoPlant(system, dt=0.04, hidden=envs.HiddenEffects(coulomb=(0.8, 0.0)))
    x = settled(plant, [0.0, 0.0, 1.0, 0.0])
    assert x[0] == pytest.approx(0.5 / 0.8, rel=1e-5)
    assert abs(x[2]) < 1e-12


def test_ripple_varies_the_dry_friction_along_a_run():
    # c(q) = c⁰ (1 + cos w q): between q = 0 and 2π/w the work is that of c⁰
    system = CartPole(cart_mass=0.999999, pole_mass=1e-6, cart_damping=1e-9, pole_inertia=1e-6)
    wave, c = 2 * np.pi / 0.25, 0.8
    hidden = envs.HiddenEffects(coulomb=(c, 0.0), ripple=1.0, ripple_waves=wave)
    plant = MujocoPlant(system, dt=0.04, hidden=hidden)
    x = settled(plant, [0.0, 0.0, 1.0, 0.0])
    assert c * (x[0] + np.sin(wave * x[0]) / wave) == pytest.approx(0.5, rel=2e-3)
    assert abs(x[0] - 0.625) > 0.01


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"integrator": "Euler"}, lambda z: 1 - z),
        ({"integrator": "Euler", "implicit_damping": True}, lambda z: 1 / (1 + z)),
        ({"integrator": "implicitfast"}, lambda z: 1 / (1 + z)),
        ({"integrator": "RK4"}, lambda z: 1 - z + z**2 / 2 - z**3 / 6 + z**4 / 24),
    ],
)
def test_damping_is_integrated_as_stated(changes, factor):
    # v̇ = −(D/M) v over one step, modelled and hidden damping alike
    system = Pendulum(damping=0.7, gravity=1e-12)
    plant = MujocoPlant(
        system,
        dt=0.1,
        substeps=1,
        hidden=envs.HiddenEffects(viscous=(0.4,)),
        settings=MujocoSettings(**changes),
    )
    x = settled(plant, [0.3, 2.0], steps=1)
    assert x[1] == pytest.approx(2.0 * factor(0.1 * 1.1 / INERTIA), rel=1e-9)


# -- settings --------------------------------------------------------------------------------


def test_the_engine_s_defaults_are_what_the_engine_says():
    text = """<mujoco><worldbody><body><joint damping="1" frictionloss="1"/>
    <inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/></body></worldbody></mujoco>"""
    model = mujoco.MjModel.from_xml_string(text)
    option, said = model.opt, MujocoSettings.engine_defaults()
    assert said.gravity is not None
    assert option.gravity.tolist() == [0, 0, -said.gravity]
    assert option.integrator == mujoco.mjtIntegrator.mjINT_EULER
    assert option.solver == mujoco.mjtSolver.mjSOL_NEWTON
    assert option.iterations == said.solver_iterations
    assert option.tolerance == said.solver_tolerance
    assert option.disableflags == 0  # implicit damping, warm start, contacts, limits
    assert tuple(model.dof_solref[0]) == said.friction_solref
    assert tuple(model.dof_solimp[0]) == said.friction_solimp


def test_settings_record_what_was_set():
    plant = MujocoPlant(CartPole(), dt=0.04, hidden=HIDDEN)
    record = plant.settings
    assert record["engine"] == "mujoco"
    assert record["version"] == mujoco.mj_versionString()
    assert record["joint_damping"] == (0.05, 0.002)
    assert record["integrator"] == "RK4"
    assert record["gravity"] == 9.81
    other = plant.with_settings(integrator="Euler", gravity=3.0, joint_damping="none")
    assert other.settings["gravity"] == 3.0
    assert other.settings["joint_damping"] == (0.0, 0.0)
    assert other.settings["substeps"] == record["substeps"]
    assert other.settings["hidden"] == record["hidden"]


def test_the_system_s_own_friction_can_be_left_out_and_the_hidden_stays():
    tensor = ((0.3, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, 0.3))
    robot = one_link(mass=1.0, inertia=tensor).with_joint("pivot", damping=0.7, friction=0.2)
    hidden = envs.HiddenEffects(coulomb=(0.1,), viscous=(0.3,))
    settings = MujocoSettings(joint_damping="none", dry_friction="none")
    plant = MujocoPlant(robot, dt=0.04, hidden=hidden, settings=settings)
    bare = plant.acceleration([0.0, 2.0], [0.7])  # 0.7 − 0.1 − 0.3·2 = 0
    full = plant.with_settings(joint_damping="system", dry_friction="system")
    np.testing.assert_allclose(bare, 0.0, atol=1e-12)
    braked = full.acceleration([0.0, 2.0], [0.7])
    np.testing.assert_allclose(braked, -(0.7 * 2 + 0.2) / (0.3 + 0.1), rtol=1e-12)


def test_position_limits_are_met_where_they_are_asked_for():
    free = MujocoPlant(CartPole(), dt=0.04)
    assert settled(free, [2.3, 0.0, 3.0, 0.0], steps=5)[0] > 2.6
    stopped = free.with_settings(position_limits=True)
    assert settled(stopped, [2.3, 0.0, 3.0, 0.0], steps=5)[0] < 2.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("integrator", "rk4"),
        ("implicit_damping", None),
        ("gravity", math.nan),
        ("joint_damping", "file"),
        ("dry_friction", True),
        ("friction_solref", (0.02,)),
        ("friction_solref", (0.0, 1.0)),
        ("friction_solimp", (0.9, 0.95, 1e-3, 0.5, math.inf)),
        ("inertia", "file"),
        ("solver", "newton"),
        ("solver_iterations", 0),
        ("solver_iterations", 2.5),
        ("solver_tolerance", -1.0),
    ],
)
def test_settings_without_a_meaning_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        MujocoSettings(**{name: value})


# -- what the engine does not build ----------------------------------------------------------


@pytest.mark.parametrize("system", [Linear(), PlanarQuadrotor()])
def test_systems_that_are_no_known_tree_are_refused(system):
    with pytest.raises(ValueError, match=rf"system.*CartPole.*{type(system).__name__}"):
        MujocoPlant(system, dt=0.04)


def one_link(**masses):
    links = (Link(name="root"), Link(name="arm", **masses))
    joint = Joint(name="pivot", kind="revolute", parent="root", child="arm", armature=0.1)
    return RigidBody.from_description(
        Description(name="robot", links=links, joints=(joint,)), floating=False
    )


@pytest.mark.parametrize(
    ("masses", "why"),
    [
        ({"mass": 1.0}, "must exceed"),
        ({"mass": 1.0, "inertia": ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 3.0))}, "triangle"),
    ],
)
def test_masses_that_the_compiler_refuses(masses, why):
    robot = one_link(**masses, center=(0.1, 0.2, -0.3))
    strict = MujocoSettings(inertia="compiler")
    with pytest.raises(ValueError, match=f"link 'arm'.*{why}"):
        MujocoPlant(robot, dt=0.04, settings=strict)
    exact = MujocoPlant(robot, dt=0.04)  # to the engine itself they are no trouble
    assert envs.acceleration_gap(exact, count=50).max() < 1e-12


def test_balanced_moments_are_another_body():
    tensor = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 3.0))
    robot = one_link(mass=1.0, inertia=tensor)
    plant = MujocoPlant(robot, dt=0.04, settings=MujocoSettings(inertia="balanced"))
    acceleration = plant.acceleration([0.0, 0.0], [1.0])
    np.testing.assert_allclose(acceleration, 1 / (5 / 3 + 0.1), rtol=1e-12)


def test_a_disc_is_a_body_whatever_rounding_says():
    third = 0.1 + 0.2  # not 0.3
    tensor = ((0.1, 0.0, 0.0), (0.0, 0.2, 0.0), (0.0, 0.0, third))
    strict = MujocoSettings(inertia="compiler")
    plant = MujocoPlant(one_link(mass=1.0, inertia=tensor), dt=0.04, settings=strict)
    assert envs.acceleration_gap(plant, count=10).max() < 1e-12


def test_a_table_is_refused_by_name():
    hidden = RobotEffects(table=0.0)
    with pytest.raises(ValueError, match="table"):
        MujocoPlant(one_link(mass=1.0), dt=0.04, hidden=hidden)


def test_a_diverging_run_ends_and_leaves_no_file(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    settings = MujocoSettings(integrator="Euler")  # h D/M ≫ 2
    plant = MujocoPlant(Pendulum(damping=1e3), dt=0.4, substeps=2, settings=settings)
    plant.reset(options={"state": [1.0, 1e3]})
    ends = [plant.step(STILL)[2] for _ in range(100)]
    assert ends[-1]
    assert not np.any(np.isfinite(plant.state))
    assert list(Path(tmp_path).iterdir()) == []
    assert capfd.readouterr() == ("", "")
    np.testing.assert_array_equal(settled(plant, [0.0, 0.0], steps=3), [0.0, 0.0])
