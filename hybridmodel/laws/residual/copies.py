"""Laws about copies of a module: configuration, files, and the caller's own left alone."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import torch

from hybridmodel.checkpoint import load, save
from hybridmodel.laws.report import Law
from hybridmodel.laws.residual.subject import Subject, state_of
from residuals import Gated, Residual


def _config(s: Subject) -> str:
    residual = s.fresh()
    twin = _rebuilt(residual)
    ours, theirs = residual.state_dict(), twin.state_dict()
    if {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        return f"{type(residual).__name__}(**config) has other weights than it was taken from"
    return ""


def _rebuilt(residual: Residual) -> Residual:
    """One of equal shape, made from JSON data alone; a residual inside likewise."""
    if isinstance(residual, Gated):
        return residual  # its module comes from the caller, never from a file
    config = residual.config()
    inside = {k: _rebuilt(v) for k, v in config.items() if isinstance(v, Residual)}
    written = json.dumps({k: v for k, v in config.items() if k not in inside})
    return type(residual)(**json.loads(written), **inside)


def _copies(s: Subject) -> str:
    twin, v, awake = copy.deepcopy(s.awake), s.v, s.call(s.awake)
    before = awake(v)
    if not torch.equal(s.call(twin)(v), before):
        return "copy.deepcopy gives another r"
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            if tensor.is_floating_point():
                tensor.add_(1.0)
    if not torch.equal(awake(v), before):
        return "changing a deep copy changes the original"
    if not torch.equal(s.call(s.awake.sized(s.nz, s.nr).eval())(v), before):
        return "sized() of a sized module loses its weights"
    return ""


def _checkpoint(s: Subject) -> str:
    model = s.host(s.awake)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        save(model, path)
        twin = load(path, residual=s.module)
    saved, loaded = model.eval().residual, twin.eval().residual
    if saved is None or loaded is None:
        return "a loaded model has lost its residual"
    if not torch.equal(s.call(loaded)(s.v), s.call(saved)(s.v)):
        return "a loaded model gives other numbers than the saved one"
    return ""


def _untouched(s: Subject) -> str:
    after = state_of(s.module)
    if after.keys() != s.before.keys():
        return "the module that was passed in has other tensors now"
    for name, value in s.before.items():
        now = after[name]
        if isinstance(value, torch.Tensor):
            same = value.dtype == now.dtype and torch.equal(value, now)
        else:
            same = value == now
        if not same:
            return f"{name} of the module that was passed in has changed"
    return ""


LAWS = (
    Law("config", "config() is JSON and gives a module of equal shape", _config),
    Law("copies", "a copy is equal and apart, and sized() keeps weights", _copies),
    Law("checkpoint", "a saved model comes back with the same bits", _checkpoint),
    Law("untouched", "what was passed in stays as it was", _untouched),
)
