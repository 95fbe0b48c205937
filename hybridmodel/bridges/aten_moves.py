"""torch's operations that only move elements, as nodes.

They need no code of their own: run on the places of the elements in place of the elements,
torch's operation tells where each one goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hybridmodel.bridges.expressions import Operand, as_node, constant, pieces
from hybridmodel.bridges.graph import Node


def move(*data: int, fill: float | None = None) -> Callable[..., Any]:
    """What an operation that only moves elements makes of its arguments; zeros become `fill`.

    `data` are the places of the arguments that hold elements, by default all; the other ones are
    indices, which must be known in advance.
    """

    def operation(rule: Any, *args: Any, **kwargs: Any) -> Any:
        operands: list[Node] = [] if fill is None else [constant(fill)]  # its place is number 0

        def collect(value: Any, is_data: bool) -> Any:
            if isinstance(value, list | tuple):
                return [collect(v, is_data) for v in value]
            if isinstance(value, Node) and not is_data:
                raise NotImplementedError("has indices that depend on the arguments of the network")
            if isinstance(value, Node | Tensor) and is_data:
                operands.append(as_node(value))
                return operands[-1]
            return value

        collected = [collect(a, i in data or not data) for i, a in enumerate(args)]
        single = True

        def moved(*places: Tensor) -> Sequence[Tensor]:
            nonlocal single
            place = dict(zip(operands, places, strict=True))

            def placed(value: Any) -> Any:
                if isinstance(value, list):
                    return [placed(v) for v in value]
                return place[value] if isinstance(value, Node) else value

            found = rule(*placed(collected), **kwargs)
            single = isinstance(found, Tensor)
            return (found,) if single else found

        found = pieces(moved, *operands)
        return found[0] if single else found

    return operation


def pad(rule: Any, x: Node, sides: Sequence[int], value: float = 0) -> Node:
    """x with `value` around it."""
    return move(fill=float(value))(lambda places: rule(places, sides, 0), x)


def copy(_: Any, x: Node, source: Operand, *_blocking: bool) -> Node:
    """The source in the shape of x."""
    return move(1)(lambda x, source: source.expand(x), tuple(x.shape), as_node(source))


def index_put(rule: Any, x: Any, indices: Any, values: Any, accumulate: bool = False) -> Node:
    """x with values at indices that are known in advance; adding there is not known."""
    if accumulate:
        raise NotImplementedError("adds to elements in place (accumulate=True)")
    return move(0, 2)(rule, x, indices, values)


def created(operation: Any, x: Node, *args: Any, **kwargs: Any) -> Tensor:
    """Numbers that take only the shape of x."""
    return operation(torch.zeros(x.shape, dtype=torch.float64), *args, **kwargs)
