"""Hidden effects of robots, quadrotors and cars, in closed forms that every plant can use."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

import casadi as ca

from hybridmodel.envs.hidden import HiddenEffects
from hybridmodel.envs.payload import Laden, Vector
from physics import DynamicBicycle, Quadrotor, System, quaternion

Pickup = tuple[float, float, Vector]


@dataclass(frozen=True, kw_only=True)
class RobotEffects(HiddenEffects):
    """What else a robot does not know.

    payload       mass of a point fixed to a link [kg]
    payload_at    its place in that link's frame [m]
    payload_link  the link; "" is the last of the description
    pickup        (time [s], mass [kg], place in the link's frame [m]) of a point that is fixed to
                  `payload_link` from then on, or None; it starts with that link's velocity, and is
                  there in PyBullet alone
    table         height of a table's top [m] that the robot's links touch, None is no table;
                  no function of (x, u), so that it is there in PyBullet alone
    table_friction     Coulomb's coefficient between the table and every link [–]; hits are
                       inelastic
    """

    payload: float = 0.0
    payload_at: Vector = (0.0, 0.0, 0.0)
    payload_link: str = ""
    pickup: Pickup | None = None
    table: float | None = None
    table_friction: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_payload(self)
        _require_amount("table_friction", self.table_friction)
        if self.pickup is not None:
            object.__setattr__(self, "pickup", _checked_pickup(self.pickup))
        if not isinstance(self.payload_link, str):
            raise ValueError(f"payload_link must be a link's name, got {self.payload_link!r}")
        if self.table is not None and not (_is_number(self.table) and math.isfinite(self.table)):
            raise ValueError(f"table must be a height in metres or None, got {self.table!r}")

    @property
    def engine_only(self) -> tuple[str, ...]:
        return tuple(name for name in ("table", "pickup") if getattr(self, name) is not None)

    def check(self, system: System) -> None:
        super().check(system)
        used = [*(["payload"] if self.payload else []), *self.engine_only]
        if used and not hasattr(system, "with_payload"):
            raise ValueError(f"{used[0]} is for a RigidBody, got {type(system).__name__}")

    def true_system(self, system: System) -> System:
        true: Any = super().true_system(system)
        if not self.payload:
            return true
        link = self.payload_link or true.description.links[-1].name
        return true.with_payload(link, self.payload, self.payload_at)

    def beyond_system(self) -> Self:
        return dataclasses.replace(super().beyond_system(), payload=0.0)


@dataclass(frozen=True, kw_only=True)
class AerialEffects(HiddenEffects):
    """What else a quadrotor does not know.

        F = −R diag(D) Rᵀ v − c |v| v + (γ(z) − 1) T,    γ = 1 / (1 − (r / 4z)²)

    payload         mass of a point fixed to the body [kg]
    payload_at      its place in the body frame [m]
    linear_drag     D of the body's axes [N·s/m]
    quadratic_drag  c [N·s²/m²]
    ground_effect   r radius of a rotor [m] above a ground at z = 0, 0 is none; z the height of
                    the body's origin, taken as r/2 below that. T thrust [N] (Cheeseman,
                    Bennett, The effect of the ground on a helicopter rotor in forward flight, 1955)

    There is no air below the ground, and no ground to hit.
    """

    payload: float = 0.0
    payload_at: Vector = (0.0, 0.0, 0.0)
    linear_drag: Vector = (0.0, 0.0, 0.0)
    quadratic_drag: float = 0.0
    ground_effect: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_payload(self)
        drag = _three("linear_drag", self.linear_drag, "three numbers ≥ 0")
        object.__setattr__(self, "linear_drag", drag)
        if not all(0 <= value < math.inf for value in drag):
            raise ValueError(f"linear_drag must be three numbers ≥ 0, got {self.linear_drag!r}")
        for name in ("quadratic_drag", "ground_effect"):
            _require_amount(name, getattr(self, name))

    def check(self, system: System) -> None:
        super().check(system)
        names = ("payload", "quadratic_drag", "ground_effect")
        used = [name for name in names if getattr(self, name)]
        used += ["linear_drag"] if any(self.linear_drag) else []
        if used and not isinstance(system, Quadrotor | Laden):
            raise ValueError(f"{used[0]} is for a Quadrotor, got {type(system).__name__}")

    def true_system(self, system: System) -> System:
        true: Any = super().true_system(system)
        if not self.payload:
            return true
        return Laden(system=true, payload=self.payload, at=self.payload_at)

    def beyond_system(self) -> Self:
        return dataclasses.replace(super().beyond_system(), payload=0.0)

    def force(self, system: Any, x: ca.SX, u: ca.SX) -> ca.SX:
        force = super().force(system, x, u)
        if not (any(self.linear_drag) or self.quadratic_drag or self.ground_effect):
            return force
        q, v = x[:7], x[7:10]
        R = quaternion.rotation_matrix(q[3:])
        air = -R @ (ca.DM(self.linear_drag) * (R.T @ v))
        if self.quadratic_drag:
            # the root's slope at rest must be finite; 1e-12 m/s is no speed
            air -= self.quadratic_drag * ca.sqrt(ca.sumsqr(v) + 1e-24) * v
        if self.ground_effect:
            r = self.ground_effect
            height = ca.fmax(q[2], r / 2)
            gain = 1 / (1 - (r / (4 * height)) ** 2)
            thrust = system.input_map(q, system.namespace())[:3, :] @ u
            air += (gain - 1) * thrust
        return force + ca.vertcat(air, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class VehicleEffects(HiddenEffects):
    """What else a car does not know.

    tyre_friction  the road's grip over the nominal: scales the peak forces of both tyres [–]
    """

    tyre_friction: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (_is_number(self.tyre_friction) and 0 < self.tyre_friction < math.inf):
            raise ValueError(f"tyre_friction must be a number > 0, got {self.tyre_friction!r}")

    def check(self, system: System) -> None:
        super().check(system)
        if self.tyre_friction != 1 and not isinstance(system, DynamicBicycle):
            raise ValueError(f"tyre_friction is for a DynamicBicycle, got {type(system).__name__}")

    def true_system(self, system: System) -> System:
        true = super().true_system(system)
        if self.tyre_friction == 1:
            return true
        peaks = ("front_peak", "rear_peak")
        return true.with_parameters(
            **{name: self.tyre_friction * true.parameters[name] for name in peaks}
        )

    def beyond_system(self) -> Self:
        return dataclasses.replace(super().beyond_system(), tyre_friction=1.0)


def _check_payload(effects: RobotEffects | AerialEffects) -> None:
    _require_amount("payload", effects.payload)
    at = _three("payload_at", effects.payload_at, "three finite numbers")
    object.__setattr__(effects, "payload_at", at)
    if not all(map(math.isfinite, at)):
        raise ValueError(f"payload_at must be three finite numbers, got {effects.payload_at!r}")


def _checked_pickup(pickup: Any) -> Pickup:
    wanted = "(time ≥ 0, mass > 0, three finite numbers)"
    if not (isinstance(pickup, tuple | list) and len(pickup) == 3):
        raise ValueError(f"pickup must be {wanted}, got {pickup!r}")
    when, mass, at = pickup
    place = _three("pickup", at, wanted)
    if not (
        all(map(_is_number, (when, mass)))
        and 0 <= when < math.inf
        and 0 < mass < math.inf
        and all(map(math.isfinite, place))
    ):
        raise ValueError(f"pickup must be {wanted}, got {pickup!r}")
    return float(when), float(mass), place


def _require_amount(name: str, value: float) -> None:
    if not (_is_number(value) and 0 <= value < math.inf):
        raise ValueError(f"{name} must be a finite number ≥ 0, got {value!r}")


def _three(name: str, values: Any, wanted: str) -> Vector:
    numbers = tuple(values) if isinstance(values, Iterable) else ()
    if len(numbers) != 3 or not all(map(_is_number, numbers)):
        raise ValueError(f"{name} must be {wanted}, got {values!r}")
    x, y, z = map(float, numbers)
    return x, y, z


def _is_number(value: object) -> bool:
    """Whether it is a real number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)
