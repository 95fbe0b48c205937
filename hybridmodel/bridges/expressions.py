"""How the nodes of a graph are made: shapes are checked and brought together here.

Everything that only moves elements is one Take; norms and softmax are written in the few kinds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from hybridmodel.bridges.graph import (
    Concatenate,
    Constant,
    Elementwise,
    MatMul,
    Node,
    Shape,
    Sum,
    Take,
    Weight,
)

Operand = Node | Tensor | float


def weight(tensor: Tensor) -> Weight:
    """A tensor of the module as a node."""
    return Weight(tuple(tensor.shape), tensor=tensor)


def constant(value: float | Tensor) -> Constant:
    """Numbers as a node."""
    numbers = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
    return Constant(tuple(numbers.shape), value=numbers)


def as_node(x: Operand | None) -> Node:
    """An operand as a node; ValueError for what holds no numbers."""
    if isinstance(x, Node):
        return x
    if isinstance(x, Tensor | int | float):
        return constant(x)
    raise ValueError(f"is given {x!r}, wanted are numbers known in advance or from the arguments")


def elementwise(name: str, *operands: Node, arguments: Sequence[float] = ()) -> Node:
    """φ of operands whose shapes are broadcast as torch does.

    Raises ValueError where the shapes do not fit.
    """
    shape = _broadcast(*(x.shape for x in operands))
    size = math.prod(shape)
    wide = tuple(x if x.size in (1, size) else expand(x, shape) for x in operands)
    return Elementwise(shape, wide, name=name, arguments=tuple(float(a) for a in arguments))


def total(x: Node) -> Node:
    """The sum over the last axis."""
    return Sum(x.shape[:-1], (x,))


def take(x: Node, index: np.ndarray) -> Node:
    """The elements of x that the index names, in the index's shape; x itself if nothing moves."""
    if isinstance(x, Take):
        return take(x.operands[0], x.index.reshape(-1)[index])
    taken = Take(index.shape, (x,), index=index)
    return x if taken.shape == x.shape and taken.is_view else taken


def pieces(move: Callable[..., Sequence[Tensor]], *operands: Node) -> tuple[Node, ...]:
    """What `move`, an operation that only moves elements, makes of the operands.

    It is run on the places of the elements in place of the elements.
    """
    ends = np.cumsum([0, *(x.size for x in operands)]).tolist()
    places = [
        torch.arange(start, start + x.size).reshape(x.shape)
        for start, x in zip(ends[:-1], operands, strict=True)
    ]
    source = operands[0] if len(operands) == 1 else Concatenate((ends[-1],), operands)
    return tuple(take(source, index.numpy()) for index in move(*places))


def rearrange(move: Callable[..., Tensor], *operands: Node) -> Node:
    """What `move`, an operation that only moves elements into one array, makes of them."""
    return pieces(lambda *places: (move(*places),), *operands)[0]


def reshape(x: Node, *shape: int) -> Node:
    """x in another shape; −1 stands for what is left."""
    return rearrange(lambda i: i.reshape(shape), x)


def expand(x: Node, shape: Shape) -> Node:
    """x repeated along new and unit axes."""
    return rearrange(lambda i: i.expand(shape), x)


def concatenate(*parts: Node) -> Node:
    """Parts (…, nᵢ) side by side along the last axis."""
    return rearrange(lambda *places: torch.cat(places, -1), *parts)


def chunk(x: Node, count: int) -> tuple[Node, ...]:
    """x (…, n) in equal parts along the last axis."""
    return pieces(lambda i: i.chunk(count, -1), x)


def matmul(a: Node, b: Node) -> Node:
    """y (…, m, n) = a bᵀ for a (…, m, k) and b (…, n, k), leading axes broadcast.

    Raises ValueError where the sizes do not fit.
    """
    (m, k), n = a.shape[-2:], b.shape[-2]
    if b.shape[-1] != k:
        raise ValueError(f"a layer takes {b.shape[-1]} features, it is given {k}")
    lead = _broadcast(a.shape[:-2], b.shape[:-2])
    rows, columns = (math.prod(x.shape[:-2]) for x in (a, b))
    if columns == 1:  # one matrix: whatever leads a is a longer list of rows
        a, b = reshape(a, 1, rows * m, k), reshape(b, 1, n, k)
    elif rows == 1 and m == 1:  # one row meets stacked matrices: they are one tall matrix
        a, b = reshape(a, 1, 1, k), reshape(b, 1, columns * n, k)
    else:
        a, b = (reshape(expand(x, (*lead, *x.shape[-2:])), -1, *x.shape[-2:]) for x in (a, b))
    return reshape(MatMul((*a.shape[:2], b.shape[1]), (a, b)), *lead, m, n)


def linear(x: Node, matrix: Node, bias: Node | None = None) -> Node:
    """W x + b for x (…, n), W (m, n) and b (m,)."""
    y = matmul(reshape(x, -1, x.shape[-1]), matrix)
    y = reshape(y, *x.shape[:-1], matrix.shape[0])
    return y if bias is None else elementwise("add", y, bias)


def mean(x: Node) -> Node:
    """The mean over the last axis."""
    return elementwise("div", total(x), constant(x.shape[-1]))


def centred(x: Node) -> Node:
    """x − x̄, x̄ the mean over the last axis."""
    return elementwise("sub", x, reshape(mean(x), *x.shape[:-1], 1))


def normalize(x: Node, eps: float) -> Node:
    """(x − x̄) / √(σ² + ε) over the last axis, σ² the mean square of x − x̄."""
    return rms_normalize(centred(x), eps)


def rms_normalize(x: Node, eps: float) -> Node:
    """x / √(x̄² + ε) over the last axis, x̄² the mean of squares."""
    power = elementwise("add", mean(elementwise("square", x)), constant(eps))
    return elementwise("div", x, reshape(elementwise("sqrt", power), *x.shape[:-1], 1))


def affine(x: Node, scale: Operand | None, shift: Operand | None = None) -> Node:
    """s ∘ x + c, each left out where it is None."""
    y = x if scale is None else elementwise("mul", x, as_node(scale))
    return y if shift is None else elementwise("add", y, as_node(shift))


def softmax(x: Node, *, logarithm: bool = False) -> Node:
    """eˣⁱ / Σₖ eˣᵏ over the last axis, or its logarithm."""
    below = elementwise("sub", x, highest(x))
    power = elementwise("exp", below)
    every = reshape(total(power), *x.shape[:-1], 1)
    if logarithm:
        return elementwise("sub", below, elementwise("log", every))
    return elementwise("div", power, every)


def highest(x: Node) -> Node:
    """(…, 1), the largest along the last axis; its slope is that of the first of the largest."""
    columns = [rearrange(lambda i, j=j: i[..., j : j + 1], x) for j in range(x.shape[-1])]
    best = columns[0]
    for column in columns[1:]:
        unordered = elementwise("ne", column, column)  # NaN wins, as in torch
        above = elementwise("or", elementwise("gt", column, best), unordered)
        best = elementwise("where", above, column, best)
    return best


def _broadcast(*shapes: Shape) -> Shape:
    try:
        return np.broadcast_shapes(*shapes)  # torch's own loads its symbolic shapes: half a second
    except ValueError:
        raise ValueError(f"shapes {', '.join(map(str, shapes))} do not fit together") from None
