"""A recorded program as C statements: values, and tangents with respect to (x, u).

    y = g(a, b)        Ẏ = g_a Ȧ + g_b Ḃ            Ẋ = (I 0), U̇ = (0 I)

A tangent is an array (size, nx + nu) by rows; what depends on neither x nor u has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hybridmodel.export.c.arrays import Arrays
from hybridmodel.export.c.buffers import Buffers
from hybridmodel.export.c.network import NetworkPrinter
from hybridmodel.export.c.pieces import (
    BYTES,
    REAL,
    Cost,
    DType,
    Routine,
    at,
    element,
    literal,
    print_piece,
    signature,
    with_slopes,
)
from hybridmodel.export.program import Call, Combine, Input, Network, Program

Finish = Callable[[list[str], list[str | None]], list[str]]  # places of results, of their tangents


@dataclass(frozen=True)
class _Piece:
    """A printed piece: the arguments it takes, and (argument, rows, columns) of its slopes."""

    routine: Routine
    inputs: tuple[int, ...]
    slopes: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]


class SourcePrinter:
    """The routines that the programs of one model share; `routines` has callees first."""

    def __init__(self, network: NetworkPrinter | None, arrays: Arrays) -> None:
        self.network, self.arrays = network, arrays
        self.prefix = arrays.prefix
        self.dtype: DType = arrays.dtype
        self.routines: dict[str, Routine] = {}
        self._pieces: dict[tuple, _Piece] = {}

    def print(
        self,
        name: str,
        program: Program,
        outputs: Sequence[str],
        finish: Finish,
        *,
        tangents: bool = False,
    ) -> Routine:
        """`void name(x, u, p, d, outputs…)`, which ends with the statements of `finish`."""
        body = _Body(self, program, tangents=tangents)
        routine = body.routine(f"{self.prefix}_{name}", outputs, finish)
        self.routines[routine.name] = routine
        return routine

    def piece(self, node: Call, arguments: tuple[int, ...]) -> _Piece:
        """The routine of a piece, with its slopes in some of the arguments."""
        key = (node.function, arguments)
        if key not in self._pieces:
            function = with_slopes(node.function, arguments)
            dense = [k for j, k in enumerate(arguments) if function.nnz_out(1 + j)]
            if len(dense) < len(arguments):  # in some arguments the piece is constant
                arguments = tuple(dense)
                function = with_slopes(node.function, arguments)
            name = f"{self.prefix}_piece_{node.function.name()}" + ("_slopes" if arguments else "")
            while name in self.routines:
                name += "_"
            outputs = ["y", *(f"s{k}" for k in arguments)]
            routine, inputs = print_piece(name, function, outputs, self.dtype)
            found = [function.sparsity_out(1 + j).get_triplet() for j in range(len(arguments))]
            slopes = tuple(
                (k, tuple(rows), tuple(columns))
                for k, (rows, columns) in zip(arguments, found, strict=True)
            )
            self.routines[name] = routine
            self._pieces[key] = _Piece(routine, inputs, slopes)
        return self._pieces[key]

    def network_routine(self, *, jacobian: bool) -> Routine:
        """The routine of the residual."""
        if self.network is None:
            raise ValueError("program: it has a network, so the printer needs one too")
        made = self.network.print_jacobian() if jacobian else self.network.print_values()
        return self.routines.setdefault(made.name, made)


class _Body:
    """One public routine while it is printed."""

    def __init__(self, printer: SourcePrinter, program: Program, *, tangents: bool) -> None:
        self.printer, self.program, self.p = printer, program, printer.prefix
        self.lines: list[str] = []
        self.cost, self.callee, self.slope_room = Cost(), 0, 0
        self.values, self.ways = Buffers(), Buffers()
        self.value: dict[int, int] = {}  # node → start in v
        self.way: dict[int, int] = {}  # node → start of its tangent in t
        sizes = {n.name: n.size for n in program.nodes if isinstance(n, Input)}
        self.width = sizes["x"] + sizes["u"] if tangents else 0

    def routine(self, name: str, outputs: Sequence[str], finish: Finish) -> Routine:
        program, last = self.program, self.program.last_use
        if self.width:
            self._seed()
        for number, node in enumerate(program.nodes):
            match node:
                case Input():
                    continue
                case Combine():
                    self._combine(number, node)
                case Call():
                    self._call(number, node)
                case Network():
                    self._network(number, node)
            for k in {number, *node.arguments}:
                if last[k] <= number:
                    self._free(k)
        results = [self._place(k) for k in program.results]
        ways = [at("t", self.way[k]) if k in self.way else None for k in program.results]
        closing = finish(results, ways)
        kind = REAL[self.printer.dtype]
        rooms = {"v": self.values.size, "t": self.ways.size, "s": self.slope_room}
        declared = [f"{kind} {array}[{size}];" for array, size in rooms.items() if size]
        unused = [f"(void){name};" for name in ("x", "u", "p", "d", *outputs)]
        body = "".join(f"    {t}\n" for t in [*declared, " ".join(unused), *self.lines, *closing])
        head = [f"const {kind} *{a}" for a in "xupd"] + [f"{kind} *{a}" for a in outputs]
        text = f"{signature(name, head)}\n{{\n{body}}}\n"
        stack = sum(rooms.values()) * BYTES[self.printer.dtype] + self.callee
        return Routine(name, text, self.cost, stack)

    # -- statements -------------------------------------------------------------------------------

    def _seed(self) -> None:
        """Ẋ = (I 0) and U̇ = (0 I), one below the other."""
        n, start = self.width, self.ways.take(self.width**2)
        self.lines.append(f"for (int i = 0; i < {n * n}; i++) t[i] = 0;")
        self.lines.append(f"for (int i = 0; i < {n}; i++) t[i * {n + 1}] = 1;")
        for number, node in enumerate(self.program.nodes):
            if isinstance(node, Input) and node.name in ("x", "u") and node.size:
                self.way[number] = start
                start += node.size * n

    def _combine(self, number: int, node: Combine) -> None:
        y, n = self._new(number), self.width
        terms = [
            self._scaled(c, element(self._place(k), "i"), "i")
            for c, k in zip(node.coefficients, node.arguments, strict=True)
        ]
        self._sum(y, terms, node.size)
        self.cost += Cost(node.size * (2 * len(terms) - 1))
        moving = [
            (c, self.way[k])
            for c, k in zip(node.coefficients, node.arguments, strict=True)
            if k in self.way
        ]
        if moving:
            to = self._new_way(number)
            terms = [self._scaled(c, element(at("t", a), "i"), f"i / {n}") for c, a in moving]
            self._sum(to, terms, node.size * n)
            self.cost += Cost(node.size * n * (2 * len(terms) - 1))

    def _scaled(self, c: float | tuple[float, ...], text: str, row: str) -> str:
        if c == 1:
            return text
        if isinstance(c, tuple):
            return f"{self.printer.arrays.numbers(np.array(c))}[{row}] * {text}"
        return f"{literal(c, self.printer.dtype)} * {text}"

    def _call(self, number: int, node: Call) -> None:
        moving = tuple(k for k, a in enumerate(node.arguments) if a in self.way)
        piece = self.printer.piece(node, moving)
        y = self._new(number)
        starts, room = [], 0
        for _, rows, _ in piece.slopes:
            starts.append(at("s", room))
            room += len(rows)
        self.slope_room = max(self.slope_room, room)
        arguments = [self._place(node.arguments[k]) for k in piece.inputs]
        self._run(piece.routine, *arguments, y, *starts)
        if not room:
            return
        to = self._zeroed_way(number)
        for start, (k, rows, columns) in zip(starts, piece.slopes, strict=True):
            where = (self.printer.arrays.indices(rows), self.printer.arrays.indices(columns))
            arguments = [str(len(rows)), str(self.width), *where, start]
            way = at("t", self.way[node.arguments[k]])
            self.lines.append(f"{self.p}_chain({', '.join([*arguments, way, to])});")
            self.cost += Cost(2 * len(rows) * self.width)

    def _network(self, number: int, node: Network) -> None:
        [z], y = node.arguments, self._new(number)
        inputs = self.program.nodes[z].size
        if z not in self.way:
            self._run(self.printer.network_routine(jacobian=False), self._place(z), y)
            return
        self._run(self.printer.network_routine(jacobian=True), self._place(z), y, "s")
        self.slope_room = max(self.slope_room, node.size * inputs)
        to, n = self._zeroed_way(number), self.width
        way = at("t", self.way[z])
        for i in range(node.size):
            arguments = f"{inputs}, {n}, {way}, {at('s', i * inputs)}, {at(to, i * n)}"
            self.lines.append(f"{self.p}_add_rows({arguments});")
        self.cost += Cost(2 * node.size * inputs * n)

    # -- places -----------------------------------------------------------------------------------

    def _place(self, number: int) -> str:
        node = self.program.nodes[number]
        return node.name if isinstance(node, Input) else at("v", self.value[number])

    def _new(self, number: int) -> str:
        self.value[number] = self.values.take(self.program.nodes[number].size)
        return at("v", self.value[number])

    def _new_way(self, number: int) -> str:
        self.way[number] = self.ways.take(self.program.nodes[number].size * self.width)
        return at("t", self.way[number])

    def _zeroed_way(self, number: int) -> str:
        to = self._new_way(number)
        self._loop(f"{element(to, 'i')} = 0;", self.program.nodes[number].size * self.width)
        return to

    def _free(self, number: int) -> None:
        size = self.program.nodes[number].size
        if number in self.value:
            self.values.give_back(self.value[number], size)
        if number in self.way:
            self.ways.give_back(self.way[number], size * self.width)

    def _sum(self, to: str, terms: Sequence[str], size: int) -> None:
        self.lines.append(f"for (int i = 0; i < {size}; i++)")
        self.lines.append(f"    {element(to, 'i')} = " + "\n            + ".join(terms) + ";")

    def _loop(self, text: str, size: int) -> None:
        self.lines.append(f"for (int i = 0; i < {size}; i++) {text}")

    def _run(self, routine: Routine, *arguments: str) -> None:
        self.lines.append(f"{routine.name}({', '.join(arguments)});")
        self.cost += routine.cost
        self.callee = max(self.callee, routine.stack)
