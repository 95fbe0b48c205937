"""What to change in a System and in a plant, as code."""

from __future__ import annotations

import dataclasses
from typing import Any

from hybridmodel.envs.hidden import HiddenEffects
from hybridmodel.envs.parity.constants import constants_of
from hybridmodel.envs.parity.setup import Setup
from hybridmodel.envs.parity.switches import differ
from physics import System
from physics.rigid_body.constants import JOINT
from physics.rigid_body.system import RigidBody


def for_plant(subject: Setup, setup: Setup) -> tuple[str, ...]:
    """Settings, steps and hidden effects that are not the plant's own."""
    own, new = (dataclasses.asdict(s.settings) for s in (subject, setup))
    changed = [f"{name}={value!r}" for name, value in new.items() if value != own[name]]
    found = [f"plant.with_settings({', '.join(changed)})"] if changed else []
    if setup.substeps != subject.substeps:
        found.append(f"substeps={setup.substeps} instead of {subject.substeps}")
    if setup.hidden != subject.hidden:
        found.append(f"hidden={HiddenEffects.__name__}()")
    return (*found, *(f"the plant's {line}" for line in for_system(subject.system, setup.system)))


def for_system(system: System, adjusted: System) -> tuple[str, ...]:
    """Calls that make `adjusted` of a System, and what no call does."""
    if type(system) is not type(adjusted):
        return (f"system={type(adjusted).__name__}(…), of the plant's own type",)
    old, new = constants_of(system), constants_of(adjusted)
    changed = {k: v for k, v in new.items() if k in old and differ(v, old[k])}
    if not isinstance(system, RigidBody):
        return _parameters({k: float(v) for k, v in changed.items()})
    found, values = [], {}
    joints: dict[str, dict[str, float]] = {}
    had, has = system.parameters, adjusted.parameters
    for name, value in changed.items():
        owner, _, kind = name.rpartition(".")
        if kind in JOINT:
            joints.setdefault(owner, {})[kind] = float(value)
        elif kind == "inertia":
            spread = [n for n in has if n.startswith(f"{owner}.spread_")]
            if spread and all(n in had for n in spread):
                values |= {n: float(has[n]) for n in spread if differ(has[n], had[n])}
            else:
                found.append(f"description: link {owner!r} with {kind} {_numbers(value)}")
        elif kind in ("origin", "axis"):
            found.append(f"description: joint {owner!r} with {kind} {_numbers(value)}")
        elif name in had:
            values[name] = float(value)
        else:
            found.append(f"description: link {owner!r} with {kind} {float(value)!r}")
    for owner, kinds in joints.items():
        given = ", ".join(f"{kind}={value!r}" for kind, value in kinds.items())
        found.insert(0, f"system.with_joint({owner!r}, {given})")
    return (*_parameters(values), *found)


def _parameters(values: dict[str, float]) -> tuple[str, ...]:
    if not values:
        return ()
    plain = all(name.isidentifier() for name in values)
    if plain:
        return (f"system.with_parameters({', '.join(f'{k}={v!r}' for k, v in values.items())})",)
    return (f"system.with_parameters(**{values!r})",)


def _numbers(value: Any) -> str:
    if hasattr(value, "tolist"):
        value = value.tolist()
    return repr(value)
