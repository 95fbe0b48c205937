"""A tree of bodies as MJCF text, every number to the last bit."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping

import numpy as np

from hybridmodel.envs.mujoco.settings import MujocoSettings
from hybridmodel.envs.mujoco.welded import Axis, Welded
from physics.rigid_body.description import Matrix, Pose

LEAST = 1e-15  # kg, kg·m²: MuJoCo's mjMINVAL, which masses and moments must exceed
_ROUNDING = 1e-9  # of the largest moment, by which files may break the triangle inequality


def text(
    name: str,
    bodies: Iterable[Welded],
    *,
    settings: MujocoSettings,
    timestep: float,
    gravity: float,
    damping: Mapping[str, float],
    friction: Mapping[str, float],
) -> str:
    """The whole document; `damping` and `friction` are those of joints by name.

    The root link's frame is the world's where the base does not float, and its mass is left out.
    With `settings.inertia` "system", a body that the compiler would refuse gets a stand-in's mass
    and moments; `masses` has its own.
    Raises ValueError, naming the link, for what the compiler refuses otherwise.
    """
    root = ET.Element("mujoco", model=name)
    compiler = {
        "angle": "radian",
        "autolimits": "false",
        "alignfree": "false",
        "fusestatic": "false",
        "inertiafromgeom": "false",
        "boundmass": "0",
        "boundinertia": "0",
        "balanceinertia": _flag(settings.inertia == "balanced", "true", "false"),
    }
    ET.SubElement(root, "compiler", compiler)
    root.append(_option(settings, timestep, gravity))
    world = ET.SubElement(root, "worldbody")
    elements: list[ET.Element] = []
    for body in bodies:
        if body.fixed:
            elements.append(world)
            continue
        place = body.pose
        parent = world if body.parent < 0 else elements[body.parent]
        element = ET.SubElement(parent, "body", {"name": label(body), **_place(place)})
        if body.free:
            ET.SubElement(element, "freejoint", align="false")
        for axis in body.axes:
            element.append(_joint(axis, settings, damping, friction))
        element.append(_inertial(body, settings))
        elements.append(element)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")


def _option(settings: MujocoSettings, timestep: float, gravity: float) -> ET.Element:
    option = ET.Element(
        "option",
        {
            "timestep": _number(timestep),
            "gravity": _vector((0.0, 0.0, -gravity)),
            "integrator": settings.integrator,
            "solver": settings.solver,
            "iterations": str(settings.solver_iterations),
            "tolerance": _number(settings.solver_tolerance),
            "density": "0",
            "viscosity": "0",
            "wind": "0 0 0",
        },
    )
    flags = {
        "contact": settings.contacts,
        "limit": settings.position_limits,
        "frictionloss": True,
        "eulerdamp": settings.implicit_damping,
        "warmstart": settings.warm_start,
        "refsafe": True,  # the friction's time constant is never below 2 h
        "autoreset": False,  # a state that is not finite must be seen
    }
    switches = {name: _flag(on, "enable", "disable") for name, on in flags.items()}
    ET.SubElement(option, "flag", switches)
    return option


def _joint(
    axis: Axis,
    settings: MujocoSettings,
    damping: Mapping[str, float],
    friction: Mapping[str, float],
) -> ET.Element:
    joint = axis.joint
    limited = math.isfinite(joint.low) and math.isfinite(joint.high)
    attributes = {
        "name": joint.name,
        "type": "hinge" if joint.kind == "revolute" else "slide",
        "pos": _vector(axis.position),
        "axis": _vector(axis.direction),
        "armature": _number(joint.armature),
        "damping": _number(damping[joint.name]),
        "frictionloss": _number(friction[joint.name]),
        "solreffriction": _vector(settings.friction_solref),
        "solimpfriction": _vector(settings.friction_solimp),
        "limited": _flag(limited, "true", "false"),
    }
    if limited:
        attributes["range"] = _vector((joint.low, joint.high))
    return ET.Element("joint", attributes)


def label(body: Welded) -> str:
    """Its name in the text, where "world" is taken."""
    return "world link" if body.name == "world" else body.name


def masses(body: Welded) -> tuple[float, np.ndarray]:
    """Mass and principal moments (3,), in the order of the text."""
    moments, _ = _principal(body.inertia)
    low, middle, high = np.sort(moments)
    if 0 < high - (low + middle) <= _ROUNDING * high:
        # The compiler compares without tolerance, and rounding alone breaks a disc's equality
        moments[np.argmax(moments)] = (low + middle) * (1 - 2**-52)
    return body.mass, moments


def refusal(body: Welded) -> str | None:
    """Why the compiler refuses this body, if it does."""
    mass, moments = masses(body)
    low, middle, high = np.sort(moments)
    shown = f"principal moments {low:.6g}, {middle:.6g}, {high:.6g} kg·m²"
    if mass <= LEAST or low <= LEAST:
        return (
            f"mass and inertia must exceed {LEAST:g} in what a joint moves: {mass:.6g} kg, {shown}"
        )
    if high > low + middle:
        return f"inertia breaks the triangle inequality: {shown}"
    return None


def _inertial(body: Welded, settings: MujocoSettings) -> ET.Element:
    """Mass, and moments along the principal axes: what MuJoCo would find is less exact."""
    mass, moments = masses(body)
    reason = refusal(body)
    if reason is not None and settings.inertia == "system":
        mass, moments = 1.0, np.ones(3)
    elif reason is not None and (settings.inertia == "compiler" or np.min(moments) <= LEAST):
        raise ValueError(
            f"link {body.name!r}: MuJoCo's compiler refuses it, {reason}; "
            "MujocoSettings(inertia='system') goes round the compiler"
        )
    _, axes = _principal(body.inertia)
    rotation = tuple(tuple(row) for row in axes.tolist())
    pose = Pose(rotation=rotation, position=body.center)  # type: ignore[arg-type]
    values = {"mass": _number(mass), "diaginertia": _vector(moments.tolist())}
    return ET.Element("inertial", {**_place(pose), **values})


def _principal(inertia: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """Moments (3,) and right-handed axes (3, 3), as columns in the body's frame."""
    tensor = np.array(inertia, dtype=float)
    if not np.any(tensor - np.diag(np.diag(tensor))):
        return np.diag(tensor).copy(), np.eye(3)
    moments, axes = np.linalg.eigh(tensor)
    return moments, axes * np.sign(np.linalg.det(axes))


def quaternion(rotation: Matrix) -> tuple[float, float, float, float]:
    """(w, x, y, z) of a rotation, by its largest component."""
    R = np.array(rotation, dtype=float)
    trace = float(np.trace(R))
    squares = np.array([trace, *(2 * np.diag(R) - trace)])  # 4 (w², x², y², z²) − 1
    k = int(np.argmax(squares))
    twice = math.sqrt(1 + squares[k])
    vee = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    if k == 0:
        q = np.array([twice / 2, *(vee / (2 * twice))])
    else:
        q = np.empty(4)
        q[0] = vee[k - 1] / (2 * twice)
        q[1:] = (R + R.T)[k - 1] / (2 * twice)
        q[k] = twice / 2
    w, x, y, z = (q / np.linalg.norm(q)).tolist()
    return w, x, y, z


def _place(pose: Pose) -> dict[str, str]:
    return {"pos": _vector(pose.position), "quat": _vector(quaternion(pose.rotation))}


def _flag(on: bool, yes: str, no: str) -> str:
    return yes if on else no


def _number(value: float) -> str:
    return repr(float(value))  # the shortest decimal that is this very number


def _vector(values: Iterable[float]) -> str:
    return " ".join(map(_number, values))
