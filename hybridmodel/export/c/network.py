"""A network in C99: its graph as loops over constant arrays, and ∂r/∂z by reverse accumulation.

Every inner loop runs over neighbouring numbers, so that compilers vectorise it without leave to
reorder sums. For that a weight matrix is stored twice where both are needed: by columns for the
values, by rows for the slopes.
"""

from __future__ import annotations

import casadi as ca
import numpy as np

from hybridmodel.bridges.graph import Elementwise, Graph, Node
from hybridmodel.export.c.arrays import Arrays
from hybridmodel.export.c.network_body import Map, NetworkBody
from hybridmodel.export.c.pieces import REAL, DType, Routine, signature, statements, with_slopes
from hybridmodel.export.network_graph import constants, scalar_function


class NetworkPrinter:
    """Prints one network; `parts` collects the small routines that it needs, in order."""

    def __init__(self, graph: Graph, arrays: Arrays) -> None:
        self.graph, self.arrays = graph, arrays
        self.prefix = arrays.prefix
        self.dtype: DType = arrays.dtype
        self.parts: list[str] = []
        self._fixed = constants(graph)
        self._nodes = [n for n in graph.nodes if n not in self._fixed]
        self._maps: dict[tuple, Map] = {}

    def print_values(self) -> Routine:
        """`network(z, r)`."""
        return NetworkBody(self, jacobian=False).routine()

    def print_jacobian(self) -> Routine:
        """`network_jacobian(z, r, r_z)`, with r_z (nr, nz) by rows."""
        return NetworkBody(self, jacobian=True).routine()

    def fixed(self, node: Node) -> np.ndarray | None:
        """The numbers of a node that depends on no input."""
        return self._fixed.get(node)

    @property
    def nodes(self) -> list[Node]:
        """The nodes that depend on z."""
        return self._nodes

    def map(self, node: Elementwise, *, slopes: bool) -> Map:
        """The routine `name(x0, x1, …, y[, s0, …])` of one φ over all its elements."""
        single = tuple(x.size == 1 for x in node.operands)
        wanted = tuple(slopes and x not in self._fixed for x in node.operands)
        key = (node.name, node.arguments, node.size, single, wanted)
        if key in self._maps:
            return self._maps[key]
        function = scalar_function(node)
        whole = with_slopes(function, [k for k, w in enumerate(wanted) if w])
        ways = iter(whole.call([ca.SX.sym(n) for n in whole.name_in()])[1:])
        known = tuple(_constant(next(ways)) if w else 0.0 for w in wanted)
        kept = [k for k, s in enumerate(known) if s is None]
        used = with_slopes(function, kept)
        lines, cost = statements(
            used,
            lambda i, _: f"x{i}[{'0' if single[i] else 'i'}]",
            lambda j, _: f"{'y' if j == 0 else f's{kept[j - 1]}'}[i]",
            self.dtype,
        )
        name = f"{self.prefix}_{node.name}_{len(self._maps)}"
        kind = REAL[self.dtype]
        head = [f"const {kind} *restrict x{k}" for k in range(len(single))]
        head += [f"{kind} *restrict y", *(f"{kind} *restrict s{k}" for k in kept)]
        body = "".join(f"        {line}\n" for line in lines)
        text = f"static {signature(name, head)}\n{{\n"
        text += f"    for (int i = 0; i < {node.size}; i++) {{\n{body}    }}\n}}\n"
        self.parts.append(text)
        self._maps[key] = Map(name, cost * node.size, known)
        return self._maps[key]


def _constant(slope: ca.SX) -> float | None:
    return float(slope) if slope.is_constant() else None
