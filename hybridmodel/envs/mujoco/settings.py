"""What MuJoCo is told, and what it does where nobody tells it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self


@dataclass(frozen=True, kw_only=True)
class MujocoSettings:
    """Every choice that MuJoCo would otherwise make; the defaults follow the System.

    The second value is what MuJoCo does unasked, read from the engine.

    integrator        how v̇ becomes the next state, over steps of h = dt/substeps      | "Euler"
                      "RK4": fourth order where forces are smooth; of rotations of a
                      free base second order before MuJoCo 4
                      "Euler": v⁺ = v + h v̇, q⁺ = q + h v⁺, first order
                      "implicitfast": (M − h ∂f/∂v) (v⁺ − v)/h = M v̇, first order,
                      f the forces of joint damping; this and "Euler" differ in no more
    implicit_damping  "Euler" alone takes viscous joint damping from v⁺, stable for    | True
                      every h; else from v, stable for h D < 2 M, with
                      "RK4" for h D < 2.7 M
    gravity           magnitude along −z [m/s²], None is the System's own              | 9.81
    joint_damping     "system": its viscous damping; or "none"                         | "system"
    dry_friction      "system": its dry friction, a soft constraint, see below; or     | "system"
                      "none"; hidden effects act in any case
    friction_solref   (time constant [s], damping ratio [–]) of the approach to rest;  | (0.02, 1)
                      a constant below 2 h is taken as 2 h
    friction_solimp   (d₀, d₁, width, midpoint, power) of its impedance: d is d₀, at   | (0.9, 0.95,
                      most 0.9999; the last three have no say in friction              |  1e-3,.5,2)
    position_limits   the description's limits are soft stops                          | where given
    contacts          bodies meet; they have no shapes here, so that nothing does      | True
    inertia           "system": as the System says, to the digit; "compiler": refused  | "compiler"
                      by name where a mass or a moment is not above 1e-15, or moments
                      break the triangle inequality; "balanced": such moments are
                      replaced by their mean
    solver            of the constraints: "Newton", "CG" or "PGS"                      | "Newton"
    solver_iterations at most                                                          | 100
    solver_tolerance  relative improvement of its cost at which it stops               | 1e-8
    warm_start        it starts from the last step's v̇, a memory that no state has     | True

    Dry friction acts on v̇ through λ = −c … c that tends to ρ = v̇ + b v = 0 with

        λ = −M̃ d₀/(1 − d₀) ρ where that is within ± c,    b = 2 / (d₁ t),  t = friction_solref[0]

    so a joint under a force f < c does not stick but creeps with v = f (1 − d₀) / (d₀ b M̃), M̃ its
    own inertia at q = 0: by 1e-4 h f/M̃ with the values here, by 1e-3 s f/M̃ with the engine's.

    Raises ValueError where a value has no meaning.
    """

    integrator: Literal["RK4", "Euler", "implicitfast"] = "RK4"
    implicit_damping: bool = False
    gravity: float | None = None
    joint_damping: Literal["system", "none"] = "system"
    dry_friction: Literal["system", "none"] = "system"
    friction_solref: tuple[float, float] = (1e-9, 1.0)
    friction_solimp: tuple[float, float, float, float, float] = (0.9999, 0.9999, 1e-3, 0.5, 2.0)
    position_limits: bool = False
    contacts: bool = False
    inertia: Literal["system", "compiler", "balanced"] = "system"
    solver: Literal["Newton", "CG", "PGS"] = "Newton"
    solver_iterations: int = 100
    solver_tolerance: float = 0.0
    warm_start: bool = False

    def __post_init__(self) -> None:
        choices = {
            "integrator": ("RK4", "Euler", "implicitfast"),
            "implicit_damping": (False, True),
            "joint_damping": ("system", "none"),
            "dry_friction": ("system", "none"),
            "position_limits": (False, True),
            "contacts": (False, True),
            "inertia": ("system", "compiler", "balanced"),
            "solver": ("Newton", "CG", "PGS"),
            "warm_start": (False, True),
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        if not (self.gravity is None or _is_number(self.gravity)):
            raise ValueError(f"gravity must be a finite number or None, got {self.gravity!r}")
        for name, count in (("friction_solref", 2), ("friction_solimp", 5)):
            values = getattr(self, name)
            if len(values) != count or not all(_is_number(v) and v > 0 for v in values):
                raise ValueError(f"{name} must be {count} finite numbers > 0, got {values!r}")
        if not (_is_number(self.solver_tolerance) and self.solver_tolerance >= 0):
            raise ValueError(
                f"solver_tolerance must be a finite number ≥ 0, got {self.solver_tolerance!r}"
            )
        count = self.solver_iterations
        if not (isinstance(count, int) and not isinstance(count, bool) and count >= 1):
            raise ValueError(f"solver_iterations must be an integer ≥ 1, got {count!r}")

    @classmethod
    def engine_defaults(cls) -> Self:
        """What one gets who writes joints with their damping and friction, and sets nothing."""
        return cls(
            integrator="Euler",
            implicit_damping=True,
            gravity=9.81,
            friction_solref=(0.02, 1.0),
            friction_solimp=(0.9, 0.95, 1e-3, 0.5, 2.0),
            position_limits=True,
            contacts=True,
            inertia="compiler",
            solver_tolerance=1e-8,
            warm_start=True,
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
