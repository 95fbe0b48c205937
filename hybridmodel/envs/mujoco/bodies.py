"""The trees of bodies that MuJoCo is given, as data of `physics.rigid_body`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from physics import CartPole, DoublePendulum, Mechanical, Pendulum
from physics.rigid_body import RigidBody
from physics.rigid_body.description import Description, Joint, Link, Matrix, Pose
from physics.rigid_body.payload import described


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A description whose moving joints are the q of a System, in their order.

    floating  whether the root is free; its rows of q and v then come first
    gravity   [m/s²], along −z
    """

    description: Description
    floating: bool
    gravity: float


def tree(system: Mechanical) -> Tree:
    """The system as a tree; ValueError where none is known for its type."""
    kind = type(system)
    if kind not in _BUILT:
        raise ValueError(
            f"system: MuJoCo plants are there for {sorted(k.__name__ for k in _BUILT)}, "
            f"got {kind.__name__}"
        )
    return Tree(
        description=_BUILT[kind](system),
        floating=isinstance(system, RigidBody) and system.floating,
        gravity=float(system.parameters["gravity"]),
    )


def _pendulum(s: Pendulum) -> Description:
    pole = _swinging("pole", s.mass, s.length, s.inertia)
    pivot = _hinge("angle", "stand", "pole", s.damping)
    return Description(name="pendulum", links=(Link(name="stand"), pole), joints=(pivot,))


def _cartpole(s: CartPole) -> Description:
    cart = Link(name="cart", mass=float(s.cart_mass), inertia=_round(1.0))  # it does not turn
    pole = _swinging("pole", s.pole_mass, s.pole_length, s.pole_inertia)
    slide = Joint(
        name="position",
        kind="prismatic",
        parent="rail",
        child="cart",
        axis=(1.0, 0.0, 0.0),
        low=s.states[0].low,
        high=s.states[0].high,
        damping=float(s.cart_damping),
    )
    pivot = _hinge("angle", "cart", "pole", s.pole_damping)
    links = (Link(name="rail"), cart, pole)
    return Description(name="cartpole", links=links, joints=(slide, pivot))


def _double_pendulum(s: DoublePendulum) -> Description:
    links = (
        Link(name="stand"),
        _swinging("link1", s.mass1, s.center1, s.inertia1),
        _swinging("link2", s.mass2, s.center2, s.inertia2),
    )
    joints = (
        _hinge("shoulder", "stand", "link1", s.damping1),
        _hinge("elbow", "link1", "link2", s.damping2, below=float(s.length1)),
    )
    return Description(name="double_pendulum", links=links, joints=joints)


def _robot(s: RigidBody) -> Description:
    """With the constants of the System, which override those of its description."""
    return described(s.description, s.parameters)


_BUILT: Mapping[type, Callable[..., Description]] = {
    CartPole: _cartpole,
    DoublePendulum: _double_pendulum,
    Pendulum: _pendulum,
    RigidBody: _robot,
}


def _swinging(name: str, mass: float, center: float, inertia: float) -> Link:
    """A link that hangs along −z; only its inertia about y is ever felt."""
    return Link(
        name=name,
        mass=float(mass),
        center=(0.0, 0.0, -float(center)),
        inertia=_round(float(inertia)),
    )


def _hinge(name: str, parent: str, child: str, damping: float, *, below: float = 0.0) -> Joint:
    """About −y, so that an angle > 0 swings towards +x."""
    return Joint(
        name=name,
        kind="revolute",
        parent=parent,
        child=child,
        origin=Pose(position=(0.0, 0.0, -below)),
        axis=(0.0, -1.0, 0.0),
        damping=float(damping),
    )


def _round(moment: float) -> Matrix:
    return ((moment, 0.0, 0.0), (0.0, moment, 0.0), (0.0, 0.0, moment))
