"""A network's graph as code on vectors: forward, reverse, and the gradient in its weights.

Rows of the record are the arrays that depend on an argument, each once; what depends on none is
computed before by torch and passed as numbers (`Network.leaves`), so that torch differentiates
how they came about. A layer W x + b is one operation, and so is its activation where the slope
can be had from the result.
"""

from __future__ import annotations

import functools

import casadi as ca
import numpy as np

from hybridmodel.bridges.graph import (
    Concatenate,
    Constant,
    Elementwise,
    Graph,
    Input,
    MatMul,
    Node,
    Sum,
    Take,
)
from hybridmodel.bridges.torch_to_casadi import ELEMENTWISE
from hybridmodel.kernel.callees import Callee, Curvature, Gradient
from hybridmodel.kernel.lanes import Lanes, Value
from hybridmodel.kernel.operations import (
    Array,
    Dense,
    Gather,
    Join,
    Map,
    Operation,
    Product,
    Tape,
    Total,
)
from hybridmodel.kernel.operations.outer import padded
from hybridmodel.kernel.scalars import Scalars

WIDEST_VECTOR = 16  # numbers
END = 1 << 62  # no start of a weight
# φ' from y = φ(x), of which the slope needs no x
FROM_RESULT = {
    "tanh": lambda y: 1 - y * y,
    "sigmoid": lambda y: y * (1 - y),
    "exp": lambda y: y,
    "relu": lambda y: y > 0,
}


class Network(Callee):
    """The code of a graph.

    leaves   nodes that depend on no argument and that the code reads, `starts` where each begins
             in the weights
    wanted   leaves of which the gradient is asked for
    sizes    of each result
    widest   the smaller side of its largest matrix: where that is large, products are the work
    """

    def __init__(self, graph: Graph, wanted: frozenset[int] = frozenset()) -> None:
        reader = _Reader(graph)
        self.operations, self.leaves = reader.operations, tuple(reader.leaves)
        self.starts = tuple(reader.starts[node] for node in self.leaves)
        self.n_weights, self.rows = reader.numbers, reader.rows
        self.graph = graph
        self.sizes = tuple(node.size for node in graph.outputs)
        self.n_in = sum(node.size for node in graph.inputs)
        self.result, self.n_out = reader.result, sum(self.sizes)
        products = (min(o.sizes[2:]) for o in self.operations if isinstance(o, Dense | Product))
        self.widest = max(products, default=0)
        self.wanted = frozenset(s for i, s in enumerate(self.starts) if i in wanted)

    @property
    def identity(self) -> str:
        sizes = self.n_in, self.rows, self.n_weights, self.result, self.n_out
        return repr((self.operations, sizes, sorted(self.wanted)))

    def forward(self, lanes: Lanes, record: Value, weights: Value) -> None:
        for operation in self.operations:
            operation.forward(lanes, record, weights)

    def reverse(self, lanes: Lanes, record: Value, bars: Value, weights: Value) -> None:
        filled = set(range(self.result, self.result + self.n_out))
        for operation in reversed(self.operations):
            if filled.isdisjoint(operation.result.range):
                continue  # nothing depends on it
            _fill(lanes, bars, set(operation.result.range) - filled)
            for array in operation.varying:
                rows = set(array.range)
                if not operation.fills(array) and rows - filled:
                    _fill(lanes, bars, rows - filled)
                    filled |= rows
            known = frozenset(filled)
            operation.reverse(
                lanes, record, bars, weights, lambda a, known=known: not known.isdisjoint(a.range)
            )
            for array in operation.varying:
                filled |= set(array.range)
        _fill(lanes, bars, set(range(self.n_in)) - filled)

    @property
    def work(self) -> int:
        products = (o.sizes for o in self.operations if isinstance(o, Dense | Product))
        return self.rows + sum(members * m * k * n for members, m, k, n in products)

    @functools.cached_property
    def _live(self) -> list[Operation]:
        """The operations that results rest on, whose bars a reverse sweep fills."""
        needed = set(range(self.result, self.result + self.n_out))
        found = []
        for operation in reversed(self.operations):
            if not needed.isdisjoint(operation.result.range):
                found.append(operation)
                for array in operation.varying:
                    needed |= set(array.range)
        return found[::-1]

    @property
    def bends(self) -> int:
        return sum(operation.bends for operation in self._live)

    def tangent(
        self,
        lanes: Lanes,
        record: Value,
        dots: Value,
        weights: Value,
        curvature: Curvature | None,
    ) -> None:
        for operation in self._live:
            operation.tangent(lanes, record, dots, weights, curvature)
            if curvature is not None:
                curvature = curvature.after(lanes, operation.bends)

    def gradient(self, lanes: Lanes, given: Gradient) -> None:
        tape = Tape(
            given.records,
            given.bars,
            given.sites,
            self.rows,
            given.weights,
            given.gradient,
            given.turned,
            self.wanted,
            self.places,
        )
        for operation in self.operations:
            operation.gradient(lanes, tape)

    @functools.cached_property
    def places(self) -> dict[int, int]:
        """Where the gradient of each wanted leaf begins, and each block of a layer's weights."""
        places, at = {}, 0
        for start, leaf in zip(self.starts, self.leaves, strict=True):
            if start in self.wanted:
                places[start] = at
                at += leaf.size * WIDEST_VECTOR
        for layer in self._layers:
            members, _, k, n = layer.sizes
            places[layer.block] = at
            at += members * n * padded(k)
        places[END] = at
        return places

    @property
    def n_gradient(self) -> int:
        return self.places[END]

    @property
    def turned(self) -> int:
        return max((layer.sizes[1] * padded(layer.sizes[2]) for layer in self._layers), default=0)

    @property
    def _layers(self) -> list[Dense]:
        """The layers whose weight is wanted."""
        layers = (o for o in self.operations if isinstance(o, Dense))
        return [layer for layer in layers if layer.weight.start in self.wanted]

    def collected(self, gradient: np.ndarray, width: int) -> np.ndarray:
        """The gradient (n_weights,) from its numbers as the code lays them out."""
        found = np.zeros(self.n_weights, gradient.dtype)
        for start, leaf in zip(self.starts, self.leaves, strict=True):
            if start in self.wanted:
                at = self.places[start]
                vectors = gradient[at : at + leaf.size * width].reshape(leaf.size, width)
                found[start : start + leaf.size] += vectors.sum(1)
        for layer in self._layers:
            members, _, k, n = layer.sizes
            at, size = self.places[layer.block], members * n * padded(k)
            block = gradient[at : at + size].reshape(members * n, padded(k))[:, :k]
            found[layer.weight.start : layer.weight.start + layer.weight.size] += block.reshape(-1)
        return found


def _fill(lanes: Lanes, bars: Value, rows: set[int]) -> None:
    for row in sorted(rows):
        for part in range(lanes.shape.span):
            lanes.store(lanes.constant(0.0), bars, row, part)


class _Reader:
    """Lays a graph out in rows and writes down its operations."""

    def __init__(self, graph: Graph) -> None:
        self.operations: list[Operation] = []
        self.leaves: list[Node] = []
        self.starts: dict[Node, int] = {}
        self.numbers = self.rows = 0
        self.arrays: dict[Node, Array] = {}
        self.varies: dict[Node, bool] = {}
        nodes = graph.nodes
        for node in (*graph.inputs, *nodes):
            operands = (self.varies[x] for x in node.operands)
            self.varies[node] = isinstance(node, Input) or any(operands)
        self.readers: dict[Node, list[Node]] = {node: [] for node in (*graph.inputs, *nodes)}
        for node in nodes:
            for x in node.operands:
                self.readers[x].append(node)
        self.kept = set(graph.outputs)
        for node in graph.inputs:
            self._new(node)
        for node in nodes:
            if self.varies[node] and node not in self.arrays:
                self._read(node)
        found = [self.array(node) for node in graph.outputs]
        if len(found) == 1 and found[0].varying:
            self.result = found[0].start
        else:
            self.result = self.rows
            whole = Array(self.rows, sum(a.size for a in found), True)
            self.rows += whole.size
            self.operations.append(Join(whole, tuple(found)))

    def array(self, node: Node) -> Array:
        """Where the numbers of a node are; one that does not vary becomes a leaf."""
        if node not in self.arrays:
            self.leaves.append(node)
            self.starts[node] = self.numbers
            self.arrays[node] = Array(self.numbers, node.size, False)
            self.numbers += node.size
        return self.arrays[node]

    def _new(self, node: Node) -> Array:
        self.arrays[node] = Array(self.rows, node.size, True)
        self.rows += node.size
        return self.arrays[node]

    def _only_reader(self, node: Node) -> Node | None:
        """The one node that reads this one, seen through changes of shape."""
        while node not in self.kept and len(self.readers[node]) == 1:
            (reader,) = self.readers[node]
            if not (isinstance(reader, Take) and reader.is_view):
                return reader
            node = reader
        return None

    def _read(self, node: Node) -> None:
        match node:
            case Take() if node.is_view:
                self.arrays[node] = self.array(node.operands[0])
            case Take():
                x = self.array(node.operands[0])
                self.operations.append(
                    Gather(self._new(node), x, tuple(node.index.ravel().tolist()))
                )
            case Concatenate():
                parts = tuple(self.array(x) for x in node.operands)
                self.operations.append(Join(self._new(node), parts))
            case Sum():
                self.operations.append(Total(self._new(node), self.array(node.operands[0])))
            case MatMul():
                self._product(node)
            case Elementwise():
                self._map(node)
            case _:
                raise TypeError(f"unknown node {type(node).__name__}")

    def _product(self, node: MatMul) -> None:
        a, b = node.operands
        members, m, k = a.shape
        n = node.shape[2]
        sizes = (members, m, k, n)
        if self.varies[b]:
            found = Product(self._new(node), self.array(a), self.array(b), sizes)
            self.operations.append(found)
            return
        last, bias, activation, slope, bend = node, None, None, None, None
        reader = self._only_reader(last)
        if isinstance(reader, Elementwise) and reader.name == "add":
            others = [x for x in reader.operands if not self.varies[x]]
            if len(others) == 1 and others[0].size == node.size and m == 1:
                last, bias = reader, self.array(others[0])
                reader = self._only_reader(last)
        if isinstance(reader, Elementwise) and reader.name in FROM_RESULT:
            x, y = ca.SX.sym("x"), ca.SX.sym("y")
            activation = Scalars(ca.Function("phi", [x], [ELEMENTWISE[reader.name](x)]))
            steep = ca.SX(FROM_RESULT[reader.name](y))
            slope = Scalars(ca.Function("slope", [y], [steep]))
            bent = ca.jacobian(steep, y)  # φ'' = ∂φ'/∂y φ'
            bend = Scalars(ca.Function("bend", [y], [bent])) if bent.nnz() else None
            last = reader
        weight = self.array(b)
        given = self.array(a)
        made = Dense(self._new(last), given, weight, bias, activation, slope, sizes, bend)
        self.operations.append(made)
        step: Node = node
        while step is not last:  # what lies between has no rows of its own
            self.arrays[step] = self.arrays[last]
            step = self.readers[step][0]

    def _map(self, node: Elementwise) -> None:
        """yᵢ = φ(x¹ᵢ, …), constants of one element written in."""
        symbols = [ca.SX.sym(f"x{i}") for i in range(len(node.operands))]
        inputs, arrays, given = [], [], []
        for x, symbol in zip(node.operands, symbols, strict=True):
            if isinstance(x, Constant) and x.size == 1:
                given.append(ca.SX(float(x.value)))
                continue
            given.append(symbol)
            inputs.append(symbol)
            arrays.append(self.array(x))
        y = ca.SX(ELEMENTWISE[node.name](*given, *node.arguments))
        result, bar = ca.SX.sym("y"), ca.SX.sym("bar")
        dots = [ca.SX.sym(f"dot{i}") for i in range(len(inputs))]
        if node.name in FROM_RESULT:
            steep = ca.SX(FROM_RESULT[node.name](result))
            slopes = [bar * steep]
            bent = [ca.jacobian(steep, result) * steep * bar * dots[0]]
        else:
            slopes = [ca.jtimes(y, s, bar, True) for s in inputs]
            bent = [ca.jtimes(s, ca.vertcat(*inputs), ca.vertcat(*dots)) for s in slopes]
        forward = Scalars(ca.Function("phi", inputs, [ca.densify(y)]))
        back = [ca.densify(s) for s in slopes]
        reverse = Scalars(ca.Function("slopes", [*inputs, result, bar], back, {"cse": True}))
        given = [*inputs, result, bar, *dots]
        second = ca.Function("second", given, [ca.sparsify(b) for b in bent], {"cse": True})
        made = Map(self._new(node), tuple(arrays), forward, reverse, second)
        self.operations.append(made)
