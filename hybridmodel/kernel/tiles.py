"""A kernel under construction: its fields, its scratch memory, and its loop over tiles.

A tile is `lanes` candidates. Rows of scratch memory hold one number of each of them; `gather` and
`scatter` carry rows from and to memory as torch has it, candidate by candidate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from hybridmodel.kernel.lanes import INDEX, POINTER, Lanes, Shape, Value
from hybridmodel.kernel.program import Code, Parts, Program

# what a kernel is told: whole numbers and addresses, one word each
FIELDS = (
    "candidates",
    "horizon",
    "tiles",  # of a group; a group is done by one thread from its first tile to its last
    "groups",
    "next_group",  # counted up by the threads
    *("x0", "x0_stride"),  # strides are in numbers, 0 where all candidates share them
    *("u", "u_stride", "u_step"),
    *("p", "p_stride"),
    *("d", "d_stride", "d_step"),
    "weights",
    *("x", "cost", "violation"),  # results, or what is known of them in a reverse sweep
    *("x_bar", "cost_bar", "violation_bar"),
    *("x0_gradient", "u_gradient", "p_gradient", "d_gradient", "weights_gradient"),
)


@dataclass(frozen=True)
class Layout:
    """Where things are in the scratch memory of a thread, in rows; states come last."""

    starts: Mapping[str, int]
    rows: int  # without the states

    @classmethod
    def of(cls, sizes: Mapping[str, int]) -> Layout:
        starts, at = {}, 0
        for name, size in sizes.items():
            starts[name] = at
            at += size
        return cls(starts, at)


def layout(program: Program, terminal: Program | None, *, reverse: bool) -> Layout:
    """Rows for a step: what it reads, its totals, and the records of its calls or of the end's."""
    sizes = {"x": 0, "u": 0, "p": 0, "d": 0, "k": 1, **program.sizes}
    given = {**sizes, "cost": 1, "violation": 1, "gamma": 1}
    if reverse:
        given |= {f"{name}_bar": size for name, size in sizes.items()}
        given |= {"cost_bar": 1, "violation_bar": 1, "cost_seed": 1}
    for i, callee in enumerate(program.callees):
        sites = [len(p.sites(i)) for p in (program, terminal) if p is not None]
        count = max(sites) if reverse else 1
        given[f"record {i}"] = callee.rows * count
        if reverse:
            given[f"bars {i}"] = callee.rows * count
            given[f"turned {i}"] = callee.turned * count
    return Layout.of(given)


class Tiles:
    """A function (fields, scratch) under construction."""

    def __init__(
        self, module: ir.Module, shape: Shape, name: str, program: Program, layout: Layout
    ) -> None:
        self.program, self.layout, self.shape = program, layout, shape
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER])
        self.function = ir.Function(module, kind, name)
        self.fields, self.scratch = self.function.args
        self.lanes = Lanes(module, ir.IRBuilder(self.function.append_basic_block("entry")), shape)
        self.builder = self.lanes.builder
        self.module = module
        self.sizes = program.sizes
        self.values = {
            field: self.builder.load(self._field(field), typ=INDEX)
            for field in FIELDS
            if field != "next_group"
        }
        self.pointers = {
            field: self.builder.inttoptr(value, POINTER) for field, value in self.values.items()
        }

    # -- memory ---------------------------------------------------------------------------------

    def _field(self, name: str) -> Value:
        return self.builder.gep(
            self.fields, [self.lanes.index(FIELDS.index(name))], source_etype=INDEX
        )

    def row_at(self, row: Value | int) -> Value:
        return self.lanes.at(self.scratch, row)

    def row(self, name: str) -> Value:
        return self.row_at(self.layout.starts[name])

    def times(self, field: str, count: int) -> Value:
        return self.lanes.times(self.values[field], count)

    def put(self, name: str, rows: Sequence[Parts]) -> None:
        memory = self.row(name)
        for i, parts in enumerate(rows):
            for part, value in enumerate(parts):
                self.lanes.store(value, memory, i, part)

    def rows_of(self, name: str, count: int) -> list[Parts]:
        memory, span = self.row(name), range(self.shape.span)
        return [[self.lanes.load(memory, i, p) for p in span] for i in range(count)]

    @contextmanager
    def tiles(self) -> Iterator[None]:
        """Groups are taken in turn by whoever is free, tiles of a group in order."""
        b = self.builder
        take, work, done = (self.function.append_basic_block(n) for n in ("take", "work", "done"))
        b.branch(take)
        b.position_at_end(take)
        group = b.atomic_rmw("add", self._field("next_group"), self.lanes.index(1), "monotonic")
        b.cbranch(b.icmp_signed("<", group, self.values["groups"]), work, done)
        b.position_at_end(work)
        size = self.lanes.times(group, self.program.gradient_starts[-1])
        self.gradient = self.lanes.place(self.pointers["weights_gradient"], size)
        self.code = Code(
            self.module, self.shape, self.program, self.pointers["weights"], self.gradient
        )
        before = b.mul(group, self.values["tiles"])
        lanes = self.lanes.index(self.shape.lanes)
        total = b.udiv(
            b.add(self.values["candidates"], self.lanes.index(self.shape.lanes - 1)), lanes
        )
        left = b.sub(total, before)
        own = b.select(b.icmp_signed("<", left, self.values["tiles"]), left, self.values["tiles"])
        with self.lanes.loop(own) as (i, _, _):
            self.first = self.lanes.times(b.add(before, i), self.shape.lanes)
            yield
        b.branch(take)
        b.position_at_end(done)

    def finish(self) -> None:
        self.builder.ret_void()

    def where_given(self, field: str) -> AbstractContextManager[Any]:
        """Code that runs where a field's address is not 0."""
        given = self.builder.icmp_signed("!=", self.values[field], self.lanes.index(0))
        return self.builder.if_then(given)

    def gather(self, name: str, field: str, count: int, offset: Value | int) -> None:
        """Rows of a tile from memory: number i of candidate c is at c · stride + offset + i."""
        if not count:
            return
        stride = self.values.get(f"{field}_stride", self.lanes.index(count))
        self.move("gather", name, field, count, stride, offset)

    def scatter(self, name: str, field: str, steps: Value, offset: Value | int) -> None:
        """Rows of a tile to memory, (steps + 1, nx) numbers a candidate."""
        count = self.sizes["x"]
        stride = self.lanes.times(self.builder.add(steps, self.lanes.index(1)), count)
        self.move("scatter", name, field, count, stride, offset)

    def scatter_total(self, name: str, field: str) -> None:
        self.move("scatter", name, field, 1, self.lanes.index(1), 0)

    def move(
        self, verb: str, name: str, field: str, count: int, stride: Value, offset: Value | int
    ) -> None:
        offset = self.lanes.index(offset) if isinstance(offset, int) else offset
        memory = self.lanes.place(self.pointers[field], offset)
        function = self._mover(verb)
        given = (
            memory,
            stride,
            self.first,
            self.values["candidates"],
            self.lanes.index(count),
            self.row(name),
        )
        self.builder.call(function, given)

    def _mover(self, verb: str) -> ir.Function:
        """gather, gather_bars or scatter (memory, stride, first, candidates, count, rows)."""
        known = self.module.globals.get(verb)
        if known is not None:
            return known
        kinds = [POINTER, INDEX, INDEX, INDEX, INDEX, POINTER]
        made = ir.Function(self.module, ir.FunctionType(ir.VoidType(), kinds), verb)
        made.linkage = "internal"
        memory, stride, first, candidates, count, rows = made.args
        lanes = Lanes(self.module, ir.IRBuilder(made.append_basic_block("entry")), self.shape)
        b = lanes.builder
        left = b.sub(candidates, first)
        whole = lanes.index(self.shape.lanes)
        inside = b.select(b.icmp_signed("<", left, whole), left, whole)
        if verb == "gather_bars":  # lanes beyond the last candidate must not count
            with lanes.loop(count) as (i, _, _):
                for part in range(self.shape.span):
                    lanes.store(lanes.constant(0.0), lanes.at(rows, i), 0, part)
        # and where it is no bar, they compute with its numbers and are not written
        with lanes.loop(whole if verb == "gather" else inside) as (lane, _, _):
            last = b.sub(inside, lanes.index(1))
            own = b.select(b.icmp_signed("<", lane, last), lane, last)
            here = lanes.place(memory, b.mul(b.add(first, own), stride))
            with lanes.loop(count) as (i, _, _):
                outside = lanes.place(here, i)
                within = lanes.place(rows, b.add(lanes.times(i, self.shape.lanes), lane))
                source, target = (within, outside) if verb == "scatter" else (outside, within)
                b.store(b.load(source, typ=lanes.real), target)
        b.ret_void()
        return made

    # -- a step ---------------------------------------------------------------------------------

    def gather_start(self) -> None:
        self.gather("x", "x0", self.sizes["x"], 0)
        self.gather("p", "p", self.sizes["p"], 0)

    def gather_step(self, k: Value) -> None:
        for name in ("u", "d"):
            offset = self.builder.mul(k, self.values[f"{name}_step"])
            self.gather(name, name, self.sizes[name], offset)
        if "k" in self.sizes:
            step = self.lanes.everywhere(self.builder.sitofp(k, self.lanes.real))
            self.put("k", [[step] * self.shape.span])

    def inputs(self, program: Program) -> dict[str, Value]:
        return {name: self.row(name) for name in program.inputs}

    def records(self, program: Program, kind: str, *, reverse: bool) -> list[Value]:
        """Memory of each call; in a forward sweep those of one callee share it."""
        places = []
        for i, call in enumerate(program.calls):
            start = self.layout.starts[f"{kind} {call.callee}"]
            site = program.sites(call.callee).index(i) if reverse else 0
            places.append(self.row_at(start + site * program.callees[call.callee].rows))
        return places

    def zero(self, name: str, count: int = 1, value: float = 0.0) -> None:
        self.put(name, [[self.lanes.constant(value)] * self.shape.span] * count)

    def copy(self, source: Value, target: Value, rows: int) -> None:
        for i in range(rows):
            for p in range(self.shape.span):
                self.lanes.store(self.lanes.load(source, i, p), target, i, p)
