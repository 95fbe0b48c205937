"""What PyBullet is told, and what it does where nobody tells it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self


@dataclass(frozen=True, kw_only=True)
class BulletSettings:
    """Every choice that PyBullet would otherwise make; the defaults follow the System.

    The second value is what PyBullet 3.2.7 does unasked: measured, or for self-collision and the
    solver as its guide says.

    gravity             magnitude along −z [m/s²], None is the System's own        | 0
    inertia             "system": as the System says, to the digit; "file": as the | "shapes"
                        engine reads the file, which zeroes a tensor whose moments are negative
                        or break the triangle inequality; "shapes": made anew from the collision
                        shapes, solid and uniform
    linear_damping      d_l: on every link F = −d_l m v (1 + |v|), v of its centre | 0.04
    angular_damping     d_a: on every link τ = −d_a I ω (1 + |ω|)                  | 0.04
    joint_damping       "system" viscous damping, explicit (stable for h D < 2 M), | "system"
                        or "none"
    dry_friction        "system": its dry friction as a velocity constraint that truly sticks;
                        "none": a file's <dynamics friction> is read and not used  | "none"
    motors              the velocity motor that every joint is loaded with stays on: it brakes
                        with up to 1/h [N·m, N], an impulse of 1 a step            | True
    max_joint_velocity  |q̇| is cut to this after each step [rad/s, m/s]            | 100
    position_limits     the file's limits are stops: one acts once it is crossed,  | True
                        pushes out at up to 0.2 depth/h, by up to 100 N·m·s a step
    self_collision      links of one body meet each other                          | False
    solver_iterations   of the constraint solver                                   | 50
    residual_threshold  at which it stops early                                    | 1e-7
    global_cfm          softness of all constraints                                | 0

    A file's effort and velocity limits are read and never enforced, under any settings. Whatever
    the settings, v⁺ = v + h v̇(q, v), q⁺ = q + h v⁺: rollouts err by O(h). The engine's own
    h is 1/240 s, at which the damping in a file may already diverge (joint 7 of its kuka does).

    Raises ValueError where a value has no meaning.
    """

    gravity: float | None = None
    inertia: Literal["system", "file", "shapes"] = "system"
    linear_damping: float = 0.0
    angular_damping: float = 0.0
    joint_damping: Literal["system", "none"] = "system"
    dry_friction: Literal["system", "none"] = "system"
    motors: bool = False
    max_joint_velocity: float = 1e6
    position_limits: bool = False
    self_collision: bool = False
    solver_iterations: int = 50
    residual_threshold: float = 0.0
    global_cfm: float = 0.0

    def __post_init__(self) -> None:
        choices = {
            "inertia": ("system", "file", "shapes"),
            "joint_damping": ("system", "none"),
            "dry_friction": ("system", "none"),
            "motors": (False, True),
            "position_limits": (False, True),
            "self_collision": (False, True),
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        if not (self.gravity is None or _is_number(self.gravity)):
            raise ValueError(f"gravity must be a finite number or None, got {self.gravity!r}")
        for name in ("linear_damping", "angular_damping", "residual_threshold", "global_cfm"):
            value = getattr(self, name)
            if not (_is_number(value) and value >= 0):
                raise ValueError(f"{name} must be a finite number ≥ 0, got {value!r}")
        if not (_is_number(self.max_joint_velocity) and self.max_joint_velocity > 0):
            raise ValueError(
                f"max_joint_velocity must be a finite number > 0, got {self.max_joint_velocity!r}"
            )
        count = self.solver_iterations
        if not (isinstance(count, int) and not isinstance(count, bool) and count >= 1):
            raise ValueError(f"solver_iterations must be an integer ≥ 1, got {count!r}")

    @classmethod
    def engine_defaults(cls) -> Self:
        """What one gets who loads a file and sets nothing."""
        return cls(
            gravity=0.0,
            inertia="shapes",
            linear_damping=0.04,
            angular_damping=0.04,
            joint_damping="system",
            dry_friction="none",
            motors=True,
            max_joint_velocity=100.0,
            position_limits=True,
            residual_threshold=1e-7,
        )


def _is_number(value: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)
