"""A URDF means what the specification says, and where it says something, what PyBullet does."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from physics.rigid_body import urdf
from physics.rigid_body.description import Description, Joint
from physics.rigid_body.rotation import from_rpy, sine_cosine

angle = st.floats(-10, 10)


def robot(joint: str = "", *, kind: str = "revolute", link: str = "") -> str:
    return (
        f"<robot name='r'><link name='base'/><link name='arm'>{link}</link>"
        f"<joint name='j' type='{kind}'><parent link='base'/><child link='arm'/>{joint}</joint>"
        "</robot>"
    )


def joint(text: str = "", *, kind: str = "revolute") -> Joint:
    return urdf.parse(robot(text, kind=kind)).joints[0]


def inertial(tensor: str, *, mass: str = "2", rpy: str = "0 0 0") -> str:
    keys = ("ixx", "ixy", "ixz", "iyy", "iyz", "izz")
    entries = " ".join(f"{key}='{word}'" for key, word in zip(keys, tensor.split(), strict=True))
    return (
        f"<inertial><origin xyz='1 2 3' rpy='{rpy}'/><mass value='{mass}'/>"
        f"<inertia {entries}/></inertial>"
    )


def turn(axis: int, value: float) -> np.ndarray:
    """Rodrigues' formula, R = 1 + sin·K + (1 − cos)·K²."""
    cross = np.cross(np.eye(3), np.eye(3)[axis])
    return np.eye(3) + math.sin(value) * cross + (1 - math.cos(value)) * cross @ cross


# -- frames --------------------------------------------------------------------------------------


@given(angle, angle, angle)
def test_rpy_turns_about_fixed_axes(r: float, p: float, y: float) -> None:
    wanted = turn(2, y) @ turn(1, p) @ turn(0, r)
    np.testing.assert_allclose(from_rpy(r, p, y), wanted, atol=4e-10)
    np.testing.assert_allclose(np.array(from_rpy(r, p, y)) @ wanted.T, np.eye(3), atol=4e-10)


@pytest.mark.parametrize("text", ["1.5707963267949", "-1.57079632679489", "3.14159265358979"])
def test_right_angles_are_exact(text: str) -> None:
    for rpy in (f"{text} 0 0", f"0 {text} 0", f"0 {text} {text}", f"{text} {text} {text}"):
        rotation = joint(f"<origin rpy='{rpy}'/>").origin.rotation
        entries = [entry for row in rotation for entry in row]
        assert sorted(map(abs, entries)) == [0.0] * 6 + [1.0] * 3
        assert all(math.copysign(1, entry) > 0 for entry in entries if entry == 0)
        assert np.linalg.det(rotation) == 1


@given(st.integers(-40, 40), st.floats(-1e-11, 1e-11))
def test_snapping_moves_no_angle_by_more_than_it_says(turns: int, off: float) -> None:
    value = turns * (math.pi / 2) + off
    sine, cosine = sine_cosine(value)
    assert math.hypot(sine - math.sin(value), cosine - math.cos(value)) < 1.01e-12
    if abs(off) > 1.1e-12:
        assert (sine, cosine) == (math.sin(value), math.cos(value))


def test_what_is_missing_has_its_default() -> None:
    arm = urdf.parse(robot()).link("arm")
    assert (arm.mass, arm.has_inertial) == (0.0, False)
    assert not np.any(arm.inertia)
    j = joint()
    assert j.axis == (1.0, 0.0, 0.0)
    assert j.origin.position == (0.0, 0.0, 0.0)
    assert (j.low, j.high, j.effort, j.velocity) == (-math.inf, math.inf, math.inf, math.inf)
    assert (j.damping, j.friction, j.armature) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("limit", "low", "high"),
    [
        ("<limit lower='-1' upper='2'/>", -1, 2),
        ("<limit lower='1' upper='-1'/>", -math.inf, math.inf),
        ("<limit lower='0.5' upper='0.5'/>", 0.5, 0.5),
        ("<limit effort='3'/>", -math.inf, math.inf),
        ("<limit upper='2'/>", 0, 2),
        ("<limit lower='-2'/>", -2, 0),
    ],
)
def test_limits(limit: str, low: float, high: float) -> None:
    for kind in ("revolute", "prismatic"):
        assert (joint(limit, kind=kind).low, joint(limit, kind=kind).high) == (low, high)
    free = joint(limit, kind="continuous")
    assert (free.kind, free.low, free.high) == ("revolute", -math.inf, math.inf)


def test_effort_and_velocity_of_0_are_unknown() -> None:
    j = joint("<limit effort='0' velocity='0.0'/>")
    assert (j.effort, j.velocity) == (math.inf, math.inf)
    j = joint("<limit effort='7' velocity='2'/><dynamics damping='.1' friction='2e-1'/>")
    assert (j.effort, j.velocity, j.damping, j.friction) == (7.0, 2.0, 0.1, 0.2)


@given(st.tuples(*[st.floats(-100, 100)] * 3).filter(lambda a: math.hypot(*a) > 1e-3))
def test_axes_are_unit_vectors(axis: tuple[float, float, float]) -> None:
    found = joint(f"<axis xyz='{axis[0]!r} {axis[1]!r} {axis[2]!r}'/>").axis
    assert math.hypot(*found) == pytest.approx(1, abs=1e-15)
    np.testing.assert_allclose(np.cross(found, axis), 0, atol=1e-12)
    assert np.dot(found, axis) > 0


def test_a_fixed_joint_needs_no_axis() -> None:
    assert not joint("<axis xyz='0 0 0'/>", kind="fixed").moves


def test_mimic_is_left_out_only_where_asked() -> None:
    text = robot("<mimic joint='k'/>")
    with pytest.raises(ValueError, match="<mimic> is refused"):
        urdf.parse(text)
    assert urdf.parse(text, ignore=("mimic",)) == urdf.parse(robot())
    with pytest.raises(ValueError, match=r"ignore may hold 'mimic', got 'limits'"):
        urdf.parse(text, ignore=("limits",))


# -- inertia -------------------------------------------------------------------------------------


@given(angle, angle, angle)
@settings(max_examples=30)
def test_inertia_is_turned_into_the_axes_of_the_link(r: float, p: float, y: float) -> None:
    text = inertial("1 0.2 0.1 2 0.3 2.5", rpy=f"{r!r} {p!r} {y!r}")
    link = urdf.parse(robot(link=text)).link("arm")
    given_tensor = np.array([[1, 0.2, 0.1], [0.2, 2, 0.3], [0.1, 0.3, 2.5]])
    rotation = turn(2, y) @ turn(1, p) @ turn(0, r)
    np.testing.assert_allclose(link.inertia, rotation @ given_tensor @ rotation.T, atol=2e-9)
    assert (np.array(link.inertia) == np.array(link.inertia).T).all()
    np.testing.assert_allclose(link.inertia_frame, rotation, atol=4e-10)
    assert (link.mass, link.center) == (2.0, (1.0, 2.0, 3.0))


# -- files ---------------------------------------------------------------------------------------


def test_text_bytes_and_file_are_one(tmp_path: Path) -> None:
    text = robot("<origin xyz='1 2 3'/>")
    path = tmp_path / "r.urdf"
    path.write_text("\n " + text)
    for found in (urdf.read(path), urdf.read(str(path)), urdf.parse(text.encode())):
        assert (found.links, found.joints) == (urdf.parse(text).links, urdf.parse(text).joints)
    assert urdf.read(path).source == str(path)
    assert urdf.parse(text.encode("utf-16")).joints == urdf.parse(text).joints


def test_foreign_elements_and_meshes_are_left_alone() -> None:
    mesh = "<visual><geometry><mesh filename='package://none/of/these.dae'/></geometry></visual>"
    more = "<gazebo reference='arm'><mass value='x'/></gazebo><transmission name='t'/>"
    text = robot(link=mesh).replace("</robot>", more + "</robot>")
    assert urdf.parse(text).joints == urdf.parse(robot()).joints


def test_the_order_of_the_file_is_kept() -> None:
    names = [f"l{i}" for i in (3, 1, 4, 0, 2)]
    chain = list(itertools.pairwise(names))
    text = "".join(f"<link name='{name}'/>" for name in sorted(names))
    for parent, child in reversed(chain):
        ends = f"<parent link='{parent}'/><child link='{child}'/>"
        text += f"<joint name='to {child}' type='fixed'>{ends}</joint>"
    found = urdf.parse(f"<robot name='r'>{text}</robot>")
    assert [link.name for link in found.links] == sorted(names)
    assert [j.child for j in found.joints] == [child for _, child in reversed(chain)]
    assert found.root == "l3"


# -- meshes --------------------------------------------------------------------------------------


def test_meshes_are_found_under_folder_and_roots(tmp_path: Path) -> None:
    folder, root = tmp_path / "robot", tmp_path / "share"
    for path in (folder / "meshes/a.stl", root / "arm/b.stl", root / "c.stl"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    find = urdf.resolve
    assert find("meshes/a.stl", folder) == folder / "meshes/a.stl"
    assert find("package://robot/meshes/a.stl", folder) == folder / "meshes/a.stl"
    assert find("package://arm/b.stl", folder, [root]) == root / "arm/b.stl"
    assert find("package://arm/b.stl", folder, [root / "arm"]) == root / "arm/b.stl"
    assert find("c.stl", folder, [root]) == root / "c.stl"
    with pytest.raises(FileNotFoundError, match=r"d\.stl"):
        find("d.stl", folder, [root])


@pytest.mark.parametrize(
    "name",
    [
        "../secret.stl", "a/../../secret.stl", "/etc/passwd", "package://../secret.stl",
        "package:///etc/passwd", "file:///etc/passwd", "http://x.org/a.stl", "C:\\a.stl",
        "..\\secret.stl", "", "a\0.stl", "link.stl", "dir/secret.stl",
    ],
)  # fmt: skip
def test_meshes_outside_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "robot"
    folder.mkdir()
    (tmp_path / "secret.stl").touch()
    (folder / "link.stl").symlink_to(tmp_path / "secret.stl")
    (folder / "dir").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="must stay inside"):
        urdf.resolve(name, folder)


def test_meshes_that_cannot_be_looked_up(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("x" * 5000, "loop/a.stl"):
        with pytest.raises((ValueError, FileNotFoundError), match="filename"):
            urdf.resolve(name, tmp_path)


# -- the same file in PyBullet -------------------------------------------------------------------

ROBOTS = [
    "a1/a1.urdf",
    "kuka_iiwa/model.urdf",
    "quadruped/minitaur_fixed_all.urdf",
    "laikago/laikago.urdf",
    "r2d2.urdf",
    "xarm/xarm6_robot.urdf",
]


def frames(robot: Description, q: dict[str, float]) -> dict[str, np.ndarray]:
    """World pose (4, 4) of every link: T_child = T_parent · T_origin · T(q)."""
    found = {robot.root: np.eye(4)}
    waiting = list(robot.joints)
    while waiting:
        j = next(j for j in waiting if j.parent in found)
        waiting.remove(j)
        origin, motion = np.eye(4), np.eye(4)
        origin[:3, :3], origin[:3, 3] = j.origin.rotation, j.origin.position
        if j.kind == "prismatic":
            motion[:3, 3] = q[j.name] * np.array(j.axis)
        elif j.kind == "revolute":
            cross = np.cross(np.eye(3), np.array(j.axis))
            sine, cosine = math.sin(q[j.name]), math.cos(q[j.name])
            motion[:3, :3] = np.eye(3) + sine * cross + (1 - cosine) * cross @ cross
        found[j.child] = found[j.parent] @ origin @ motion
    return found


@pytest.fixture(params=ROBOTS)
def path(request: pytest.FixtureRequest) -> Path:
    path = Path(pytest.importorskip("pybullet_data").getDataPath()) / request.param
    if not path.is_file():
        pytest.skip(f"this pybullet_data has no {request.param}")
    return path


def test_frames_and_limits_are_those_of_pybullet(path: Path) -> None:
    p = pytest.importorskip("pybullet")
    robot = urdf.read(path)
    client = p.connect(p.DIRECT)
    try:
        body = p.loadURDF(str(path), useFixedBase=True, physicsClientId=client)
        infos = [p.getJointInfo(body, i, client) for i in range(p.getNumJoints(body, client))]
        index = {info[1].decode(): i for i, info in enumerate(infos)}
        assert set(index) == {j.name for j in robot.joints}
        rng = np.random.default_rng(0)
        q = {j.name: rng.uniform(-2, 2) for j in robot.joints if j.moves}
        for name, value in q.items():
            p.resetJointState(body, index[name], value, physicsClientId=client)
        theirs = {}
        for j in robot.joints:
            state = p.getLinkState(
                body, index[j.name], computeForwardKinematics=1, physicsClientId=client
            )
            theirs[j.child] = np.eye(4)
            theirs[j.child][:3, 3] = state[4]
            theirs[j.child][:3, :3] = np.reshape(p.getMatrixFromQuaternion(state[5]), (3, 3))
        infos = {name: infos[i] for name, i in index.items()}
    finally:
        p.disconnect(client)
    # PyBullet puts the root's centre of mass at the origin: compare relative to one link
    ours, first = frames(robot, q), robot.joints[0].child
    for link in theirs:
        wanted = np.linalg.solve(theirs[first], theirs[link])
        found = np.linalg.solve(ours[first], ours[link])
        # getLinkState passes through single precision
        np.testing.assert_allclose(found, wanted, atol=1e-6, err_msg=link)
    for j in filter(lambda j: j.moves, robot.joints):
        info = infos[j.name]
        if math.isfinite(j.low):
            assert info[8:10] == (j.low, j.high)
        known = [0 if math.isinf(value) else value for value in (j.effort, j.velocity)]
        assert [*info[6:8], *info[10:12]] == [j.damping, j.friction, *known]


def test_frames_are_those_of_pinocchio(path: Path) -> None:
    pin = pytest.importorskip("pinocchio")
    robot, model = urdf.read(path), pin.buildModelFromUrdf(str(path))
    rng = np.random.default_rng(0)
    q = {j.name: rng.uniform(-2, 2) for j in robot.joints if j.moves}
    configuration = pin.neutral(model)
    for name, value in q.items():
        j = model.joints[model.getJointId(name)]
        both = [math.cos(value), math.sin(value)]  # of a continuous joint
        configuration[j.idx_q : j.idx_q + j.nq] = value if j.nq == 1 else both
    data = model.createData()
    pin.framesForwardKinematics(model, data, configuration)
    ours = frames(robot, q)
    for link in robot.links:
        pose = data.oMf[model.getFrameId(link.name, pin.FrameType.BODY)].homogeneous
        root = data.oMf[model.getFrameId(robot.root, pin.FrameType.BODY)].homogeneous
        theirs = np.linalg.solve(root, pose)
        np.testing.assert_allclose(ours[link.name], theirs, atol=1e-9, err_msg=link.name)
