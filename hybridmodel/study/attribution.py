"""Which part of what is hidden costs how much: physics that knows the truth about one part alone.

    regained = (J_part − J_physics) / (median J_oracle − median J_physics)

"true coulomb" is the nominal system with the plant's dry friction and nothing else of what the
plant hides. As models of a study they stand in its table, and `measures.recovered` is what each
regains: the largest says what to measure next. Parts can overlap, so that they need not add to 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hybridmodel.envs import HiddenEffects
from hybridmodel.tasks.task import Task

PREFIX = "true "
_TOGETHER = {"coulomb": ("ripple", "ripple_waves"), "payload": ("payload_at", "payload_link")}
_NO_PART = {"observation_noise", "push", "wind", "wind_time"}


def parts(task: Task) -> Mapping[str, HiddenEffects]:
    """Each part of what a task hides by itself, by name; none where it is one part alone.

    A parameter of its own, dry friction with its ripple, a payload with its place, gain, dead
    zone, lag and delay each. Noise and pushes are no part of any model. Where the oracle knows more
    of the engine than the nominal system does, "nothing" is that alone, the floor of all others.
    """
    hidden = task.hidden
    belong = {name for names in _TOGETHER.values() for name in names}
    plain = type(hidden)(observation_noise=hidden.observation_noise)
    found: dict[str, HiddenEffects] = {
        name: dataclasses.replace(plain, parameters={name: value})
        for name, value in hidden.parameters.items()
    }
    for field in dataclasses.fields(hidden):
        name = field.name
        if name in belong | _NO_PART | {"parameters"}:
            continue
        if getattr(hidden, name) != getattr(plain, name):
            names = (name, *_TOGETHER.get(name, ()))
            change = {n: getattr(hidden, n) for n in names if hasattr(hidden, n)}
            found[name] = dataclasses.replace(plain, **change)
    if task.engine_parameters and len(found) > 0:
        found["nothing"] = plain
    return found if len(found) > 1 else {}


def knowing(task: Task, part: str) -> Task:
    """The task where nothing is hidden but this part; ValueError where there is none such."""
    known = parts(task)
    if part not in known:
        raise ValueError(f"part must be one of {list(known)} of {task.name}, got {part!r}")
    return dataclasses.replace(task, hidden=known[part])
