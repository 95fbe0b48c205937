"""Names, units and bounds of a robot's channels, from its joints."""

from __future__ import annotations

import math

from physics.rigid_body.description import Joint
from physics.system import Signal

ATTITUDE = "attitude"  # the base's rotation


def motor(joint: Joint) -> Signal:
    """u: the torque or force of a joint's motor."""
    kind, unit = ("torque", "N·m") if joint.kind == "revolute" else ("force", "N")
    return Signal(f"{joint.name}_{kind}", unit, -joint.effort, joint.effort)


def coordinate(joint: Joint) -> Signal:
    """q; an angle on the circle where nothing limits it."""
    turns = joint.kind == "revolute"
    free = math.isinf(joint.low) and math.isinf(joint.high)
    unit = "rad" if turns else "m"
    return Signal(joint.name, unit, joint.low, joint.high, angle=turns and free)


def rate(joint: Joint) -> Signal:
    """q̇."""
    unit = "rad/s" if joint.kind == "revolute" else "m/s"
    limit = joint.velocity
    return Signal(f"{joint.name}_rate", unit, -limit, limit, rate_of=joint.name)


def base() -> tuple[tuple[Signal, ...], tuple[Signal, ...]]:
    """q and v of a floating base."""
    position = [Signal(f"base_{axis}", "m") for axis in "xyz"]
    attitude = [Signal(f"base_q{axis}", "1", quaternion=ATTITUDE) for axis in "wxyz"]
    velocity = [Signal(f"base_velocity_{axis}", "m/s", rate_of=f"base_{axis}") for axis in "xyz"]
    rates = [Signal(f"base_rate_{axis}", "rad/s", rate_of=ATTITUDE) for axis in "xyz"]
    return (*position, *attitude), (*velocity, *rates)
