"""The code that computes a program and its derivatives at many nodes: lanes are nodes.

A tile of nodes goes forward and in reverse once; then direction by direction, see `tangent`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from llvmlite import ir

from hybridmodel.kernel.lanes import INDEX, POINTER, Lanes, Shape, Value
from hybridmodel.kernel.program import Code, Parts, Program
from hybridmodel.kernel.tangent import Tangents

Order = Literal[0, 1, 2]
_CHAINS = 8  # of a sum, so that the processor need not wait
# what a kernel is told; `groups` is where the engine looks for it
FIELDS = (
    *("nodes", "directions", "v", "groups", "next_group"),
    *("q", "multipliers", "weights"),  # v: x and u of each node, q: p and d
    *("x", "jacobian", "gradient", "hessian"),
)


def node_kernel(module: ir.Module, shape: Shape, name: str, program: Program, order: Order) -> int:
    """A function that computes values, with J from order 1, with g and H from order 2.

    Per node x (nx,), J by columns (n, nx), g (n,), H (n, n). Returns the rows of scratch memory.
    """
    k = _Nodes(module, shape, name, program, order)
    with k.tiles():
        k.gather("v", "w", k.n_varied)
        k.gather("q", "w", k.n - k.n_varied, k.n_varied)
        records = [k.row(f"record {i}") for i in range(len(program.calls))]
        bars = [k.row(f"bars {i}") for i in range(len(program.calls))] if order == 2 else []
        inputs = k.inputs("w")
        if order == 2:
            k.gather("multipliers", "multipliers", k.nx)
            seeds = {"x": k.row("multipliers")}
            found = program.reverse(
                k.lanes, k.code, inputs, seeds, records, bars, list(program.inputs)
            )
            k.put("gradient", [row for rows in found.values() for row in rows])
            k.scatter("gradient", "gradient", k.n, k.n, 0)
        else:
            k.put("x", program.forward(k.lanes, k.code, inputs, records)["x"])
            k.scatter("x", "x", k.nx, k.nx, 0)
        if order:
            with k.lanes.loop(k.values["directions"]) as (j, _, _):
                k.direction(j, records, bars)
        if order == 2:
            k.pairs()
            k.scatter("hessian", "hessian", k.n * k.n, k.n * k.n, 0)
    k.builder.ret_void()
    return k.rows


class _Nodes:
    """A function (fields, scratch) under construction."""

    def __init__(
        self, module: ir.Module, shape: Shape, name: str, program: Program, order: Order
    ) -> None:
        self.program, self.shape, self.module = program, shape, module
        self.sizes = program.sizes
        self.n, self.nx = sum(self.sizes.values()), self.sizes["x"]
        self.n_varied = self.nx + self.sizes["u"]
        self.tangents = Tangents(program, second=order == 2) if order else None
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER])
        self.function = ir.Function(module, kind, name)
        self.fields, self.scratch = self.function.args
        self.lanes = Lanes(module, ir.IRBuilder(self.function.append_basic_block("entry")), shape)
        self.builder = self.lanes.builder
        self.starts, self.rows = self._layout(order)
        self.values = {
            field: self.builder.load(self._field(field), typ=INDEX)
            for field in FIELDS
            if field != "next_group"
        }
        self.pointers = {
            field: self.builder.inttoptr(value, POINTER) for field, value in self.values.items()
        }

    def _layout(self, order: Order) -> tuple[dict[str, int], int]:
        n, nx, callees = self.n, self.nx, self.program.callees
        sizes = {"w": n, "x": nx}
        if order:
            sizes["dots"] = n
        for i, call in enumerate(self.program.calls):
            sizes[f"record {i}"] = callees[call.callee].rows
            if order == 2:
                sizes[f"bars {i}"] = callees[call.callee].rows
        for i, callee in enumerate(callees):
            if order:
                sizes[f"tangent {i}"] = callee.rows
        if order == 2:
            sizes |= {"multipliers": nx, "gradient": n, "hessian": n * n}
        if self.tangents:
            sizes["blocks"] = (n + 2 * self.tangents.bends) * n
        starts, at = {}, 0
        for key, size in sizes.items():
            starts[key] = at
            at += size
        return starts, at

    def _field(self, name: str) -> Value:
        place = self.lanes.index(FIELDS.index(name))
        return self.builder.gep(self.fields, [place], source_etype=INDEX)

    def row(self, name: str) -> Value:
        return self.lanes.at(self.scratch, self.starts[name])

    def inputs(self, name: str) -> dict[str, Value]:
        """Where each input of the program begins in rows of w."""
        found, at = {}, self.row(name)
        for key, size in self.sizes.items():
            found[key] = at
            at = self.lanes.at(at, size)
        return found

    def put(self, name: str, rows: Sequence[Parts]) -> None:
        memory = self.row(name)
        for i, parts in enumerate(rows):
            for part, value in enumerate(parts):
                self.lanes.store(value, memory, i, part)

    @contextmanager
    def tiles(self) -> Iterator[None]:
        """Tiles are taken in turn by whoever is free."""
        b = self.builder
        take, work, done = (self.function.append_basic_block(n) for n in ("take", "work", "done"))
        b.branch(take)
        b.position_at_end(take)
        tile = b.atomic_rmw("add", self._field("next_group"), self.lanes.index(1), "monotonic")
        b.cbranch(b.icmp_signed("<", tile, self.values["groups"]), work, done)
        b.position_at_end(work)
        weights = self.pointers["weights"]
        self.code = Code(self.module, self.shape, self.program, weights, weights)
        self.first = self.lanes.times(tile, self.shape.lanes)
        yield
        b.branch(take)
        b.position_at_end(done)

    def gather(self, field: str, name: str, count: int, after: int = 0) -> None:
        """Rows of a tile from memory, `count` numbers a node."""
        self._move("gather", field, self.lanes.at(self.row(name), after), count, count, 0)

    def scatter(self, name: str, field: str, count: int, stride: int, offset: Value | int) -> None:
        """Rows of a tile to memory: number i of node c goes to c · stride + offset + i."""
        self._move("scatter", field, self.row(name), count, stride, offset)

    def _move(
        self, verb: str, field: str, rows: Value, count: int, stride: int, offset: Value | int
    ) -> None:
        if not count:
            return
        index = self.lanes.index
        memory = self.lanes.place(self.pointers[field], offset)
        given = [memory, index(stride), self.first, self.values["nodes"], index(count), rows]
        self.builder.call(self._mover(verb), given)

    def _mover(self, verb: str) -> ir.Function:
        """gather or scatter (memory, stride, first, nodes, count, rows); spare lanes repeat one."""
        known = self.module.globals.get(verb)
        if known is not None:
            return known
        kinds = [POINTER, INDEX, INDEX, INDEX, INDEX, POINTER]
        made = ir.Function(self.module, ir.FunctionType(ir.VoidType(), kinds), verb)
        made.linkage = "internal"
        memory, stride, first, nodes, count, rows = made.args
        lanes = Lanes(self.module, ir.IRBuilder(made.append_basic_block("entry")), self.shape)
        b = lanes.builder
        left, whole = b.sub(nodes, first), lanes.index(self.shape.lanes)
        inside = b.select(b.icmp_signed("<", left, whole), left, whole)
        last = b.sub(inside, lanes.index(1))
        with lanes.loop(whole if verb == "gather" else inside) as (lane, _, _):
            own = b.select(b.icmp_signed("<", lane, last), lane, last)
            here = lanes.place(memory, b.mul(b.add(first, own), stride))
            with lanes.loop(count) as (i, _, _):
                outside = lanes.place(here, i)
                within = lanes.place(rows, b.add(lanes.times(i, self.shape.lanes), lane))
                source, target = (outside, within) if verb == "gather" else (within, outside)
                b.store(b.load(source, typ=lanes.real), target)
        b.ret_void()
        return made

    # -- derivatives ----------------------------------------------------------------------------

    def _block(self, j: Value) -> Value:
        assert self.tangents is not None
        return self.lanes.at(self.row("blocks"), self.lanes.times(j, self._block_rows))

    @property
    def _block_rows(self) -> int:
        assert self.tangents is not None
        return self.n + 2 * self.tangents.bends

    def direction(self, j: Value, records: Sequence[Value], bars: Sequence[Value]) -> None:
        """Column j of J, and what it leaves for H."""
        assert self.tangents is not None
        lanes, b = self.lanes, self.builder
        one, zero = ir.Constant(lanes.real, 1.0), ir.Constant(lanes.real, 0.0)
        for i in range(self.n):
            seed = b.select(b.icmp_signed("==", j, lanes.index(i)), one, zero)
            for part in range(self.shape.span):
                lanes.store(lanes.everywhere(seed), self.row("dots"), i, part)
        found = self.tangents.emit(
            lanes,
            self.code,
            list(self.inputs("w").values()),
            list(self.inputs("dots").values()),
            records,
            [self.row(f"tangent {c.callee}") for c in self.program.calls],
            bars,
            self.row("multipliers") if bars or self.tangents.second else self.scratch,
            self._block(j),
        )
        self.put("x", found)
        self.scatter("x", "jacobian", self.nx, self.n * self.nx, lanes.times(j, self.nx))

    def pairs(self) -> None:
        """H from the blocks of all directions, whose own part is (∂²L ẇ) of the scalar graph."""
        assert self.tangents is not None
        lanes, b, count = self.lanes, self.builder, self.tangents.bends
        hessian = self.row("hessian")
        with lanes.loop(self.values["directions"]) as (j, _, _):
            own = self._block(j)
            left = lanes.at(own, self.n)
            with lanes.loop(b.add(j, lanes.index(1))) as (i, _, _):
                right = lanes.at(self._block(i), self.n + count)
                for part in range(self.shape.span):
                    total = lanes.load(lanes.at(own, i), 0, part)
                    total = lanes.add(total, self._inner(left, right, count, part))
                    for row, column in ((j, i), (i, j)):
                        place = b.add(lanes.times(row, self.n), column)
                        lanes.store(total, lanes.at(hessian, place), 0, part)

    def _inner(self, left: Value, right: Value, count: int, part: int) -> Value:
        """Σ left · right over rows, in chains that do not wait for each other."""
        lanes = self.lanes

        def add(total: Value, a: Value, c: Value, row: int) -> Value:
            return lanes.fma(lanes.load(a, row, part), lanes.load(c, row, part), total)

        sums = [lanes.constant(0.0)] * _CHAINS
        whole, rest = divmod(count, _CHAINS)
        if whole:
            with lanes.loop(whole, sums) as (block, carried, out):
                a, c = (lanes.at(m, lanes.times(block, _CHAINS)) for m in (left, right))
                out += [add(total, a, c, row) for row, total in enumerate(carried)]
            sums = out
        for row in range(rest):
            sums[row] = add(sums[row], left, right, whole * _CHAINS + row)
        while len(sums) > 1:
            sums = [lanes.add(*pair) for pair in zip(sums[::2], sums[1::2], strict=True)]
        return sums[0]
