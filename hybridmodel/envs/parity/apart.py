"""What no engine can be asked about: the System itself is, with it and without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.envs.parity import culprits, measure
from hybridmodel.envs.parity.constants import constants_of, has_other_tree
from hybridmodel.envs.parity.culprits import Culprit
from hybridmodel.envs.parity.gaps import modelled_accelerations
from hybridmodel.envs.parity.probes import Samples
from hybridmodel.envs.parity.remedies import some
from hybridmodel.envs.parity.setup import Setup
from hybridmodel.envs.parity.steps import without
from physics import Mechanical


@dataclass(frozen=True)
class Apart:
    """A culprit of the System alone: what is said of it, and what it changes in each row."""

    culprit: Culprit
    sentence: str
    gap: np.ndarray


@dataclass(frozen=True)
class Likeness:
    """`nearest` is the System without what was set apart, `alike` one that the plant builds."""

    nearest: Mechanical
    alike: Mechanical
    apart: tuple[Apart, ...]


def set_apart(system: Mechanical, subject: Setup, samples: Samples) -> Likeness:
    """Armature, which the engine lacks, and another tree; then a System of the plant's type."""
    found = []
    nearest = without(system, "armature")
    if nearest is not system:
        names = [
            name for name, v in constants_of(system).items() if name.endswith("armature") and v
        ]
        found.append(
            _between(culprits.ARMATURE, {"armature": some(names)}, nearest, system, samples)
        )
    if has_other_tree(nearest, subject.system):
        words = {"tree": _joined(nearest, subject.system)}
        found.append(_between(culprits.TREE, words, subject.system, nearest, samples))
        nearest = subject.system
    alike = nearest if type(nearest) is type(subject.system) else subject.system
    return Likeness(nearest, alike, tuple(found))


def _between(
    culprit: Culprit,
    words: dict[str, str],
    before: Mechanical,
    after: Mechanical,
    samples: Samples,
) -> Apart:
    a, b = (modelled_accelerations(one, *samples) for one in (before, after))
    return Apart(culprit, culprit.sentence.format_map(words), measure.changes(a, b))


def _joined(ours: Any, theirs: Any) -> str:
    """Joints that are not the same in both."""
    own, other = ({j.name: j for j in r.description.joints} for r in (ours, theirs))
    told = []
    for name in dict.fromkeys([*own, *other]):
        a, b = own.get(name), other.get(name)
        ends = [
            "is missing" if j is None else f"is {j.kind} from {j.parent} to {j.child}"
            for j in (b, a)
        ]
        if ends[0] != ends[1]:
            told.append(f"joint {name} {ends[0]} in the plant and {ends[1]} in the System")
    return some(told, "; ") or "one of both floats"
