"""The two routines of a network while they are printed: values, then slopes backwards.

    y = φ(x)        ∂r/∂x += ∂r/∂y ∂φ/∂x        from the last node to the first

∂r/∂node is (nr, size) by rows and lives from its first contribution until it was handed on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hybridmodel.bridges.graph import Concatenate, Elementwise, MatMul, Node, Sum, Take
from hybridmodel.export.c.buffers import Buffers
from hybridmodel.export.c.pieces import BYTES, REAL, Cost, Routine, at, element, literal, signature

if TYPE_CHECKING:
    from hybridmodel.export.c.network import NetworkPrinter


@dataclass(frozen=True)
class Map:
    """A routine for one φ; `slopes[k]` is a number where ∂φ/∂xₖ is constant, else None."""

    name: str
    cost: Cost
    slopes: tuple[float | None, ...]


class NetworkBody:
    """One of the two routines while it is printed."""

    def __init__(self, printer: NetworkPrinter, *, jacobian: bool) -> None:
        self.printer, self.jacobian, self.p = printer, jacobian, printer.prefix
        self.lines: list[str] = []
        self.cost = Cost()
        self.values, self.slopes = Buffers(), Buffers()
        [self.z], [self.r] = printer.graph.inputs, printer.graph.outputs
        self.start: dict[Node, int] = {}  # in v
        self.slope_start: dict[tuple[Node, int], int] = {}  # in v: ∂φ/∂xₖ, where no constant
        self.adjoint: dict[Node, int] = {}  # in g: ∂r/∂node (nr, size)

    def routine(self) -> Routine:
        last = {self._root(x): k for k, n in enumerate(self.printer.nodes) for x in n.operands}
        last[self._root(self.r)] = len(self.printer.nodes)
        for number, node in enumerate(self.printer.nodes):
            if node is self.z or self._root(node) is not node:
                continue
            self._forward(node)
            if not self.jacobian:  # slopes need the values until the end
                for x in {self._root(x) for x in node.operands}:
                    if last[x] == number and x in self.start:
                        self.values.give_back(self.start[x], x.size)
        self._loop(f"r[i] = {element(self._text(self.r), 'i')};", self.r.size)
        if self.jacobian:
            self._backward()
        kind, name = REAL[self.printer.dtype], f"{self.p}_network"
        head = [f"const {kind} *restrict z", f"{kind} *restrict r"]
        if self.jacobian:
            name, head = name + "_jacobian", [*head, f"{kind} *restrict r_z"]
        declared = [
            f"{kind} {array}[{room.size}];"
            for array, room in (("v", self.values), ("g", self.slopes))
            if room.size
        ]
        body = "".join(f"    {line}\n" for line in [*declared, "(void)z;", *self.lines])
        text = f"static {signature(name, head)}\n{{\n{body}}}\n"
        stack = (self.values.size + self.slopes.size) * BYTES[self.printer.dtype]
        return Routine(name, text, self.cost, stack)

    # -- values -----------------------------------------------------------------------------------

    def _forward(self, node: Node) -> None:
        self.start[node] = self.values.take(node.size)
        y, operands = self._text(node), [self._text(x) for x in node.operands]
        match node:
            case MatMul(operands=(a, b)):
                (count, m, depth), n = a.shape, b.shape[1]
                weight = self.printer.fixed(b)
                self.cost += Cost(2 * count * m * n * depth)
                if weight is None:
                    for e in range(count):
                        parts = (at(operands[0], e * m * depth), at(operands[1], e * n * depth))
                        self._call("dot_rows", m, n, depth, *parts, at(y, e * m * n))
                    return
                columns = self.printer.arrays.numbers(weight.swapaxes(1, 2))
                self._zero(y, node.size)
                for e in range(count):
                    for i in range(m):
                        x = at(operands[0], (e * m + i) * depth)
                        out = at(y, (e * m + i) * n)
                        self._call("add_rows", depth, n, at(columns, e * depth * n), x, out)
            case Elementwise():
                made = self.printer.map(node, slopes=self.jacobian)
                arguments = [*operands, y]
                for k, slope in enumerate(made.slopes):
                    if slope is None:
                        self.slope_start[node, k] = self.values.take(node.size)
                        arguments.append(at("v", self.slope_start[node, k]))
                self.cost += made.cost
                self.lines.append(f"{made.name}({', '.join(arguments)});")
            case Take(index=index):
                places = self.printer.arrays.indices(index)
                source = element(operands[0], f"{places}[i]")
                self._loop(f"{element(y, 'i')} = {source};", node.size)
            case Concatenate():
                begin = 0
                for x, text in zip(node.operands, operands, strict=True):
                    to = element(at(y, begin), "i")
                    self._loop(f"{to} = {element(text, 'i')};", x.size)
                    begin += x.size
            case Sum(operands=(x,)):
                width = x.shape[-1]
                self.cost += Cost(x.size)
                self._zero(y, node.size)
                to = element(y, f"i / {width}")
                self._loop(f"{to} += {element(operands[0], 'i')};", x.size)
            case _:
                raise ValueError(
                    f"residual: a {type(node).__name__} node of its network has no form in C"
                )

    # -- slopes -----------------------------------------------------------------------------------

    def _backward(self) -> None:
        nr, root = self.r.size, self._root(self.r)
        self._zero("r_z", nr * self.z.size)
        if self.printer.fixed(root) is not None:
            return
        g, _ = self._adjoint(root)
        self._zero(g, nr * nr)
        self._loop(f"{element(g, f'i * {nr + 1}')} = 1;", nr)
        for node in reversed(self.printer.nodes):
            if node in self.adjoint and node is not self.z:
                self._pull(node)
                self.slopes.give_back(self.adjoint[node], nr * node.size)

    def _pull(self, node: Node) -> None:
        """Hand ∂r/∂node on to the operands."""
        nr, size, g = self.r.size, node.size, at("g", self.adjoint[node])
        given = element(g, f"j * {size} + i")
        for k, x in enumerate(node.operands):
            if self.printer.fixed(x) is not None:
                continue
            x = self._root(x)
            match node:
                case MatMul(operands=(a, b)):
                    to = self._zeroed(x)
                    (count, m, depth), n = a.shape, b.shape[1]
                    self.cost += Cost(2 * nr * count * m * n * depth)
                    for j in range(nr):
                        for e in range(count):
                            self._pull_product(node, k, e, at(g, j * size), at(to, j * x.size))
                case Elementwise():
                    known = self.printer.map(node, slopes=True).slopes[k]
                    if known == 0:
                        continue
                    flow = given
                    if known is None:
                        flow += " * " + element(at("v", self.slope_start[node, k]), "i")
                    elif known != 1:
                        flow += " * " + literal(known, self.printer.dtype)
                    self.cost += Cost(2 * nr * size)
                    if x.size == size:
                        to, first = self._adjoint(x)
                        way = "=" if first else "+="
                        text = f"{element(to, f'j * {size} + i')} {way} {flow};"
                    else:
                        to = self._zeroed(x)
                        text = f"{element(to, 'j')} += {flow};"
                    self._loops(text, nr, size)
                case Take(index=index):
                    places = self.printer.arrays.indices(index)
                    to = self._zeroed(x)
                    target = element(to, f"j * {x.size} + {places}[i]")
                    self._loops(f"{target} += {given};", nr, size)
                case Concatenate():
                    begin = sum(part.size for part in node.operands[:k])
                    to = self._zeroed(x)
                    source = element(at(g, begin), f"j * {size} + i")
                    self._loops(f"{element(to, f'j * {x.size} + i')} += {source};", nr, x.size)
                case Sum():
                    to, width = self._zeroed(x), x.size // size
                    source = element(g, f"j * {size} + i / {width}")
                    self._loops(f"{element(to, f'j * {x.size} + i')} += {source};", nr, x.size)

    def _pull_product(self, node: MatMul, k: int, e: int, g: str, to: str) -> None:
        a, b = node.operands
        (_, m, depth), n = a.shape, b.shape[1]
        g = at(g, e * m * n)
        if k == 1:
            self._call(
                "add_outer", m, n, depth, g, at(self._text(a), e * m * depth), at(to, e * n * depth)
            )
            return
        rows = at(self._text(b), e * n * depth)
        for i in range(m):
            self._call("add_rows", n, depth, rows, at(g, i * n), at(to, (e * m + i) * depth))

    # -- places and statements --------------------------------------------------------------------

    def _root(self, node: Node) -> Node:
        """The node whose numbers this one has: views move nothing."""
        while isinstance(node, Take) and node.is_view and self.printer.fixed(node) is None:
            [node] = node.operands
        return node

    def _text(self, node: Node) -> str:
        """The C text of where a value is."""
        value = self.printer.fixed(node)
        if value is not None:
            return self.printer.arrays.numbers(value)
        root = self._root(node)
        return "z" if root is self.z else at("v", self.start[root])

    def _adjoint(self, x: Node) -> tuple[str, bool]:
        """Where ∂r/∂x is, and whether nothing has been written there yet."""
        if x is self.z:
            return "r_z", False  # zeroed at the start
        first = x not in self.adjoint
        if first:
            self.adjoint[x] = self.slopes.take(self.r.size * x.size)
        return at("g", self.adjoint[x]), first

    def _zeroed(self, x: Node) -> str:
        to, first = self._adjoint(x)
        if first:
            self._zero(to, self.r.size * x.size)
        return to

    def _zero(self, place: str, size: int) -> None:
        self._loop(f"{element(place, 'i')} = 0;", size)

    def _loop(self, text: str, size: int) -> None:
        self.lines.append(f"for (int i = 0; i < {size}; i++) {text}")

    def _loops(self, text: str, rows: int, size: int) -> None:
        self.lines.append(f"for (int j = 0; j < {rows}; j++)")
        self.lines.append(f"    for (int i = 0; i < {size}; i++) {text}")

    def _call(self, kernel: str, *arguments: int | str) -> None:
        self.lines.append(f"{self.p}_{kernel}({', '.join(map(str, arguments))});")
