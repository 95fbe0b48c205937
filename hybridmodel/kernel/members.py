"""One member out of the graph of all members."""

from __future__ import annotations

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
)


def restricted(graph: Graph, elements: range) -> Graph:
    """The graph of some elements of the only output, without what they do not need."""
    (output,) = graph.outputs
    return Graph(graph.inputs, (_part(output, np.asarray(elements), {}),), graph.traced)


def _part(node: Node, elements: np.ndarray, done: dict[tuple[Node, bytes], Node]) -> Node:
    """yᵢ for i in elements, in that order."""
    key = (node, elements.tobytes())
    if key not in done:
        done[key] = _made(node, elements, done)
    return done[key]


def _made(node: Node, elements: np.ndarray, done: dict[tuple[Node, bytes], Node]) -> Node:
    if np.array_equal(elements, np.arange(node.size)):
        return node
    shape = (len(elements),)
    match node:
        case Elementwise():
            operands = tuple(x if x.size == 1 else _part(x, elements, done) for x in node.operands)
            return Elementwise(shape, operands, name=node.name, arguments=node.arguments)
        case Take():
            return _part(node.operands[0], node.index.ravel()[elements], done)
        case Sum():
            count = node.operands[0].size // node.size
            own = (elements[:, None] * count + np.arange(count)).ravel()
            return Sum(shape, (_shaped(_part(node.operands[0], own, done), (*shape, count)),))
        case Concatenate():
            return _joined(node, elements, done)
        case MatMul():
            return _product(node, elements, done)
        case Constant():
            return Constant(shape, value=node.value.reshape(-1)[elements.tolist()])
    return Take(shape, (node,), index=elements)


def _product(node: MatMul, elements: np.ndarray, done: dict[tuple[Node, bytes], Node]) -> Node:
    a, b = node.operands
    m, k = a.shape[1:]
    n = node.shape[2]
    chosen = np.unique(elements // (m * n))
    sizes = ((a, m * k), (b, n * k))
    parts = [
        _part(x, (chosen[:, None] * size + np.arange(size)).ravel(), done) for x, size in sizes
    ]
    count = len(chosen)
    made = MatMul(
        (count, m, n), (_shaped(parts[0], (count, m, k)), _shaped(parts[1], (count, n, k)))
    )
    place = {int(e): i for i, e in enumerate(chosen)}
    own = np.array([place[int(e) // (m * n)] * m * n + int(e) % (m * n) for e in elements])
    return Take((len(own),), (made,), index=own)


def _joined(node: Concatenate, elements: np.ndarray, done: dict[tuple[Node, bytes], Node]) -> Node:
    starts = np.cumsum([0, *(x.size for x in node.operands)])
    owner = np.searchsorted(starts, elements, side="right") - 1
    parts, at = [], 0
    while at < len(elements):  # a run of elements of the same operand is one part
        end = at + 1
        while end < len(elements) and owner[end] == owner[at]:
            end += 1
        source = node.operands[owner[at]]
        parts.append(_part(source, elements[at:end] - starts[owner[at]], done))
        at = end
    return parts[0] if len(parts) == 1 else Concatenate((len(elements),), tuple(parts))


def _shaped(node: Node, shape: tuple[int, ...]) -> Node:
    return (
        node
        if node.shape == shape
        else Take(shape, (node,), index=np.arange(node.size).reshape(shape))
    )
