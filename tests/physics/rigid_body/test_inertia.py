"""Physical inertias: laws of the second moment, and what PyBullet does with the others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from physics.rigid_body import inertia, urdf
from physics.rigid_body.description import EYE, ZERO, Description, Link, Matrix
from physics.rigid_body.rotation import from_rpy, rotate_inertia

points = hnp.arrays(float, (7, 3), elements=st.floats(-2, 2))


def rows(matrix: np.ndarray) -> Matrix:
    a, b, c = (tuple(row) for row in matrix.tolist())
    return (a, b, c)


def alone(link: Link) -> Description:
    return Description(name="r", links=(link,), joints=())


@given(points)
def test_second_moment_is_that_of_points(r: np.ndarray) -> None:
    sigma = r.T @ r  # seven points of 1 kg
    tensor = np.sum([np.dot(x, x) * np.eye(3) - np.outer(x, x) for x in r], axis=0)
    np.testing.assert_allclose(inertia.second_moment(rows(tensor)), sigma, atol=1e-12)
    np.testing.assert_allclose(inertia.from_second_moment(rows(sigma)), tensor, atol=1e-12)
    low, middle, high = inertia.principal_moments(rows(tensor))
    assert high <= low + middle + 1e-12


@given(hnp.arrays(float, (3, 3), elements=st.floats(-2, 2)))
def test_cholesky_factor_gives_back_sigma(a: np.ndarray) -> None:
    sigma = a @ a.T + 0.1 * np.eye(3)
    factor = np.array(inertia.cholesky(rows(sigma)))
    np.testing.assert_allclose(factor @ factor.T, sigma, atol=1e-12)
    assert (np.diag(factor) > 0).all()
    assert (factor == np.tril(factor)).all()
    link = Link(name="a", mass=1.0, inertia=inertia.from_second_moment(rows(sigma)))
    assert inertia.check(alone(link)) == ()


def test_a_flat_body_has_no_factor() -> None:
    with pytest.raises(ValueError, match="sigma must be positive definite"):
        inertia.cholesky(inertia.second_moment(((1, 0, 0), (0, 1, 0), (0, 0, 2))))


def test_the_map_takes_symbols() -> None:
    names = [[ca.SX.sym(f"l{i}{j}") for j in range(3)] for i in range(3)]
    back = inertia.second_moment(inertia.from_second_moment(names))  # type: ignore[arg-type]
    flat = [ca.vertcat(*(entry for row in matrix for entry in row)) for matrix in (names, back)]
    f = ca.Function("f", flat[:1], flat[1:])
    np.testing.assert_allclose(f(np.arange(9.0)), np.arange(9.0).reshape(9, 1), atol=1e-14)


@pytest.mark.parametrize(
    ("moments", "mass", "said"),
    [
        ((1.0, 1.0, 2.5), 1.0, "breaks the triangle inequality"),
        ((1.0, 1.0, 2.0), 1.0, None),
        ((1.0, 1.0, 2.0 + 1e-10), 1.0, None),
        ((1.0, 1.0, 0.0), 1.0, "not positive definite"),
        ((0.0, 0.0, 0.0), 1.0, "not positive definite"),
        ((2.0, 1.0, -0.5), 1.0, "not positive definite"),
        ((1.0, 1.0, 1.0), 0.0, "no mass"),
        ((0.0, 0.0, 0.0), 0.0, None),
    ],
)
def test_check_names_the_link(moments: tuple, mass: float, said: str | None) -> None:
    for rpy in ((0, 0, 0), (0.3, -1.2, 2.0)):
        tensor = rotate_inertia(from_rpy(*rpy), rows(np.diag(moments)))
        found = inertia.check(alone(Link(name="arm", mass=mass, inertia=tensor)))
        assert len(found) == (said is not None)
        assert all(said in line and "'arm'" in line for line in found if said)


# -- PyBullet ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bullet() -> Iterator[tuple[Any, int]]:
    p = pytest.importorskip("pybullet")
    client = p.connect(p.DIRECT)
    yield p, client
    p.disconnect(client)


def loaded(bullet: tuple[Any, int], path: Path, **options: Any) -> dict[str, tuple]:
    """(mass, centre, inertia in the link's axes) by link, as PyBullet has them."""
    p, client = bullet
    flags = p.URDF_USE_INERTIA_FROM_FILE
    body = p.loadURDF(str(path), flags=flags, physicsClientId=client, **options)
    found = {}
    for i in range(-1, p.getNumJoints(body, client)):
        info = p.getDynamicsInfo(body, i, client)
        axes = np.reshape(p.getMatrixFromQuaternion(info[4]), (3, 3))
        name = p.getJointInfo(body, i, client)[12] if i >= 0 else p.getBodyInfo(body, client)[0]
        found[name.decode()] = info[0], info[3], axes @ np.diag(info[2]) @ axes.T
    p.removeBody(body, client)
    return found


def same(link: Link, theirs: tuple) -> None:
    mass, center, tensor = theirs
    ours = inertia.as_pybullet(link)
    assert ours.mass == mass
    np.testing.assert_allclose(ours.center, center, atol=1e-15)
    np.testing.assert_allclose(ours.inertia, tensor, rtol=0, atol=1e-13 * np.abs(tensor).max())


def write(path: Path, links: list[str]) -> Path:
    text = "".join(links)
    for i in range(1, len(links)):
        ends = f"<parent link='l0'/><child link='l{i}'/>"
        text += f"<joint name='j{i}' type='fixed'>{ends}</joint>"
    path.write_text(f"<robot name='r'>{text}</robot>")
    return path


def body(tensor: np.ndarray, mass: float, rpy: np.ndarray, more: str = "") -> str:
    keys = {
        "ixx": (0, 0),
        "ixy": (0, 1),
        "ixz": (0, 2),
        "iyy": (1, 1),
        "iyz": (1, 2),
        "izz": (2, 2),
    }
    entries = " ".join(f"{key}='{float(tensor[at])!r}'" for key, at in keys.items())
    turned = " ".join(map(repr, rpy.tolist()))
    return (
        f"<inertial><origin xyz='1 2 3' rpy='{turned}'/><mass value='{mass}'/>"
        f"<inertia {entries}/></inertial>{more}"
    )


def tensors() -> Iterator[np.ndarray]:
    """Physical ones, unphysical ones, and those on the very edge of the triangle inequality."""
    rng = np.random.default_rng(0)
    for k in range(60):
        diagonal = np.round(rng.uniform(0.1, 3, 3), rng.integers(1, 7))
        if k % 3 == 0:
            diagonal[2] = round(diagonal[0] + diagonal[1], 6)  # rounding decides
        off = rng.normal(size=3) * 10.0 ** rng.integers(-9, 0) * (k % 2)
        tensor = np.diag(diagonal)
        tensor[[0, 0, 1], [1, 2, 2]] = tensor[[1, 2, 2], [0, 0, 1]] = off
        yield tensor
    yield from (np.zeros((3, 3)), np.diag([1.0, 1.0, 0.0]), np.diag([-1.0, 1.0, 1.0]))


def test_as_pybullet_is_what_pybullet_has(tmp_path: Path, bullet: tuple[Any, int]) -> None:
    scaled = "<contact><inertia_scaling value='3.0'/></contact>"
    rng = np.random.default_rng(1)
    links = []
    for i, tensor in enumerate(tensors()):
        rpy = rng.uniform(-3, 3, 3) * (i % 4 > 1)
        inside = body(tensor, i % 5, rpy, scaled if i % 7 == 3 else "")
        links.append(f"<link name='l{i}'>{inside}</link>")
    names = len(links)
    links += [f"<link name='l{names}'/>", f"<link name='l{names + 1}'>{scaled}</link>"]
    path = write(tmp_path / "many.urdf", links)
    robot, theirs = urdf.read(path), loaded(bullet, path)
    for link in robot.links:
        same(link, theirs[link.name])
    zeroed = [link for link in robot.links if inertia.as_pybullet(link).inertia == ZERO]
    assert len(zeroed) > 5


def test_inverse_dynamics_of_one_joint(tmp_path: Path, bullet: tuple[Any, int]) -> None:
    """τ = (aᵀI a + m |a × c|²) q̈ at rest without gravity, with the inertia PyBullet takes."""
    p, client = bullet
    axis = np.array([0.6, 0.0, 0.8])
    rng = np.random.default_rng(2)
    for i, tensor in enumerate([*[*tensors()][::5], None]):
        inside = "" if tensor is None else body(tensor, 0.5, rng.uniform(-3, 3, 3) * (i % 2))
        # farther out, calculateInverseDynamics itself refuses a link whose inertia was zeroed: a
        # point's tensor about the joint is singular, and rounding decides its sign
        inside = inside.replace("1 2 3", ".1 .2 .3")
        path = tmp_path / f"{i}.urdf"
        path.write_text(
            f"<robot name='r'><link name='b'/><link name='a'>{inside}</link>"
            "<joint name='j' type='continuous'><parent link='b'/><child link='a'/>"
            "<axis xyz='3 0 4'/></joint></robot>"
        )
        flags = p.URDF_USE_INERTIA_FROM_FILE
        robot = p.loadURDF(str(path), useFixedBase=True, flags=flags, physicsClientId=client)
        (theirs,) = p.calculateInverseDynamics(robot, [0.0], [0.0], [1.5], physicsClientId=client)
        link = inertia.as_pybullet(urdf.read(path).link("a"))
        arm = np.cross(axis, link.center)
        ours = 1.5 * (axis @ np.array(link.inertia) @ axis + link.mass * arm @ arm)
        assert ours == pytest.approx(theirs, rel=1e-12)


def test_links_without_inertial(tmp_path: Path, bullet: tuple[Any, int]) -> None:
    path = tmp_path / "world.urdf"
    text = urdf_of_two("b", "world")
    path.write_text(text)
    theirs = loaded(bullet, path)
    for link in urdf.read(path).links:
        same(link, theirs[link.name])
    assert inertia.as_pybullet(Link(name="a", has_inertial=False)).inertia == EYE
    assert inertia.as_pybullet(Link(name="world", has_inertial=False)).inertia == ZERO


def urdf_of_two(parent: str, child: str) -> str:
    joint = f"<joint name='j' type='fixed'><parent link='{parent}'/><child link='{child}'/></joint>"
    return f"<robot name='r'><link name='{parent}'/><link name='{child}'/>{joint}</robot>"


@pytest.mark.slow
def test_every_robot_of_pybullet_data(bullet: tuple[Any, int]) -> None:
    data = Path(pytest.importorskip("pybullet_data").getDataPath())
    compared = 0
    for name in (
        "a1/a1.urdf", "aliengo/aliengo.urdf", "kuka_iiwa/model.urdf", "laikago/laikago.urdf",
        "mini_cheetah/mini_cheetah.urdf", "racecar/racecar.urdf", "r2d2.urdf", "cube_small.urdf",
        "quadruped/minitaur.urdf", "xarm/xarm6_robot.urdf", "tmp/no.urdf",
    ):  # fmt: skip
        if (data / name).is_file():
            robot, theirs = urdf.read(data / name), loaded(bullet, data / name)
            for link in robot.links:
                same(link, theirs[link.name])
                compared += 1
    assert compared > 100


def test_taking_over_pybullet_twice_changes_nothing() -> None:
    link = Link(name="a", mass=1.0, inertia=((1.0, 0.2, 0.1), (0.2, 2.0, 0.3), (0.1, 0.3, 2.5)))
    once = inertia.as_pybullet(link)
    np.testing.assert_allclose(once.inertia, inertia.as_pybullet(once).inertia, atol=1e-15)
    assert math.isclose(np.trace(once.inertia), 5.5, rel_tol=1e-15)
