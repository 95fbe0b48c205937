"""Sentences of the table of culprits with the numbers of one robot."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from hybridmodel.envs.hidden import HiddenEffects
from hybridmodel.envs.parity import culprits
from hybridmodel.envs.parity.constants import constants_of
from hybridmodel.envs.parity.setup import Setup
from hybridmodel.envs.parity.switches import Switch
from physics import Mechanical

_SHOWN = 4  # names in one sentence


def told(switch: Switch, system: Mechanical, subject: Setup) -> tuple[str, str]:
    """Sentence and remedy of a culprit."""
    ours, theirs = constants_of(system), constants_of(subject.system)
    settings = subject.settings
    gravity = ours.get("gravity", 0.0)
    engine = theirs.get("gravity", 0.0) if settings.gravity is None else settings.gravity
    first = next(iter(switch.theirs), "")
    words = {
        "gravity": f"{gravity:.6g}",
        "minus_gravity": f"{-gravity:.6g}",
        "engine_gravity": f"{engine:.6g}",
        "linear_damping": f"{settings.linear_damping:g}",
        "angular_damping": f"{settings.angular_damping:g}",
        "max_joint_velocity": f"{settings.max_joint_velocity:g}",
        "links": some(sorted({name.rpartition(".")[0] for name in switch.theirs})),
        "damping": _lacks(switch, ours, theirs, "damping", settings.joint_damping == "none"),
        "friction": _lacks(switch, ours, theirs, "friction", settings.dry_friction == "none"),
        "hidden": "" if switch.hidden is None else hidden_told(switch.hidden),
        "axes": some(list(switch.theirs)),
        "joint": first.rpartition(".")[0],
        "place": "; ".join(
            f"{name.rpartition('.')[2]} {_number(value)} in the plant and "
            f"{_number(switch.ours[name])} in the System"
            for name, value in switch.theirs.items()
            if switch.culprit is culprits.PLACE
        ),
        "name": first,
        "theirs": _number(switch.theirs.get(first, 0.0)),
        "ours": _number(switch.ours.get(first, 0.0)),
    }
    culprit = switch.culprit
    return culprit.sentence.format_map(words), culprit.remedy.format_map({**words, "h": "h"})


def constant_told(name: str, theirs: Any, ours: Any) -> tuple[str, str]:
    """Sentence and remedy of one constant."""
    words = {"name": name, "theirs": _number(theirs), "ours": _number(ours)}
    culprit = culprits.CONSTANT
    return culprit.sentence.format_map(words), culprit.remedy.format_map(words)


def hidden_told(hidden: HiddenEffects) -> str:
    """Effects that are not as `HiddenEffects` has them unless told."""
    plain = type(hidden)()
    return ", ".join(
        f"{f.name}={getattr(hidden, f.name)!r}"
        for f in dataclasses.fields(hidden)
        if getattr(hidden, f.name) != getattr(plain, f.name)
    )


def _lacks(switch: Switch, ours: dict, theirs: dict, ending: str, ignored: bool) -> str:
    """Who has which values."""
    told = []
    for name in sorted({*ours, *theirs}):
        if name.endswith(ending):
            plant = 0.0 if ignored else theirs.get(name, 0.0)
            own = ours.get(name, 0.0)
            if plant != own:
                told.append(
                    f"{name} is {_number(plant)} in the plant and {_number(own)} in the System"
                )
    return some(told, "; ")


def some(names: list[str], by: str = ", ") -> str:
    """The first of these, and how many more there are."""
    rest = f"{by}{len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return by.join(names[:_SHOWN]) + rest


def _number(value: Any) -> str:
    value = np.asarray(value, dtype=float)
    return (
        f"{value:.6g}" if value.ndim == 0 else np.array2string(value, precision=4).replace("\n", "")
    )
