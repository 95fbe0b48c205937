"""torch's reductions over chosen axes as nodes: the axes are brought to the end and counted once.

The reductions themselves take (…, n) to (…,).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
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
    """Norms of order 1, 2 and infinity; others are a NotImplementedError."""
    if order == 2:
        return over(_length)(None, x, dim, keepdim)
    if order not in (1, math.inf):
        raise NotImplementedError(f"has order {order}; known are 1, 2 and infinity")
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


def _windows(
    x: Node,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    *,
    outside: float,
) -> Node:
    """The windows (…, rows, columns, elements) of x (…, n, m), which goes on as `outside`."""
    size, step, sides, gap = (_pair(v) for v in (kernel, stride or kernel, padding, dilation))

    def grid(fill: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        edges = (sides[1], sides[1], sides[0], sides[0])
        found = torch.nn.functional.pad(places, edges, value=int(fill))
        for d, axis in enumerate((places.dim() - 2, places.dim() - 1)):
            found = found.unfold(axis, gap[d] * (size[d] - 1) + 1, step[d])
        return found[..., :: gap[0], :: gap[1]].flatten(-2)

    return rearrange(grid, constant(outside), x)


def _pair(v: int | Sequence[int]) -> tuple[int, int]:
    both = (v, v) if isinstance(v, int) else tuple(v) * 2
    return both[0], both[1]


def mean_pool(
    _: Any,
    x: Node,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Node:
    """The mean of each window, zeros around x counted; NotImplementedError for other counts."""
    if ceil_mode or divisor is not None or not (count_include_pad or max(_pair(padding)) == 0):
        raise NotImplementedError("has windows of unequal counts, or a divisor of its own")
    return mean(_windows(x, kernel, stride, padding, outside=0.0))


def max_pool(
    _: Any,
    x: Node,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> tuple[Node, None]:
    """The largest of each window, its place not given out; NotImplementedError for ceil_mode."""
    if ceil_mode:
        raise NotImplementedError("has windows that reach over the edge (ceil_mode)")
    windows = _windows(x, kernel, stride, padding, dilation, outside=-math.inf)
    return first_maximum(windows), None


def adaptive_mean_pool(_: Any, x: Node, counts: Sequence[int]) -> Node:
    """The mean of each of counts[0] × counts[1] equal windows; else NotImplementedError."""
    sizes = x.shape[-2:]
    if any(n % m for n, m in zip(sizes, counts, strict=True)):
        raise NotImplementedError(f"cuts {sizes} into {tuple(counts)} windows of unequal size")
    kernel = [n // m for n, m in zip(sizes, counts, strict=True)]
    return mean(_windows(x, kernel, kernel, 0, outside=0.0))
