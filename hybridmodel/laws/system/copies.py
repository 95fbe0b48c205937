"""Laws about copies of a System: equal, and equal in numbers, in memory and in files."""

from __future__ import annotations

import copy
import tempfile
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import torch

from hybridmodel.checkpoint import load, save
from hybridmodel.laws.report import Law, told
from hybridmodel.laws.system.subject import PIECES, Subject
from physics import System


def _same(s: Subject, other: System) -> bool:
    ours = s.model.torch_equations
    theirs = s.build(other).torch_equations
    parts = s.v.split(s.sizes, -1)
    return all(
        torch.equal(
            torch.nan_to_num(getattr(ours, piece)(*parts)),
            torch.nan_to_num(getattr(theirs, piece)(*parts)),
        )
        for piece in PIECES
    )


def _repeats(s: Subject) -> str:
    return "" if _same(s, s.system) else "two builds give different numbers"


def _pickles(s: Subject) -> str:
    try:  # as a spawned worker gets it
        ForkingPickler.dumps(s.system)
    except Exception as error:  # TypeError, AttributeError or PicklingError, by what cannot be
        return told(error)
    return ""


def _copies(s: Subject) -> str:
    copies = {"copy.deepcopy": copy.deepcopy(s.system)}
    if not _pickles(s):
        sent = ForkingPickler.dumps(s.system)
        copies["pickle"] = ForkingPickler.loads(sent)  # type: ignore[attr-defined]
    for way, twin in copies.items():
        if twin != s.system:
            return f"{way} gives a system that is not equal"
        if not _same(s, twin):
            return f"{way} gives a system with other numbers"
    return ""


def _replacing(s: Subject) -> str:
    system, known = s.system, s.system.parameters
    if system.with_parameters(**known) != system:
        return "with its own values it is not equal to itself"
    for name, parameter in known.items():
        low, high = parameter.domain if isinstance(parameter.domain, tuple) else (None, None)
        value = 2 * float(parameter) or 1.0
        if low is not None and high is not None:
            value = (float(parameter) + high) / 2
        changed = system.with_parameters(**{name: value})
        found = changed.parameters
        told_ = {k: (float(v), v.unit, v.domain) for k, v in found.items()}
        wanted = {k: (float(v), v.unit, v.domain) for k, v in known.items()}
        wanted[name] = (value, parameter.unit, parameter.domain)
        if told_ != wanted:
            return f"with_parameters({name}={value:.4g}) gives {told_}"
        if changed == system:
            return f"with another {name} it is still equal"
        if changed.with_parameters(**{name: float(parameter)}) != system:
            return f"{name} changed and changed back is not equal"
    return ""


def _checkpoint(s: Subject) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        save(s.model, path)
        twin = load(path, system=s.system)
    if twin.system != s.system:
        return "the loaded system is not equal"
    return "" if _same(s, twin.system) else "the loaded system gives other numbers"


LAWS = (
    Law("repeats", "two builds give the same bits", _repeats),
    Law("pickles", "it can be sent to another process", _pickles, note=True),
    Law("copies", "a copy is equal and gives the same bits", _copies),
    Law("replacing", "with_parameters changes what it is told, and nothing else", _replacing),
    Law("checkpoint", "a saved model comes back with an equal system", _checkpoint),
)
