"""What single elements of an MJCF file mean: compiler settings, defaults, frames, motors.

Semantics are those of MuJoCo's XML reference: lower-case letters of `eulerseq` turn about moving
axes, upper-case ones about fixed axes; quaternions are (w, x, y, z).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from physics.rigid_body.description import EYE, Matrix, Pose, Vector
from physics.rigid_body.rotation import (
    about,
    about_axis,
    exact,
    from_quaternion,
    from_z_to,
    product,
    transpose,
)
from physics.rigid_body.safe_xml import Element, shorten

ORIENTATIONS = ("quat", "axisangle", "xyaxes", "zaxis", "euler")
ORIGIN: Vector = (0.0, 0.0, 0.0)
_UNREADABLE = ("include", "replicate", "composite", "flexcomp", "frame", "attach", "deformable")
_PULLS = ("stiffness", "damping", "frictionloss", "armature", "range")  # of a tendon
_KINDS = {  # tags that share one default
    **dict.fromkeys(
        (
            "general", "motor", "position", "velocity", "intvelocity", "damper", "cylinder",
            "muscle", "adhesion", "dcmotor",
        ),
        "actuator",
    ),
    "fixed": "tendon",
    "spatial": "tendon",
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The <compiler>: radians per unit of angle, and how bodies get their inertia."""

    angle: float
    eulerseq: str
    autolimits: bool
    inertia_from_geoms: bool | None  # None: where there is no <inertial>
    total_mass: float | None

    @classmethod
    def of(cls, root: Element) -> Settings:
        """Settings of the document; ValueError where they mean what no Description can."""
        merged: dict[str, str] = {}
        line = root.line
        for element in root.all("compiler"):
            merged |= element.attributes
            line = element.line
        compiler = Element("compiler", merged, line)
        for name, only in {
            "coordinate": "local",
            "inertiagrouprange": "0 5",
            "balanceinertia": "false",
            "alignfree": "false",
        }.items():
            if merged.get(name, only) != only:
                raise ValueError(f"line {line}: <compiler {name}=…> must be {only!r}")
        for name in ("boundmass", "boundinertia"):
            if compiler.number(name, 0.0):
                raise ValueError(f"line {line}: <compiler {name}=…> must be 0")
        degrees = choice(compiler, "angle", ("degree", "radian")) == "degree"
        sequence = merged.get("eulerseq", "xyz")
        if len(sequence) != 3 or set(sequence.lower()) - set("xyz"):
            raise ValueError(f"line {line}: <compiler eulerseq=…> must be three of xyzXYZ")
        mode = choice(compiler, "inertiafromgeom", ("auto", "true", "false"))
        total = compiler.number("settotalmass", -1.0)
        return cls(
            angle=math.pi / 180 if degrees else 1.0,
            eulerseq=sequence,
            autolimits=choice(compiler, "autolimits", ("true", "false")) == "true",
            inertia_from_geoms=None if mode == "auto" else mode == "true",
            total_mass=total if total > 0 else None,
        )


def choice(element: Element, name: str, among: Sequence[str]) -> str:
    """The keyword of an attribute, the first one where it is missing."""
    found = element.attributes.get(name, among[0])
    if found not in among:
        raise ValueError(
            f"line {element.line}: <{element.tag} {name}=…> must be one of {list(among)}, "
            f"got {shorten(found)}"
        )
    return found


class Defaults:
    """The <default> classes: attributes by class and tag, what a class inherits included."""

    def __init__(self, root: Element) -> None:
        self._classes: dict[str, dict[str, dict[str, str]]] = {"main": {}}
        for element in root.all("default"):
            if element.attributes.get("class", "main") != "main":
                raise ValueError(f"line {element.line}: the outermost <default> is class 'main'")
            self._add(element, self._classes["main"], "main")

    def _add(self, element: Element, inherited: dict[str, dict[str, str]], name: str) -> None:
        own = {tag: dict(attributes) for tag, attributes in inherited.items()}
        for child in element.children:
            if child.tag != "default":
                kind = _KINDS.get(child.tag, child.tag)
                own[kind] = own.get(kind, {}) | child.attributes
        self._classes[name] = own
        for child in element.all("default"):
            if "class" not in child.attributes:
                raise ValueError(f"line {child.line}: a nested <default> must have a class")
            self._add(child, own, child.attributes["class"])

    def fill(self, element: Element, inherited: str) -> Element:
        """The element with the attributes of its class, or of the class its body hands down."""
        name = element.attributes.get("class", inherited)
        if name not in self._classes:
            raise ValueError(
                f"line {element.line}: class {shorten(name)} is no <default>, "
                f"there are {sorted(self._classes)[:9]}"
            )
        kind = _KINDS.get(element.tag, element.tag)
        attributes = self._classes[name].get(kind, {}) | element.attributes
        return Element(element.tag, attributes, element.line, element.children)


def unit(element: Element, name: str, vector: Vector) -> Vector:
    """The vector at unit length; ValueError where it is no direction."""
    norm = math.hypot(*vector)
    if not 1e-9 < norm < 1e9:
        raise ValueError(f"line {element.line}: {name} must be a direction, got {vector}")
    x, y, z = vector
    return (x / norm + 0.0, y / norm + 0.0, z / norm + 0.0)


def three(element: Element, name: str, default: Vector) -> Vector:
    """Three numbers of an attribute."""
    x, y, z = element.numbers(name, 3, default)
    return (x, y, z)


def pose(element: Element, settings: Settings) -> Pose:
    """The frame of a body, geom or inertial in that of its parent."""
    return Pose(rotation=_rotation(element, settings), position=three(element, "pos", ORIGIN))


def _rotation(element: Element, settings: Settings) -> Matrix:
    given = [name for name in ORIENTATIONS if name in element.attributes]
    if len(given) > 1:
        raise ValueError(f"line {element.line}: <{element.tag}> has both {given[0]} and {given[1]}")
    if not given:
        return EYE
    if given == ["quat"]:
        w, x, y, z = element.numbers("quat", 4, ())
        if not 1e-9 < math.hypot(w, x, y, z) < 1e9:
            raise ValueError(f"line {element.line}: quat must not be zero, got {(w, x, y, z)}")
        return from_quaternion(w, x, y, z)
    if given == ["euler"]:
        rotation = EYE
        for letter, angle in zip(settings.eulerseq, element.numbers("euler", 3, ()), strict=True):
            turn = about_axis("xyz".index(letter.lower()), angle * settings.angle)
            rotation = product(rotation, turn) if letter.islower() else product(turn, rotation)
        return rotation
    if given == ["axisangle"]:
        x, y, z, angle = element.numbers("axisangle", 4, ())
        return about(unit(element, "axisangle", (x, y, z)), angle * settings.angle)
    if given == ["zaxis"]:
        return from_z_to(unit(element, "zaxis", three(element, "zaxis", ORIGIN)))
    numbers = element.numbers("xyaxes", 6, ())
    a = unit(element, "xyaxes", (numbers[0], numbers[1], numbers[2]))
    dot = sum(p * q for p, q in zip(a, numbers[3:], strict=True))
    b0, b1, b2 = (q - dot * p for p, q in zip(a, numbers[3:], strict=True))
    b = unit(element, "xyaxes", (b0, b1, b2))
    c = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    return exact(transpose((a, b, c)))


def limits(
    element: Element, flag: str, attribute: str, settings: Settings
) -> tuple[float, float] | None:
    """The range that holds, None without one: as its flag says, else where it ascends."""
    said = choice(element, flag, ("auto", "true", "false"))
    low, high = element.numbers(attribute, 2, (0.0, 0.0))
    if said == "true" and low >= high:
        raise ValueError(f"line {element.line}: {attribute} must ascend, got {(low, high)}")
    holds = settings.autolimits and low < high if said == "auto" else said == "true"
    return (low, high) if holds else None


def efforts(root: Element, settings: Settings, defaults: Defaults) -> dict[str, float]:
    """Largest |force| of the actuators by the joint they move [N, N·m], inf without a limit.

    A motor gives gear·control, every actuator at most gear·(force limit); several add up.
    """
    found: dict[str, float] = {}
    for element in (e for section in root.all("actuator") for e in section.children):
        element = defaults.fill(element, "main")
        limit = math.inf
        if force := limits(element, "forcelimited", "forcerange", settings):
            limit = max(map(abs, force))
        control = limits(element, "ctrllimited", "ctrlrange", settings)
        if control and element.tag == "motor":
            limit = min(limit, max(map(abs, control)))
        words = element.attributes.get("gear", "1").split(maxsplit=6)
        gear = abs(element.numbers("gear", max(len(words), 1), (1.0,))[0])
        if name := element.attributes.get("joint"):
            found[name] = found.get(name, 0.0) + (limit * gear if gear else 0.0)
    return found


def refuse_what_is_no_tree(root: Element, defaults: Defaults, ignore: Collection[str]) -> None:
    """ValueError where the document couples joints or needs MuJoCo to expand it."""
    for element in root.descendants():
        if element.tag in _UNREADABLE:
            raise ValueError(
                f"line {element.line}: <{element.tag}> is refused: let MuJoCo expand the file "
                "first (mujoco.mj_saveLastXML)"
            )
    for section in root.all("equality") if "equality" not in ignore else ():
        for element in section.children:
            raise ValueError(
                f"line {element.line}: equality <{element.tag}> is refused: a constraint is no tree"
            )
    for section in root.all("tendon") if "tendon" not in ignore else ():
        for element in section.children:
            attributes = defaults.fill(element, "main").attributes
            if pulls := [name for name in _PULLS if name in attributes]:
                raise ValueError(
                    f"line {element.line}: tendon {shown(element)} with {pulls[0]} is refused: "
                    "it couples joints"
                )


def shown(element: Element) -> str:
    """The element's name, for a message."""
    return shorten(element.attributes.get("name", ""))
