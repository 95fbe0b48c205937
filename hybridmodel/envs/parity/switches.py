"""Culprits as switches between a System and its plant: each is set alone, or all but it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.hidden import HiddenEffects
from hybridmodel.envs.parity import culprits
from hybridmodel.envs.parity.axes import from_file, other_lengths
from hybridmodel.envs.parity.constants import (
    Constants,
    as_read,
    constants_of,
    invented,
    loads_own_file,
)
from hybridmodel.envs.parity.culprits import Culprit
from hybridmodel.envs.parity.setup import Setup
from physics import System

_CLEAN = BulletSettings()
_IGNORED = ("smoothing",)  # of dry friction, which the engine has exactly
_PLACE = (".origin", ".axis")
_ROUNDING = 1e-12
_LOST = 1e-4  # an inertia that changes so much when it is read was not merely rounded


@dataclass(frozen=True, kw_only=True)
class Switch:
    """One culprit and the values that it has in the plant.

    settings, theirs   what the plant has where the culprit is on
    ours               the System's constants in place of `theirs`
    source             the file that the plant loads, where `axis` is the culprit
    """

    culprit: Culprit
    settings: dict[str, Any] = field(default_factory=dict)
    theirs: Constants = field(default_factory=dict)
    ours: Constants = field(default_factory=dict)
    hidden: HiddenEffects | None = None
    source: str = ""

    @property
    def name(self) -> str:
        """Its culprit's, or that of the one constant or joint which differs."""
        some = next(iter(self.theirs), "")
        if self.culprit is culprits.PLACE:
            return f"{some.rpartition('.')[0]}.place"
        return some if self.culprit is culprits.CONSTANT else self.culprit.name


def switches(system: System, subject: Setup) -> tuple[Switch, ...]:
    """Whatever differs between a System and a plant, in settings or in constants.

    Whether a difference does anything is for the engine to show.
    """
    theirs, ours = constants_of(subject.system), constants_of(system)
    settings = subject.settings
    made, read = {}, {}
    if settings.inertia != "system":
        made = invented(subject.system)
        read = as_read(subject.system) if settings.inertia == "file" else {}
    lost = {k: v for k, v in read.items() if differ(v, theirs[k], _LOST)}
    zeroed = {k: theirs[k] for k, v in lost.items() if differ(v, ours.get(k), _LOST)}
    effective = theirs | made | {k: v for k, v in lost.items() if k not in zeroed}
    if settings.inertia == "shapes":
        effective = {k: v for k, v in effective.items() if k in made or not k.endswith(".inertia")}
    other = {
        name: value
        for name, value in effective.items()
        if name not in _IGNORED and name not in zeroed and differ(value, ours.get(name))
    }
    found: list[Switch] = []
    for culprit in culprits.SWITCHED:
        changed = {
            name: getattr(settings, name)
            for name in culprit.settings
            if getattr(settings, name) != getattr(_CLEAN, name)
        }
        if culprit in (culprits.SHAPES, culprits.ZEROED):
            wanted = "shapes" if culprit is culprits.SHAPES else "file"
            changed = changed if settings.inertia == wanted else {}
        constants = {k: v for k, v in other.items() if _is_of(k, culprit, made)}
        if culprit is culprits.ZEROED and changed:
            constants = zeroed
        other = {k: v for k, v in other.items() if k not in constants}
        if culprit is culprits.GRAVITY and changed:
            if settings.gravity == ours.get("gravity"):
                changed = {}  # the engine was given the System's own
            constants = {}
        if changed or constants:
            own = {k: ours[k] for k in constants}
            found.append(Switch(culprit=culprit, settings=changed, theirs=constants, ours=own))
    places = {k: v for k, v in other.items() if k.endswith(_PLACE)}
    for joint in dict.fromkeys(name.rpartition(".")[0] for name in places):
        own = {k: v for k, v in places.items() if k.rpartition(".")[0] == joint}
        found.append(Switch(culprit=culprits.PLACE, theirs=own, ours={k: ours[k] for k in own}))
    for name, value in other.items():
        if name in places:
            continue
        one = Switch(culprit=culprits.CONSTANT, theirs={name: value}, ours={name: ours[name]})
        found.append(one)
    if subject.hidden != HiddenEffects():
        found.append(Switch(culprit=culprits.HIDDEN, hidden=subject.hidden))
    return tuple(found)


def of_axes(raw: Setup) -> Switch:
    """Axes that are not of unit length, in the file that a plant loads."""
    return Switch(
        culprit=culprits.AXIS,
        settings={"inertia": raw.settings.inertia},
        theirs={
            f"{name} of length {length:.6g}": length for name, length in other_lengths(raw).items()
        },
        source=raw.system.description.source,
    )


def differ(a: Any, b: Any, share: float = _ROUNDING) -> bool:
    """Whether two constants differ by more than this share of their size; one alone does not."""
    if b is None:
        return False
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return bool(np.max(np.abs(a - b)) > share * max(np.max(np.abs(a)), np.max(np.abs(b))))


def _is_of(name: str, culprit: Culprit, made: Constants) -> bool:
    if culprit is culprits.INVENTED:
        return name in made
    return name.endswith(culprit.constants) if culprit.constants else False


def engaged(clean: Setup, some: Iterable[Switch]) -> Setup:
    """The clean plant with these culprits on."""
    setup, some = clean, tuple(some)
    for switch in sorted(some, key=lambda switch: switch.culprit is culprits.INVENTED):
        read = setup.settings.inertia != "system"
        if switch.culprit is culprits.INVENTED and read and loads_own_file(setup.system):
            continue  # the engine invents them itself
        if switch.culprit is not culprits.AXIS:
            setup = setup.changed(constants=switch.theirs, **switch.settings)
        if switch.hidden is not None:
            setup = dataclasses.replace(setup, hidden=switch.hidden)
    for switch in some:
        if switch.source:
            system = from_file(setup.system, switch.source)
            setup = dataclasses.replace(setup, system=system)
    return setup
