"""torch's reductions over chosen axes as nodes: the axes are brought to the end and counted once.

The reductions themselves take (…, n) to (…,).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from hybridmodel.bridges import expressions
from hybridmodel.bridges.expressions import (
    Operand,
    as_node,
    centred,
    constant,
    elementwise,
    expand,
    highest,
    linear,
    mean,
    rearrange,
    reshape,
    total,
)
from hybridmodel.bridges.graph import Node

Reduction = Callable[[Node], Node]


def over(reduce: Reduction) -> Callable[..., Node]:
    """The operation (x, dim, keepdim) of a reduction of the last axis."""

    def operation(
        _: Any, x: Operand, dim: Any = None, keepdim: bool = False, **_dtype: Any
    ) -> Node:
        line, dims = _lined(as_node(x), dim)
        y = reduce(line)
        if not keepdim:
            return y
        return reshape(y, *(1 if d in dims else n for d, n in enumerate(as_node(x).shape)))

    return operation


def _lined(x: Node, dim: Any) -> tuple[Node, list[int]]:
    """x with the axes `dim`, by default all, as one last axis; and those axes."""
    rank = len(x.shape)
    chosen = [dim] if isinstance(dim, int) else list(dim or range(rank))
    dims = sorted({d % rank for d in chosen}) if rank else []
    kept = [d for d in range(rank) if d not in dims]
    shape = (*(x.shape[d] for d in kept), math.prod(x.shape[d] for d in dims))
    return rearrange(lambda i: i.permute(*kept, *dims).reshape(shape), x), dims


def product(x: Node) -> Node:
    """Π x."""
    columns = [rearrange(lambda i, j=j: i[..., j], x) for j in range(x.shape[-1])]
    return functools.reduce(lambda a, b: elementwise("mul", a, b), columns)


def any_true(x: Node) -> Node:
    """1 where one element is not 0, else 0."""
    return elementwise("gt", total(elementwise("ne", x, constant(0.0))), constant(0.0))


def shared_maximum(x: Node) -> Node:
    """The largest; elements that are equally large share its slope, as in torch.amax."""
    ties = elementwise("eq", x, expand(highest(x), x.shape))
    ties = elementwise("or", ties, elementwise("ne", x, x))  # NaN is the largest
    chosen = elementwise("where", ties, x, constant(0.0))
    return elementwise("div", total(chosen), total(ties))


def first_maximum(x: Node) -> Node:
    """The largest; its slope is that of the first of the largest, as in torch.max over an axis."""
    return reshape(highest(x), *x.shape[:-1])


def negated(reduce: Reduction) -> Reduction:
    """The minimum of a maximum: −reduce(−x)."""
    return lambda x: elementwise("neg", reduce(elementwise("neg", x)))


def extreme(whole: Reduction, along: Reduction) -> Callable[..., Any]:
    """max(x), or max(x, dim) with indices, which are not known in advance."""

    def operation(_: Any, x: Node, dim: int | None = None, keepdim: bool = False) -> Any:
        if dim is None:
            return over(whole)(None, x)
        return over(along)(None, x, dim, keepdim), None

    return operation


def variance(
    _: Any, x: Node, dim: Any = None, *, correction: Any = 1, keepdim: Any = False
) -> Node:
    """Σ (x − x̄)² / (n − correction)."""

    def reduce(line: Node) -> Node:
        count = constant(line.shape[-1] - (1 if correction is None else correction))
        return elementwise("div", total(elementwise("square", centred(line))), count)

    return over(reduce)(None, x, dim, keepdim)


def variance_and_mean(_: Any, x: Node, dim: Any = None, **options: Any) -> tuple[Node, Node]:
    """Both, as torch.var_mean."""
    return variance(_, x, dim, **options), over(mean)(_, x, dim, options.get("keepdim", False))


def logsumexp(x: Node) -> Node:
    """log Σ eˣ."""
    top = highest(x)
    every = total(elementwise("exp", elementwise("sub", x, top)))
    return elementwise("add", elementwise("log", every), reshape(top, *x.shape[:-1]))


def norm(
    _: Any, x: Node, order: float = 2, dim: Any = None, keepdim: bool = False, **_dtype: Any
) -> Node:
    """Norms of order 1, 2 and infinity; other orders are a ValueError."""
    if order == 2:
        return over(_length)(None, x, dim, keepdim)
    if order not in (1, math.inf):
        raise ValueError(f"has order {order}; known are 1, 2 and infinity")
    reduce = total if order == 1 else shared_maximum
    return over(reduce)(None, elementwise("abs", x), dim, keepdim)


def _length(x: Node) -> Node:
    """√Σ x², with torch's slope 0 where it vanishes."""
    power = total(elementwise("square", x))
    zero = elementwise("eq", power, constant(0.0))
    root = elementwise("sqrt", elementwise("where", zero, constant(1.0), power))
    return elementwise("where", zero, constant(0.0), root)


def cumsum(_: Any, x: Node, dim: int, **_dtype: Any) -> Node:
    """Sums of the elements up to each: a product with a triangle of ones."""
    ones = torch.ones(x.shape[dim], x.shape[dim]).tril()
    line = rearrange(lambda i: i.movedim(dim, -1), x)
    return rearrange(lambda i: i.movedim(-1, dim), linear(line, constant(ones)))


def softmax(_: Any, x: Node, dim: int, half: bool = False, *, logarithm: bool = False) -> Node:
    """softmax or its logarithm over any axis."""
    line = rearrange(lambda i: i.movedim(dim, -1), x)
    y = expressions.softmax(line, logarithm=logarithm)
    return rearrange(lambda i: i.movedim(-1, dim), y)
