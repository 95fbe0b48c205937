"""Modules of torch and of the library as nodes of a graph, one small function each.

A rule (read, module, *nodes) gives a node, several nodes, or None where it does not know the
module in the form that it has; `read` applies the modules inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import residuals
from hybridmodel.bridges.expressions import (
    affine,
    chunk,
    concatenate,
    constant,
    elementwise,
    linear,
    normalize,
    rearrange,
    reshape,
    rms_normalize,
    softmax,
    weight,
)
from hybridmodel.bridges.graph import Node, Nodes

Rule = Callable[..., Node | Nodes | None]
Read = Callable[..., Nodes]  # (module, *nodes) ↦ nodes
SELU = (1.6732632423543772, 1.0507009873554805, 1.0)


def activation(name: str, *arguments: str) -> Rule:
    """A rule y = φ(x; α) whose numbers α are attributes of the module."""

    def rule(_: Read, module: Any, x: Node) -> Node:
        return elementwise(name, x, arguments=[getattr(module, a) for a in arguments])

    return rule


def sequential(read: Read, m: nn.Sequential, *nodes: Node) -> Nodes:
    for child in m:
        nodes = read(child, *nodes)
    return nodes


def linear_layer(_: Read, m: nn.Linear, x: Node) -> Node:
    return linear(x, weight(m.weight), _maybe(m.bias))


def dropout(_: Read, m: nn.Dropout, x: Node) -> Node:
    if m.training and m.p > 0:
        raise ValueError("draws random numbers in training mode; call .eval() on the network first")
    return x


def rrelu(_: Read, m: nn.RReLU, x: Node) -> Node:
    if m.training:
        raise ValueError("draws random numbers in training mode; call .eval() on the network first")
    return elementwise("leaky_relu", x, arguments=[(m.lower + m.upper) / 2])


def layer_norm(_: Read, m: nn.LayerNorm, x: Node) -> Node | None:
    if m.normalized_shape != x.shape[-1:]:
        return None
    return affine(normalize(x, m.eps), _maybe(m.weight), _maybe(m.bias))


def rms_norm(_: Read, m: nn.RMSNorm, x: Node) -> Node | None:
    if m.normalized_shape != x.shape[-1:]:
        return None
    eps = torch.finfo(torch.float64).eps if m.eps is None else m.eps
    return affine(rms_normalize(x, eps), _maybe(m.weight))


def softmax_layer(_: Read, m: nn.Softmax | nn.LogSoftmax, x: Node) -> Node | None:
    return softmax(x, logarithm=isinstance(m, nn.LogSoftmax)) if m.dim == -1 else None


def gelu(_: Read, m: nn.GELU, x: Node) -> Node:
    return elementwise("gelu" if m.approximate == "none" else "gelu_tanh", x)


def prelu(_: Read, m: nn.PReLU, x: Node) -> Node | None:
    if m.num_parameters != 1:
        return None
    positive = elementwise("gt", x, constant(0.0))
    return elementwise("where", positive, x, elementwise("mul", x, weight(m.weight)))


def _gates(m: nn.RNNCellBase, x: Node, h: Node, count: int) -> tuple[Nodes, Nodes]:
    ours = linear(x, weight(m.weight_ih), _maybe(m.bias_ih))
    past = linear(h, weight(m.weight_hh), _maybe(m.bias_hh))
    return chunk(ours, count), chunk(past, count)


def rnn_cell(_: Read, m: nn.RNNCell, x: Node, h: Node) -> Node:
    (ours,), (past,) = _gates(m, x, h, 1)
    return elementwise(m.nonlinearity, elementwise("add", ours, past))


def gru_cell(_: Read, m: nn.GRUCell, x: Node, h: Node) -> Node:
    ours, past = _gates(m, x, h, 3)
    reset, update = (_sigmoid(elementwise("add", ours[i], past[i])) for i in range(2))
    new = elementwise("add", ours[2], elementwise("mul", reset, past[2]))
    new = elementwise("tanh", new)
    return elementwise("add", elementwise("mul", elementwise("sub", h, new), update), new)


def lstm_cell(_: Read, m: nn.LSTMCell, x: Node, h: Node, c: Node) -> Nodes:
    gates = [elementwise("add", a, b) for a, b in zip(*_gates(m, x, h, 4), strict=True)]
    enter, forget, leave = (_sigmoid(gates[i]) for i in (0, 1, 3))
    new = elementwise("mul", enter, elementwise("tanh", gates[2]))
    c = elementwise("add", elementwise("mul", forget, c), new)
    return elementwise("mul", leave, elementwise("tanh", c)), c


def _sigmoid(x: Node) -> Node:
    return elementwise("sigmoid", x)


def _maybe(tensor: Tensor | None) -> Node | None:
    return None if tensor is None else weight(tensor)


def standardize(_: Read, m: residuals.Standardize, x: Node) -> Node:
    return elementwise("div", elementwise("sub", x, weight(m.mean)), weight(m.scale))


def rescale(_: Read, m: residuals.Rescale, x: Node) -> Node:
    return affine(x, weight(m.scale))


def limit(_: Read, m: residuals.Limit, x: Node) -> Node:
    limit = weight(m.limit)
    return elementwise("mul", limit, elementwise("tanh", elementwise("div", x, limit)))


def gated(read: Read, m: residuals.Gated, x: Node) -> Nodes:
    (r,) = read(m.module, *read(m.input, x))
    return read(m.output, elementwise("mul", weight(m.gate), r))


def window(read: Read, m: residuals.Window, z: Node, memory: Node) -> Nodes:
    (x,) = read(m.input, z)
    rows = concatenate(memory, x)
    return *read(m.head, rows), rearrange(lambda i: i[..., x.shape[-1] :], rows)


def gru(read: Read, m: residuals.GRU, z: Node, memory: Node) -> Nodes:
    (x,) = read(m.input, z)
    return *read(m.head, concatenate(x, memory)), *read(m.cell, x, memory)


def potential(read: Read, m: residuals.Potential, z: Node) -> Node:
    (h,) = read(m.input, z)
    slopes: list[Node] = []
    for layer in m.layers:
        (a,) = read(layer, h)
        if m.activation == "tanh":
            h = elementwise("tanh", a)
            slopes.append(elementwise("sub", constant(1.0), elementwise("square", h)))
        else:
            h = elementwise("neg", elementwise("log_sigmoid", elementwise("neg", a)))
            slopes.append(elementwise("sigmoid", a))
    delta = affine(reshape(weight(m.last), -1), weight(m.energy_scale))
    for layer, slope in zip(reversed(m.layers), reversed(slopes), strict=True):
        columns = rearrange(lambda i: i.mT, weight(layer.weight))  # type: ignore[arg-type]
        delta = linear(elementwise("mul", delta, slope), columns)
    return elementwise("div", delta, weight(m.input.scale))
