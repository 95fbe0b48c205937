"""A graph evaluated by torch: all of it, or what no argument touches.

A weight as it is, its square, the matrix of a member are computed before a kernel runs, so that
the gradient in these leaves becomes that in the module's own tensors.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import casadi as ca
import torch
from torch import Tensor

from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.bridges.graph import (
    Concatenate,
    Constant,
    Elementwise,
    MatMul,
    Node,
    Sum,
    Take,
    Weight,
)
from hybridmodel.bridges.torch_to_casadi import ELEMENTWISE


def evaluate(nodes: Sequence[Node], given: Mapping[Node, Tensor] | None = None) -> list[Tensor]:
    """The elements of nodes by rows, (…, size) each, where `given` holds those of all inputs."""
    held: dict[Node, Tensor] = dict(given or {})

    def value(node: Node) -> Tensor:
        if node not in held:
            held[node] = _value(node, [value(x) for x in node.operands])
        return held[node]

    return [value(node) for node in nodes]


def _value(node: Node, operands: list[Tensor]) -> Tensor:
    match node:
        case Weight():
            return node.tensor.reshape(-1)
        case Constant():
            return node.value.reshape(-1)
        case Elementwise():
            call = _function(node.name, len(operands), node.arguments)
            return call(*(x[..., None] for x in operands))[..., 0]
        case MatMul():
            a, b = (x.unflatten(-1, n.shape) for x, n in zip(operands, node.operands, strict=True))
            return torch.einsum("...eik,...ejk->...eij", a, b).flatten(-3)
        case Take():
            index = torch.as_tensor(node.index.ravel(), device=operands[0].device)
            return operands[0].index_select(-1, index)
        case Concatenate():
            lead = torch.broadcast_shapes(*(x.shape[:-1] for x in operands))
            return torch.cat([x.expand(*lead, x.shape[-1]) for x in operands], -1)
        case Sum():
            return operands[0].unflatten(-1, (node.size, -1)).sum(-1)
    raise TypeError(f"unknown node {type(node).__name__}")


@functools.cache
def _function(name: str, count: int, arguments: tuple[float, ...]) -> Any:
    symbols = [ca.SX.sym(f"x{i}") for i in range(count)]
    return to_torch(ca.Function(name, symbols, [ELEMENTWISE[name](*symbols, *arguments)]))
