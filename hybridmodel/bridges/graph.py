"""A network as a small graph of expressions: the form that every other path reads.

Each node holds one array of known shape, its numbers in rows (the last axis runs fastest), so
that a change of shape alone moves nothing. The kinds, with y the node and x, a, b its operands:

    Input         y                          an argument of the network
    Weight        y = θ                      a tensor of the module, seen as it is now
    Constant      y = c                      numbers that belong to the graph
    Elementwise   yᵢ = φ(x¹ᵢ, x²ᵢ, …; α)     an operand of one element meets all i
    MatMul        yₑᵢⱼ = Σₖ aₑᵢₖ bₑⱼₖ         a (E, m, k), b (E, n, k), y (E, m, n)
    Take          yᵢ = x[index i]            slices, permutations, repetitions, views
    Concatenate   y = (x¹, x², …)            all elements, one operand after the other
    Sum           y… = Σₖ x…ₖ                over the last axis

φ is a name of the table ELEMENTWISE in `torch_to_casadi`, which has its equation.
A matrix product is one node whatever its size, W x is MatMul(x, W) with W as torch stores it,
and E stacked members are one node too. What depends on no Input can be computed in advance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

Shape = tuple[int, ...]


class RefusalError(ValueError):
    """A module that has no graph, with its name, its place and the reason."""


class UnknownOperationError(RefusalError):
    """A module with an operation that the graph has no form for; another path may have one."""


@dataclass(frozen=True, eq=False)
class Node:
    """One array of the graph: its shape and the nodes that it is made of."""

    shape: Shape
    operands: tuple[Node, ...] = ()

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


Nodes = tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Input(Node):
    """An argument of the network."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Weight(Node):
    """A floating-point parameter or buffer of the module, not a copy of it."""

    tensor: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant(Node):
    """Numbers that belong to the graph, in float64; truth values are 0 and 1."""

    value: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Elementwise(Node):
    """yᵢ = φ(x¹ᵢ, x²ᵢ, …; α): φ by name, α its numbers; operands have y's size or one element."""

    name: str
    arguments: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class MatMul(Node):
    """yₑᵢⱼ = Σₖ aₑᵢₖ bₑⱼₖ of the operands a (E, m, k) and b (E, n, k)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Take(Node):
    """yᵢ = x[index i], the index in y's shape and counting the elements of x by rows."""

    index: np.ndarray

    @property
    def is_view(self) -> bool:
        """Whether all elements stay where they are and only the shape changes."""
        count = self.operands[0].size
        return self.size == count and np.array_equal(self.index.ravel(), np.arange(count))


@dataclass(frozen=True, eq=False)
class Concatenate(Node):
    """y = (x¹, x², …), all elements of the operands in one row."""


@dataclass(frozen=True, eq=False)
class Sum(Node):
    """y… = Σₖ x…ₖ over the last axis of the operand."""


@dataclass(frozen=True)
class Graph:
    """A network: its arguments, its results, and where torch.export had to read it.

    `traced` holds the dotted paths of modules that were read by tracing, not from a table.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[Node, ...]
    traced: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that the outputs need, operands before what reads them, each once."""
        done: dict[Node, None] = {}
        stack = list(reversed(self.outputs))
        while stack:
            node = stack[-1]
            missing = [x for x in node.operands if x not in done]
            if missing:
                stack.extend(reversed(missing))
            else:
                done.setdefault(stack.pop())
        return tuple(done)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The module's tensors that the graph reads, each once, in the order of its nodes."""
        found = {id(n.tensor): n.tensor for n in self.nodes if isinstance(n, Weight)}
        return tuple(found.values())
