"""Constants of links and joints as parameters: consistent, named, and what they say they are."""

from __future__ import annotations

import pickle
from pathlib import Path

import casadi as ca
import numpy as np
import pytest

from physics.parameter import Parameter
from physics.rigid_body import RigidBody, constants, urdf
from physics.rigid_body.description import Description
from physics.rigid_body.payload import described

pybullet_data = pytest.importorskip("pybullet_data")
KUKA = Path(pybullet_data.getDataPath()) / "kuka_iiwa" / "model.urdf"
LAST = "lbr_iiwa_link_7"


@pytest.fixture(scope="module")
def kuka() -> RigidBody:
    return RigidBody.from_urdf(KUKA)


def declared(robot: RigidBody, names: tuple[str, ...]) -> ca.Function:
    """(q, v, tau, p) ↦ v̇ with these parameters symbolic."""
    q, v, tau = ca.SX.sym("q", robot.nq), ca.SX.sym("v", robot.nv), ca.SX.sym("tau", robot.nv)
    p = ca.SX.sym("p", len(names))
    a = robot.acceleration(q, v, tau, robot.namespace(names, p))
    return ca.Function("a", [q, v, tau, p], [a])


def state(robot: RigidBody, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (3, robot.nv))


def changed(robot: RigidBody, seed: int) -> dict[str, float]:
    """Every parameter at a random place of its domain."""
    rng = np.random.default_rng(seed)
    values = robot.parameters.items()
    return {name: float(p.constrain(ca.SX(rng.normal(0, 0.5)))) for name, p in values}


@pytest.mark.parametrize("floating", [False, True])
def test_declared_and_baked_in_parameters_agree(floating: bool) -> None:
    robot = RigidBody.from_urdf(KUKA, floating=floating)
    names = tuple(robot.parameters)
    values = changed(robot, 0)
    rng = np.random.default_rng(1)
    q, (v, tau) = rng.uniform(-1, 1, robot.nq), rng.uniform(-1, 1, (2, robot.nv))
    symbolic = declared(robot, names)(q, v, tau, [values[name] for name in names])
    baked = robot.with_parameters(**values).forward_dynamics()(q, v, tau)
    np.testing.assert_allclose(symbolic, baked, rtol=1e-8, atol=1e-8)


def test_every_parameter_moves_the_robot(kuka: RigidBody) -> None:
    """Those that nothing depends on are left out; without dry friction only its ε is idle."""
    names, values = tuple(kuka.parameters), changed(kuka, 7)
    x, u, p = ca.SX.sym("x", kuka.nx), ca.SX.sym("u", kuka.nu), ca.SX.sym("p", len(names))
    rate = kuka.dynamics(x, u, kuka.namespace(names, p), ca.SX(0, 1))
    slope = ca.Function("slope", [x, u, p], [ca.jacobian(rate, p)])
    q, v, tau = state(kuka)
    found = np.abs(np.array(slope(np.concatenate([q, v]), tau, [values[n] for n in names])))
    assert [n for n, most in zip(names, found.max(axis=0), strict=True) if most == 0] == [
        "smoothing"
    ]


def test_every_fit_is_a_robot_that_can_exist(kuka: RigidBody) -> None:
    """Far from the start masses stay positive, Σ ≻ 0, friction ≥ 0 and M ≻ 0."""
    for seed in range(5):
        fitted = kuka.with_parameters(**changed(kuka, seed))
        true = described(fitted.description, fitted.parameters)
        for link in true.links[1:]:
            moments = np.linalg.eigvalsh(np.array(link.inertia))
            assert link.mass > 0
            assert moments[0] > 0
            assert moments[2] <= moments[0] + moments[1] + 1e-12
        assert min(joint.damping for joint in fitted.joints) >= 0
        M = np.array(fitted.mass_matrix_function()(state(kuka, seed)[0]))
        assert np.linalg.eigvalsh(M).min() > 0


def test_constants_and_the_description_they_make_are_one_robot(kuka: RigidBody) -> None:
    fitted = kuka.with_parameters(**changed(kuka, 3))
    values = {**fitted.parameters}
    gears = {name: value for name, value in values.items() if name.endswith(".gear")}
    other = RigidBody.from_description(
        described(fitted.description, values), gravity=fitted.gravity
    ).with_parameters(**gears)
    q, v, tau = state(kuka)
    wanted = fitted.forward_dynamics()(q, v, tau)
    np.testing.assert_allclose(other.forward_dynamics()(q, v, tau), wanted, rtol=1e-9, atol=1e-9)
    B = fitted.input_map_function()(q)
    np.testing.assert_allclose(other.input_map_function()(q), B, rtol=1e-12)


def test_inverse_dynamics_are_linear_in_masses(kuka: RigidBody) -> None:
    """Σ and centre fixed, τ is affine in each mass."""
    q, v, a = state(kuka)

    def tau(mass: float) -> np.ndarray:
        heavy = kuka.with_parameters(**{f"{LAST}.mass": mass})
        return np.array(heavy.inverse_dynamics()(q, v, a))

    np.testing.assert_allclose(tau(3.0) - tau(2.0), tau(2.0) - tau(1.0), rtol=0, atol=1e-12)


def test_a_payload_is_a_point_mass(kuka: RigidBody) -> None:
    """M⁺ = M + μ Jᵀ J with J that of its place, and twice half of it is the whole."""
    mass, at = 1.5, np.array([0.03, -0.02, 0.1])
    q, v, _ = state(kuka)
    J = np.array(kuka.frame_jacobian(LAST)(q))
    arm = np.array(kuka.forward_kinematics(LAST)(q)[1]) @ at
    point = J[:3] - np.cross(arm, J[3:], axisb=0, axisc=0)
    loaded = kuka.with_payload(LAST, mass, tuple(at))
    grown = np.array(loaded.mass_matrix_function()(q)) - np.array(kuka.mass_matrix_function()(q))
    np.testing.assert_allclose(grown, mass * point.T @ point, rtol=0, atol=1e-12)
    twice = kuka.with_payload(LAST, mass / 2, tuple(at)).with_payload(LAST, mass / 2, tuple(at))
    found = twice.bias_function()(q, v)
    np.testing.assert_allclose(found, loaded.bias_function()(q, v), rtol=0, atol=1e-12)


def test_a_payload_keeps_what_was_fitted(kuka: RigidBody) -> None:
    fitted = kuka.with_parameters(**{"lbr_iiwa_link_3.mass": 9.0, f"{LAST}.mass": 0.7})
    loaded = fitted.with_payload(LAST, 1.0)
    assert loaded.parameters["lbr_iiwa_link_3.mass"] == 9.0
    assert loaded.parameters[f"{LAST}.mass"] == pytest.approx(1.7)
    assert fitted.parameters[f"{LAST}.mass"] == 0.7


@pytest.mark.parametrize("mass", [0.0, -1.0, float("nan"), float("inf"), "heavy", None])
def test_a_payload_has_a_positive_mass(kuka: RigidBody, mass: object) -> None:
    with pytest.raises(ValueError, match="mass must be"):
        kuka.with_payload(LAST, mass)  # type: ignore[arg-type]


def test_a_payload_has_a_place_on_a_link(kuka: RigidBody) -> None:
    with pytest.raises(ValueError, match="at must be three finite numbers"):
        kuka.with_payload(LAST, 1.0, (0.0, 1.0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no link 'hand'"):
        kuka.with_payload("hand", 1.0)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("lbr_iiwa_link_0.mass", "never moves"),
        ("lbr_iiwa_link_1.center_z", "the motion does not depend on it"),
        ("lbr_iiwa_joint_1.friction", r"is 0.*with_joint\('lbr_iiwa_joint_1', friction="),
        ("lbr_iiwa_joint_1.stiffness", "has no parameter"),
        ("nothing.mass", "has no parameter 'nothing.mass'; it has"),
    ],
)
def test_what_is_no_parameter_says_why(kuka: RigidBody, name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        kuka.check_declared([name])


def test_an_inertia_that_no_body_has_is_not_fitted() -> None:
    path = Path(pybullet_data.getDataPath()) / "mini_cheetah" / "mini_cheetah.urdf"
    robot = RigidBody.from_urdf(path)
    assert "thigh_fr.mass" in robot.parameters
    with pytest.raises(ValueError, match="an inertia that no solid body has"):
        robot.check_declared(["thigh_fr.spread_xx"])


def test_friction_may_start_where_the_file_has_none(kuka: RigidBody) -> None:
    rubbing = kuka.with_joint("lbr_iiwa_joint_1", friction=0.4, armature=0.1)
    assert rubbing.parameters["lbr_iiwa_joint_1.friction"] == 0.4
    assert rubbing.parameters["lbr_iiwa_joint_1.damping"] == 0.5
    q, v, a = state(kuka)
    extra = np.array(rubbing.inverse_dynamics()(q, v, a) - kuka.inverse_dynamics()(q, v, a))
    wanted = 0.4 * np.tanh(v[0] / 0.01) + 0.1 * a[0]
    np.testing.assert_allclose(extra[:, 0], [wanted] + [0.0] * 6, rtol=0, atol=1e-12)


def test_dry_friction_without_smoothing_is_the_sign(kuka: RigidBody) -> None:
    sharp = RigidBody.from_urdf(KUKA, smoothing=0.0).with_joint("lbr_iiwa_joint_2", friction=0.4)
    function = sharp.bias_function()
    q, v, _ = state(kuka)
    v[1] = 1e-9
    ahead = function(q, v)
    v[1] = -1e-9
    assert float((ahead - function(q, v))[1]) == pytest.approx(0.8, abs=1e-6)
    with pytest.raises(ValueError, match="smoothing must be ≥ 0"):
        RigidBody.from_urdf(KUKA, smoothing=-1.0)


@pytest.mark.parametrize("value", [-0.1, float("nan"), "much"])
def test_joint_constants_are_not_negative(kuka: RigidBody, value: object) -> None:
    with pytest.raises(ValueError, match="damping must be"):
        kuka.with_joint("lbr_iiwa_joint_1", damping=value)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name must be one of"):
        kuka.with_joint("lbr_iiwa_joint_9", damping=0.1)


def test_motors_have_the_joints_they_drive_and_a_gear(kuka: RigidBody) -> None:
    names = ("lbr_iiwa_joint_4", "lbr_iiwa_joint_2")
    robot = RigidBody.from_urdf(KUKA, actuated=names)
    assert [s.name for s in robot.inputs] == [f"{name}_torque" for name in names]
    assert [(s.low, s.high, s.unit) for s in robot.inputs] == [(-300.0, 300.0, "N·m")] * 2
    robot = robot.with_parameters(**{"lbr_iiwa_joint_2.gear": 2.5})
    wanted = np.zeros((7, 2))
    wanted[3, 0], wanted[1, 1] = 1.0, 2.5
    np.testing.assert_array_equal(np.array(robot.input_map_function()(np.zeros(7))), wanted)
    with pytest.raises(ValueError, match="has no motor"):
        robot.check_declared(["lbr_iiwa_joint_1.gear"])
    with pytest.raises(ValueError, match="actuated may be moving joints"):
        RigidBody.from_urdf(KUKA, actuated=["lbr_iiwa_joint_9"])
    with pytest.raises(ValueError, match="inertia must be 'file' or 'pybullet'"):
        RigidBody.from_urdf(KUKA, inertia="mesh")  # type: ignore[arg-type]


def test_signals_say_what_the_file_says(kuka: RigidBody) -> None:
    first, rate = kuka.states[0], kuka.states[7]
    assert (first.name, first.unit, first.angle) == ("lbr_iiwa_joint_1", "rad", False)
    assert first.low == -2.96705972839
    assert (rate.rate_of, rate.unit, rate.high) == ("lbr_iiwa_joint_1", "rad/s", 10.0)
    floating = RigidBody.from_urdf(KUKA, floating=True)
    assert (floating.nq, floating.nv, floating.quaternion_rows) == (14, 13, (3,))


def test_a_constant_of_nothing_is_refused(kuka: RigidBody) -> None:
    strange = (*kuka.constants, ("hand.mass", Parameter(1.0, "kg", "positive")))
    with pytest.raises(ValueError, match=r"constants: .* has no 'hand.mass'"):
        RigidBody(
            description=kuka.description, floating=False, inputs=kuka.inputs, constants=strange
        )


def test_an_untouched_link_keeps_the_tensor_of_the_file(kuka: RigidBody) -> None:
    values = {name: float(value) for name, value in kuka.parameters.items()}
    for link in kuka.description.links:
        again = constants.spread(link, values)
        np.testing.assert_array_equal(again, constants.spread(link, {}))


def test_robots_are_values(kuka: RigidBody) -> None:
    assert pickle.loads(pickle.dumps(kuka)) == kuka
    assert hash(RigidBody.from_urdf(KUKA)) == hash(kuka)
    read: Description = urdf.read(KUKA)
    assert read == kuka.description


def test_a_gear_outlives_other_constants_of_its_joint() -> None:
    geared = RigidBody.from_urdf(KUKA).with_parameters(**{"lbr_iiwa_joint_1.gear": 1.5})
    rubbing = geared.with_joint("lbr_iiwa_joint_1", friction=0.4)
    assert rubbing.parameters["lbr_iiwa_joint_1.gear"] == 1.5
    assert geared.with_payload("lbr_iiwa_link_7", 1.0).parameters["lbr_iiwa_joint_1.gear"] == 1.5


def test_no_fit_turns_friction_into_a_drive() -> None:
    rubbing = RigidBody.from_urdf(KUKA).with_joint("lbr_iiwa_joint_1", friction=0.4)
    assert float(rubbing.parameters["smoothing"].constrain(-30.0)) > 0
