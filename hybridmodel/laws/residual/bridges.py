"""Laws about slopes of a module and its CasADi form, there and back."""

from __future__ import annotations

import copy

import casadi as ca
import numpy as np
import torch

from hybridmodel.agreement import TOLERANCE
from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.bridges.network import pack_weights
from hybridmodel.derivatives import (
    Form,
    casadi_form,
    difference_gaps,
    eager_form,
    relative_gap,
    transformed_form,
)
from hybridmodel.laws.report import Law
from hybridmodel.laws.residual.subject import Subject, awakened


def _derivatives(s: Subject) -> tuple[float, str]:
    awake = s.call(s.awake)

    def call(v: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return awake(torch.tensor(v)).numpy()

    _, jacobians, _ = transformed_form(awake)(s.v, s.w)
    worst, where = 0.0, ""
    for z, jacobian in zip(s.v.numpy(), jacobians, strict=True):
        gaps = difference_gaps(call, jacobian, z)
        if not gaps.max() <= worst:
            row, column = np.unravel_index(int(gaps.argmax()), gaps.shape)
            worst = float(gaps.max())
            where = f"r[{row}] by z[{column}] at z = {z.round(4).tolist()}"
    return worst, where


def _bridge(s: Subject) -> str:
    return s.functions if isinstance(s.functions, str) else ""


def _compared(s: Subject, ours: Form, theirs: Form, what: str) -> tuple[float, str]:
    """The worst difference in shares of its bar."""
    pairs = zip(TOLERANCE.items(), ours(s.v, s.w), theirs(s.v, s.w), strict=True)
    shares = {k: float(relative_gap(a, b).max(initial=0.0)) / bar for (k, bar), a, b in pairs}
    worst = max(shares, key=lambda kind: shares[kind])
    gap = shares[worst] * TOLERANCE[worst]
    return shares[worst], f"{what}: {worst} differs by {gap:.1e}, bar {TOLERANCE[worst]:.0e}"


def _baked(s: Subject) -> tuple[float, str]:
    function = casadi_form(s.function("baked"), [sum(s.sizes)])
    call = s.call(s.awake)
    forms = {"eager": eager_form(call), "torch.func": transformed_form(call)}
    return max(_compared(s, form, function, name) for name, form in forms.items())


def _weights(s: Subject) -> tuple[float, str]:
    old = s.function("parameters")
    other = awakened(copy.deepcopy(s.awake), s.seed + 1)
    function = casadi_form(old, [sum(s.sizes)], ca.DM(pack_weights(other)))
    return _compared(s, eager_form(s.call(other)), function, "new weights in the old Function")


def _back(s: Subject) -> tuple[float, str]:
    function = s.function("baked")
    back = eager_form(to_torch(function))
    return _compared(s, back, casadi_form(function, [sum(s.sizes)]), "CasADi form back in torch")


LAWS = (
    Law("derivatives", "torch's slopes are those of differences", _derivatives, 1e-6),
    Law("bridge", "it has a CasADi form", _bridge),
    Law("agreement", "torch and CasADi agree, in shares of 1e-12, 1e-10, 1e-8", _baked, 1.0),
    Law("weights", "new weights need no new Function", _weights, 1.0),
    Law("there and back", "the CasADi form taken to torch is the same map", _back, 1.0),
)
