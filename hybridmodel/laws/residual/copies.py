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
from residuals import Gated


def _config(s: Subject) -> str:
    residual = s.fresh()
    config = json.loads(json.dumps(residual.config()))
    if isinstance(residual, Gated):
        return ""  # its module comes from the caller, never from a file
    twin = type(residual)(**config)
    ours, theirs = residual.state_dict(), twin.state_dict()
    if {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        return f"{type(residual).__name__}(**config) has other weights than it was taken from"
    return ""


def _copies(s: Subject) -> str:
    twin, before = copy.deepcopy(s.awake), s.awake(s.z)
    if not torch.equal(twin(s.z), before):
        return "copy.deepcopy gives another r"
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            if tensor.is_floating_point():
                tensor.add_(1.0)
    if not torch.equal(s.awake(s.z), before):
        return "changing a deep copy changes the original"
    if not torch.equal(s.awake.sized(s.nz, s.nr).eval()(s.z), before):
        return "sized() of a sized module loses its weights"
    return ""


def _checkpoint(s: Subject) -> str:
    model = s.host(s.awake)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        save(model, path)
        twin = load(path, residual=s.module)
    x = torch.zeros(s.points, model.system.nx, dtype=torch.float64)
    x[:, : s.nz] = s.z
    u = x[:, :1]
    if not torch.equal(twin.eval()(x, u), model.eval()(x, u)):
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
