"""What every printer asks of a network's graph: its constant part, and φ as scalar functions."""

from __future__ import annotations

import casadi as ca
import numpy as np

from hybridmodel.bridges.graph import (
    Concatenate,
    Constant,
    Elementwise,
    Graph,
    MatMul,
    Node,
    Sum,
    Take,
    Weight,
)
from hybridmodel.bridges.torch_to_casadi import ELEMENTWISE


def constants(graph: Graph) -> dict[Node, np.ndarray]:
    """The values, in their shapes, of all nodes that depend on no input."""
    found: dict[Node, np.ndarray] = {}
    for node in graph.nodes:
        match node:
            case Weight(tensor=tensor) | Constant(value=tensor):
                found[node] = tensor.detach().cpu().double().numpy()
                continue
        if not node.operands or not all(x in found for x in node.operands):
            continue
        values = [found[x] for x in node.operands]
        match node:
            case MatMul():
                value = values[0] @ values[1].swapaxes(1, 2)
            case Take(index=index):
                value = values[0].ravel()[index]
            case Concatenate():
                value = np.concatenate([v.ravel() for v in values])
            case Sum():
                value = values[0].sum(-1)
            case Elementwise():
                wide = np.broadcast_arrays(np.zeros(node.size), *(v.ravel() for v in values))[1:]
                rows = [scalar_function(node)(*row) for row in zip(*wide, strict=True)]
                value = np.array([float(y) for y in rows]).reshape(node.shape)  # pyright: ignore
            case _:
                raise ValueError(f"network: a {type(node).__name__} node has no constant value")
        found[node] = value
    return found


def scalar_function(node: Elementwise) -> ca.Function:
    """φ of one node as an SX function x0, x1, … ↦ y of numbers."""
    operands = [ca.SX.sym(f"x{k}") for k in range(len(node.operands))]
    y = ca.SX(ELEMENTWISE[node.name](*operands, *node.arguments))
    return ca.Function(node.name, operands, [y], [f"x{k}" for k in range(len(operands))], ["y"])
