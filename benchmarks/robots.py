"""Every robot that ships with PyBullet, read as CasADi physics and compared with two engines.

    tau = M(q) a + b(q, v)     at random states, from ours, from PyBullet and from Pinocchio

PyBullet is given the inertias of the file, of which it zeroes those that no body has; ours are
read with `inertia="pybullet"` for that comparison and with `inertia="file"` for Pinocchio's.
Neither of the two counts damping and friction in, so ours are called without.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import casadi as ca
import numpy as np
import pinocchio
import pybullet_data

from benchmarks.figures import Row
from benchmarks.mutations import mutated
from hybridmodel import HybridModel
from hybridmodel.envs.bullet.quiet import pybullet, quiet
from physics import RigidBody
from physics.rigid_body import urdf

DATA = Path(pybullet_data.getDataPath())
STATES = 1000
TEN = (
    "cartpole.urdf",
    "TwoJointRobot_w_fixedJoints.urdf",
    "TwoJointRobot_wo_fixedJoints.urdf",
    "pendulum5.urdf",
    "kuka_iiwa/model.urdf",
    "franka_panda/panda.urdf",
    "xarm/xarm6_robot.urdf",
    "a1/a1.urdf",
    "laikago/laikago.urdf",
    "mini_cheetah/mini_cheetah.urdf",
    "aliengo/aliengo.urdf",
)
IGNORE = ("mimic",)  # both engines take such joints for joints of their own
BAR_PYBULLET, BAR_PINOCCHIO = 1e-8, 1e-9  # N·m


@dataclass(frozen=True)
class Checked:
    """One robot: sizes of its graphs and largest differences [N·m, N], or why it was refused.

    A difference is NaN where that engine does not load the file.
    """

    path: str
    joints: int = 0
    inverse: int = 0  # SX instructions
    forward: int = 0
    pybullet: float = float("nan")
    pinocchio: float = float("nan")
    refused: str = ""

    @property
    def agrees(self) -> bool:
        return self.pybullet <= BAR_PYBULLET


def moving() -> list[str]:
    """URDF files of pybullet_data in which a joint moves, by the word of the file."""
    kinds = ('"revolute"', '"continuous"', '"prismatic"', '"spherical"', '"planar"', '"floating"')
    return [
        str(path.relative_to(DATA))
        for path in sorted(DATA.rglob("*.urdf"))
        if any(f"type={kind}" in path.read_text(errors="replace") for kind in kinds)
    ]


def check(path: str, *, states: int = STATES, seed: int = 0) -> Checked:
    """Read a robot and compare its inverse dynamics at random states."""
    try:
        ours = RigidBody.from_urdf(DATA / path, ignore=IGNORE)
    except ValueError as error:
        return Checked(path, refused=" ".join(str(error).split()))
    names = [joint.name for joint in ours.joints]
    random = np.random.default_rng(seed)
    q, v, a = (random.uniform(-s, s, (states, len(names))) for s in (np.pi, 3.0, 10.0))
    zeroing = RigidBody.from_urdf(DATA / path, inertia="pybullet", ignore=IGNORE)
    tau = {
        robot: np.asarray(robot.inverse_dynamics(friction=False).map(states)(q.T, v.T, a.T)).T
        for robot in (ours, zeroing)
    }
    return Checked(
        path,
        joints=len(names),
        inverse=ours.inverse_dynamics(friction=False).n_instructions(),
        forward=ours.forward_dynamics().n_instructions(),
        pybullet=_gap(lambda: _by_pybullet(path, names, q, v, a), tau[zeroing]),
        pinocchio=_gap(lambda: _by_pinocchio(path, names, q, v, a), tau[ours]),
    )


def _gap(theirs: Callable[[], np.ndarray], ours: np.ndarray) -> float:
    try:
        return float(np.abs(theirs() - ours).max())
    except (pybullet.error, ValueError):
        return float("nan")  # it does not load the file


def _by_pybullet(path: str, names: list[str], *motion: np.ndarray) -> np.ndarray:
    client = pybullet.connect(pybullet.DIRECT)
    try:
        pybullet.setGravity(0, 0, -9.81, physicsClientId=client)
        with quiet():
            body = pybullet.loadURDF(
                str(DATA / path),
                useFixedBase=True,
                flags=pybullet.URDF_USE_INERTIA_FROM_FILE,
                physicsClientId=client,
            )
        count = pybullet.getNumJoints(body, physicsClientId=client)
        infos = [pybullet.getJointInfo(body, j, physicsClientId=client) for j in range(count)]
        theirs = [i[1].decode() for i in infos if i[2] != pybullet.JOINT_FIXED]
        order = [names.index(name) for name in theirs]
        found = np.empty_like(motion[0])
        for k, rows in enumerate(zip(*motion, strict=True)):
            q, v, a = (row[order].tolist() for row in rows)
            found[k, order] = pybullet.calculateInverseDynamics(
                body, q, v, a, physicsClientId=client
            )
        return found
    finally:
        pybullet.disconnect(client)


def _by_pinocchio(path: str, names: list[str], *motion: np.ndarray) -> np.ndarray:
    with quiet():
        model = pinocchio.buildModelFromUrdf(str(DATA / path))
    data = model.createData()
    found = np.empty_like(motion[0])
    for k, (q, v, a) in enumerate(zip(*motion, strict=True)):
        there = pinocchio.neutral(model)
        rates, accelerations = np.zeros(model.nv), np.zeros(model.nv)
        for i, name in enumerate(names):
            joint = model.joints[model.getJointId(name)]
            if joint.nq == 2:  # a continuous joint is a point of the circle
                there[joint.idx_q : joint.idx_q + 2] = np.cos(q[i]), np.sin(q[i])
            else:
                there[joint.idx_q] = q[i]
            rates[joint.idx_v], accelerations[joint.idx_v] = v[i], a[i]
        tau = pinocchio.rnea(model, data, there, rates, accelerations)
        found[k] = [tau[model.joints[model.getJointId(name)].idx_v] for name in names]
    return found


def kuka() -> list[Row]:
    """How large the KUKA's graphs are, and how long its model takes to make."""
    started = time.perf_counter()
    robot = RigidBody.from_urdf(DATA / "kuka_iiwa/model.urdf")
    step = HybridModel(robot, dt=0.01).step_function()
    step.jacobian()(*[ca.DM.zeros(step.sparsity_in(i)) for i in range(step.n_in())], 0)
    seconds = time.perf_counter() - started
    inverse = robot.inverse_dynamics(friction=False).n_instructions()
    forward = robot.forward_dynamics().n_instructions()
    return [
        Row("KUKA: file to step Function and Jacobian", seconds, "s", "< 2"),
        Row("KUKA: inverse dynamics", inverse, "SX instructions", "≤ 800"),
        Row("KUKA: forward dynamics", forward, "SX instructions", "≤ 2300"),
    ]


def files(quick: bool) -> list[Row]:
    """Jointless and mutated files: each is read, or refused with a ValueError that says why."""
    known = set(moving())
    still = [p for p in sorted(DATA.rglob("*.urdf")) if str(p.relative_to(DATA)) not in known]
    read = refused = odd = 0
    slowest = 0.0
    for path in still[:: 10 if quick else 1]:
        started = time.perf_counter()
        try:
            urdf.read(path)
            read += 1
        except ValueError:
            refused += 1
        except Exception:
            odd += 1
        slowest = max(slowest, time.perf_counter() - started)
    rows = [
        Row("URDF files without a moving joint, read", read, f"of {read + refused + odd}"),
        Row("URDF files without a moving joint, neither read nor refused", odd, "", "= 0"),
    ]
    count = 500 if quick else 5000
    read = refused = odd = 0
    for text in mutated(DATA, count, seed=1):
        started = time.perf_counter()
        try:
            RigidBody.from_description(urdf.parse(text))
            read += 1
        except ValueError:
            refused += 1
        except Exception:
            odd += 1
        slowest = max(slowest, time.perf_counter() - started)
    return [
        *rows,
        Row("mutated URDF files, read", read, f"of {count}"),
        Row("mutated URDF files, refused by name", refused, f"of {count}"),
        Row("mutated URDF files, neither", odd, "", "= 0"),
        Row("slowest of all these files", slowest, "s", "< 2"),
    ]


def table(found: list[Checked]) -> str:
    """The robots as Markdown."""
    lines = [
        "| robot | joints | inverse | forward | PyBullet | Pinocchio |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for robot in found:
        if robot.refused:
            why = robot.refused.partition(f"{robot.path}: ")[2]  # the path stands before it
            lines.append(f"| `{robot.path}` | refused: {why} | | | | |")
        else:
            gaps = (robot.pybullet, robot.pinocchio)
            told = " | ".join("–" if math.isnan(gap) else f"{gap:.1e}" for gap in gaps)
            sizes = f"{robot.joints} | {robot.inverse} | {robot.forward}"
            lines.append(f"| `{robot.path}` | {sizes} | {told} |")
    return "\n".join(lines)


def _alone(robot: Checked) -> bool:
    return not robot.refused and math.isnan(robot.pybullet)


def rows(found: list[Checked]) -> list[Row]:
    """The figures of the ten named robots and of all."""
    named = [robot for robot in found if robot.path in TEN]
    worst = {
        engine: max(getattr(robot, engine) for robot in named)
        for engine in ("pybullet", "pinocchio")
    }
    return [
        Row("named robots that are read", sum(not r.refused for r in named), "", f"= {len(TEN)}"),
        Row("inverse dynamics to PyBullet's", worst["pybullet"], "N·m", f"≤ {BAR_PYBULLET}"),
        Row("inverse dynamics to Pinocchio's", worst["pinocchio"], "N·m", f"≤ {BAR_PINOCCHIO}"),
        Row("robots with a moving joint, tried", len(found), ""),
        Row("  read and agreeing with PyBullet", sum(r.agrees for r in found), "", "≥ 30"),
        Row("  read, which PyBullet does not load", sum(_alone(r) for r in found), ""),
        Row("  refused by name", sum(bool(r.refused) for r in found), ""),
        Row(
            "  read and not agreeing",
            sum(r.pybullet > BAR_PYBULLET for r in found),
            "",
            "= 0",
        ),
    ]
