"""torch's matrix products, convolutions and normalisations as nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hybridmodel.bridges.aten_reductions import over
from hybridmodel.bridges.expressions import (
    Operand,
    affine,
    as_node,
    constant,
    elementwise,
    linear,
    matmul,
    normalize,
    rearrange,
    reshape,
    rms_normalize,
    total,
)
from hybridmodel.bridges.graph import Node


def linear_layer(_: Any, x: Operand, matrix: Operand, bias: Operand | None = None) -> Node:
    """W x + b."""
    return linear(as_node(x), as_node(matrix), None if bias is None else as_node(bias))


def product(_: Any, a: Operand, b: Operand) -> Node:
    """a (…, m, k) times b (…, k, n), or vectors in their place."""
    first, second = as_node(a), as_node(b)
    rows = first if len(first.shape) > 1 else reshape(first, 1, -1)
    columns = second if len(second.shape) > 1 else reshape(second, -1, 1)
    y = matmul(rows, rearrange(lambda i: i.mT, columns))
    m = y.shape[-2:-1] if len(first.shape) > 1 else ()
    n = y.shape[-1:] if len(second.shape) > 1 else ()
    return reshape(y, *y.shape[:-2], *m, *n)


def added(_: Any, c: Operand, a: Operand, b: Operand, *, beta: float = 1, alpha: float = 1) -> Node:
    """β c + α a b."""
    offset, y = as_node(c), product(None, a, b)
    offset = offset if beta == 1 else elementwise("mul", offset, constant(beta))
    y = y if alpha == 1 else elementwise("mul", y, constant(alpha))
    return elementwise("add", offset, y)


def trilinear(
    _: Any,
    a: Operand,
    b: Operand,
    c: Operand,
    new_a: Sequence[int],
    new_b: Sequence[int],
    new_c: Sequence[int],
    summed: Sequence[int],
    _unroll: int = 1,
) -> Node:
    """Σ a b c over some axes, each factor with new axes of length one: torch's bilinear layer."""
    factors = []
    for x, new in ((a, new_a), (b, new_b), (c, new_c)):
        factors.append(as_node(x))
        for axis in new:
            factors[-1] = rearrange(lambda i, axis=axis: i.unsqueeze(axis), factors[-1])
    y = elementwise("mul", elementwise("mul", factors[0], factors[1]), factors[2])
    return over(total)(None, y, list(summed))


def convolution(
    _: Any,
    x: Node,
    weight: Operand,
    bias: Operand | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _output_padding: Any,
    groups: int,
) -> Node:
    """y[b, o, t] = Σ w[o, c, s] x[b, c, stride t + dilation s − padding]: patches times weights.

    Raises NotImplementedError for a transposed one.
    """
    if transposed:
        raise NotImplementedError("is transposed; known are plain convolutions")
    kernel = as_node(weight)
    batch, out, rank = x.shape[0], kernel.shape[0], len(kernel.shape) - 2

    def grid(zero: Tensor, places: Tensor) -> Tensor:
        """Places of the patches: (batch, channels, outputs …, kernel …)."""
        sides = [p for pair in reversed(padding) for p in (pair, pair)]
        found = torch.nn.functional.pad(places, sides, value=int(zero))
        for d, size in enumerate(kernel.shape[2:]):
            found = found.unfold(2 + d, dilation[d] * (size - 1) + 1, stride[d])
        return found[(..., *(slice(None, None, step) for step in dilation))]

    def rows(zero: Tensor, places: Tensor) -> Tensor:
        """(groups, batch · outputs, channels of a group · kernel)"""
        found = grid(zero, places).unflatten(1, (groups, -1)).movedim(1, 0)
        return found.movedim(2, 2 + rank).flatten(2 + rank).flatten(1, 1 + rank)

    zero = constant(0.0)
    outputs = rearrange(grid, zero, x).shape[2 : 2 + rank]
    y = matmul(rearrange(rows, zero, x), reshape(kernel, groups, out // groups, -1))
    y = rearrange(
        lambda i: i.unflatten(1, (batch, -1)).permute(1, 0, 3, 2).reshape(batch, out, *outputs), y
    )
    return affine(y, None, None if bias is None else reshape(as_node(bias), out, *[1] * rank))


def layer_norm(
    _: Any, x: Node, shape: Sequence[int], weight: Any, bias: Any, eps: float
) -> tuple[Node, None, None]:
    """Over the last axes together; mean and deviation are not given out."""
    lead = x.shape[: len(x.shape) - len(shape)]
    y = reshape(normalize(reshape(x, *lead, -1), eps), *x.shape)
    return affine(y, weight, bias), None, None


def rms_norm(
    _: Any, x: Node, shape: Sequence[int], weight: Any, eps: float | None
) -> tuple[Node, None]:
    """Over the last axes together."""
    lead = x.shape[: len(x.shape) - len(shape)]
    eps = torch.finfo(torch.float64).eps if eps is None else eps
    return affine(reshape(rms_normalize(reshape(x, *lead, -1), eps), *x.shape), weight), None


def group_norm(
    _: Any, x: Node, weight: Any, bias: Any, batch: int, _c: int, _hw: int, groups: int, eps: float
) -> tuple[Node, None, None]:
    """Over all elements of a group of channels."""
    y = reshape(normalize(reshape(x, batch, groups, -1), eps), *x.shape)
    return affine(y, *(_by_channel(x, v) for v in (weight, bias))), None, None


def batch_norm(
    _: Any, x: Node, weight: Any, bias: Any, mean: Any, var: Any, _momentum: float, eps: float
) -> tuple[Node, None, None]:
    """With mean and variance of training, (x − μ) / √(σ² + ε)."""
    root = elementwise("sqrt", elementwise("add", as_node(var), constant(eps)))
    y = elementwise("sub", x, as_node(_by_channel(x, mean)))
    y = elementwise("div", y, as_node(_by_channel(x, root)))
    return affine(y, *(_by_channel(x, v) for v in (weight, bias))), None, None


def _by_channel(x: Node, v: Operand | None) -> Node | None:
    """Numbers of channels, in a shape that meets x (batch, channels, …)."""
    return None if v is None else reshape(as_node(v), -1, *[1] * (len(x.shape) - 2))
