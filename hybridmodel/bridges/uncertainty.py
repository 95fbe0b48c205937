"""Ensembles, supports and what a Probabilistic says of its spread, as nodes of a graph.

Rules are as in `layers`; a view (`Members`, `Distribution`, `Epistemic`) of a residual that is not
known here is traced.
"""

from __future__ import annotations

import torch

import residuals
from hybridmodel.bridges import regression
from hybridmodel.bridges.expressions import (
    Operand,
    as_node,
    constant,
    elementwise,
    expand,
    linear,
    matmul,
    mean,
    rearrange,
    reshape,
    total,
    weight,
)
from hybridmodel.bridges.graph import Node, Nodes
from hybridmodel.bridges.layers import Read
from residuals.support import FADE, RANGE
from residuals.supported import LEAST

_REGRESSED = (residuals.Linear, residuals.GaussianProcess)
_SUPPORTED = (residuals.SupportedProbabilistic, residuals.SupportedRegressed)


def stacked(_: Read, m: residuals.Stacked, x: Node) -> Node:
    """y (E, 1, m) of x (E or 1, 1, n)."""
    count, rows, _n = m.weight.shape
    bias = reshape(weight(m.bias), count, 1, rows)
    return elementwise("add", matmul(x, weight(m.weight)), bias)


def soft_bounds(_: Read, m: residuals.SoftBounds, s: Node) -> Node:
    below = _sub(m.high, _softplus(_sub(m.high, s)))
    return elementwise("add", constant(m.low), _softplus(_sub(below, m.low)))


def ensemble(read: Read, m: residuals.Ensemble, z: Node) -> Node:
    return mean(rearrange(torch.t, _means(read, m, _hidden(read, m, z))))


def support(read: Read, m: residuals.Support, z: Node) -> Node:
    """w (1,), with the operations of `Support.forward` in their order."""
    (x,) = read(m.input, z)
    centre, rate = weight(m.centre), _square(weight(m.inverse_radius))
    lengths = elementwise("add", total(_square(x)), total(_square(centre)))
    square = _sub(lengths, _mul(2.0, linear(x, centre)))
    t = _relu(_div(_sub(FADE**2, _mul(square, rate)), FADE**2 - 1))
    missing = _relu(_sub(1.0, total(_mul(_cube(t), weight(m.used)))))
    low, high = RANGE[0] ** 2, RANGE[1] ** 2
    v = _mul(_sub(x, weight(m.middle)), weight(m.inverse_range))
    e = _relu(_div(_sub(_square(v), low), high - low))
    inside = _relu(_sub(1.0, total(_cube(e))))
    return reshape(_mul(_sub(1.0, _cube(missing)), _cube(inside)), 1)


def supported(read: Read, m: residuals.Supported, z: Node) -> Node:
    return _mul(*read(m.support, z), *read(m.residual, z))


def members(read: Read, view: residuals.Members, z: Node) -> Node | None:
    m = view.residual
    if type(m) is residuals.Ensemble:
        return reshape(_means(read, m, _hidden(read, m, z)), -1)
    if isinstance(m, _SUPPORTED) and type(m) in _SUPPORTED:
        return _mul(*read(m.support, z), *read(residuals.Members(m.residual), z))
    return read(m, z)[0] if type(m) in _REGRESSED else None


def distribution(read: Read, view: residuals.Distribution, z: Node) -> Nodes | None:
    m = view.residual
    if type(m) is residuals.Ensemble:
        h = _hidden(read, m, z)
        means = _means(read, m, h)
        noise = m.noise
        raw = read(noise, h)[0] if isinstance(noise, residuals.Stacked) else weight(noise)
        (bounded,) = read(m.bounds, reshape(raw, *means.shape))
        shift = _mul(2.0, elementwise("log", weight(m.output.scale)))
        return reshape(means, -1), reshape(elementwise("add", bounded, shift), -1)
    if isinstance(m, _SUPPORTED) and type(m) in _SUPPORTED:
        (w,) = read(m.support, z)
        means, log_variance = read(residuals.Distribution(m.residual), z)
        noise = _mul(_square(w), elementwise("exp", log_variance))
        least = _mul(LEAST, _square(weight(m.output_scale)))
        least = reshape(expand(least, (m.count, m.output_scale.numel())), -1)
        return _mul(w, means), elementwise("log", elementwise("add", noise, least))
    if isinstance(m, _REGRESSED) and type(m) in _REGRESSED:
        return regression.distribution(read, m, z)
    return None


def epistemic(read: Read, view: residuals.Epistemic, z: Node) -> Node | None:
    m = view.residual
    if type(m) is residuals.Ensemble:
        each = rearrange(torch.t, _means(read, m, _hidden(read, m, z)))  # (nr, E)
        apart = _sub(each, reshape(mean(each), -1, 1))
        return _div(total(_square(apart)), float(max(m.count - 1, 1)))
    if isinstance(m, _SUPPORTED) and type(m) in _SUPPORTED:
        inside = read(residuals.Epistemic(m.residual), z)
        return elementwise("add", *inside, _unknown(m, *read(m.support, z)))
    if isinstance(m, _REGRESSED) and type(m) in _REGRESSED:
        return regression.epistemic(read, m, z)
    return None


def doubt(read: Read, view: residuals.Doubt, z: Node) -> Node:
    (variance,) = read(view.variance, z)
    return reshape(mean(_div(variance, _square(weight(view.scale)))), 1)


def _hidden(read: Read, m: residuals.Ensemble, z: Node) -> Node:
    """(E, 1, width), or (1, 1, nz) where there are no hidden layers."""
    (x,) = read(m.input, z)
    return read(m.chain, reshape(x, 1, 1, -1))[0]


def _means(read: Read, m: residuals.Ensemble, h: Node) -> Node:
    """(E, nr)."""
    (r,) = read(m.limits, *read(m.output, *read(m.mean, h)))
    return reshape(r, m.count, -1)


def _unknown(m: residuals.SupportedProbabilistic, w: Node) -> Node:
    """(1 − w) s², (nr,)."""
    return _mul(_sub(1.0, w), _square(weight(m.output_scale)))


def _mul(a: Operand, b: Operand) -> Node:
    return elementwise("mul", as_node(a), as_node(b))


def _sub(a: Operand, b: Operand) -> Node:
    return elementwise("sub", as_node(a), as_node(b))


def _div(a: Operand, b: Operand) -> Node:
    return elementwise("div", as_node(a), as_node(b))


def _relu(x: Node) -> Node:
    return elementwise("relu", x)


def _softplus(x: Node) -> Node:
    return elementwise("softplus", x, arguments=(1.0, 20.0))  # torch's β and threshold


def _square(x: Node) -> Node:
    return elementwise("square", x)


def _cube(x: Node) -> Node:
    return _mul(_mul(x, x), x)
