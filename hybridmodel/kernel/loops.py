"""The loops around a step: over tiles of candidates, and over the horizon within a tile.

A tile is taken from memory as torch has it (candidate by candidate), carried over the whole
horizon in the same few rows of scratch memory, and written back. In a reverse sweep the states
of all steps are kept, everything else is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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
class Objective:
    """Σ γᵏ ℓ over the horizon and γᴴ V at its end.

    terminal   V: inputs x, p, d, outputs cost and violation
    """

    terminal: Program
    discount: float


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


def layout(program: Program, *, reverse: bool) -> Layout:
    """Rows for a step: what it reads, its totals, and the records of its calls."""
    sizes = {name: symbol.shape[0] for name, symbol in program.inputs.items()}
    sizes = {"x": 0, "u": 0, "p": 0, "d": 0, "k": 1} | sizes
    given = {**sizes, "cost": 1, "violation": 1, "gamma": 1}
    if reverse:
        given |= {f"{name}_bar": size for name, size in sizes.items()}
        given |= {"cost_bar": 1, "violation_bar": 1, "cost_seed": 1}
    for i, callee in enumerate(program.callees):
        count = len(program.sites(i)) if reverse else 1
        given[f"record {i}"] = callee.rows * count
        if reverse:
            given[f"bars {i}"] = callee.rows * count
            given[f"turned {i}"] = callee.turned * count
    return Layout.of(given)


def forward_kernel(
    module: ir.Module,
    shape: Shape,
    name: str,
    program: Program,
    objective: Objective | None,
) -> None:
    """Rollouts: writes x (B, H+1, nx), or with an objective cost (B,) and violation (B,)."""
    k = _Kernel(module, shape, name, program, layout(program, reverse=False))
    with k.tiles():
        k.gather_start()
        if objective is None:
            k.scatter("x", "x", k.times("horizon", 1), 0)
        k.run_forward(objective, states=None, write=objective is None)
        if objective is not None:
            for total in ("cost", "violation"):
                k.scatter_total(total, total)
    k.finish()


def reverse_kernel(
    module: ir.Module,
    shape: Shape,
    name: str,
    program: Program,
    objective: Objective | None,
    wanted: frozenset[str],
) -> None:
    """Gradients of a rollout from x_bar (B, H+1, nx) at given x, or of an objective.

    wanted   of "x0", "u", "p", "d", "weights"
    """
    k = _Kernel(module, shape, name, program, layout(program, reverse=True))
    with k.tiles():
        k.gather_start()
        if objective is not None:
            k.run_forward(objective, states=k.row_at(k.layout.rows), write=False)
            for total in ("cost_bar", "violation_bar"):
                k.move("gather_bars", total, total, 1, k.lanes.index(1), 0)
        k.run_reverse(objective, wanted)
    k.finish()


class _Kernel:
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
        self.sizes = {n: s.shape[0] for n, s in program.inputs.items()}
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

    # -- the horizon ----------------------------------------------------------------------------

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

    def records(self, kind: str, *, reverse: bool) -> list[Value]:
        """Memory of each call; in a forward sweep those of one callee share it."""
        places = []
        for i, call in enumerate(self.program.calls):
            start = self.layout.starts[f"{kind} {call.callee}"]
            site = self.program.sites(call.callee).index(i) if reverse else 0
            places.append(self.row_at(start + site * self.program.callees[call.callee].rows))
        return places

    def zero(self, name: str, count: int = 1, value: float = 0.0) -> None:
        self.put(name, [[self.lanes.constant(value)] * self.shape.span] * count)

    def run_forward(
        self, objective: Objective | None, *, states: Value | None, write: bool
    ) -> None:
        """All steps from x; `states` is memory that keeps the state before each."""
        nx, reverse = self.sizes["x"], states is not None
        if objective is not None:
            self.zero("cost")
            self.zero("violation")
            self.zero("gamma", value=1.0)
        records = self.records("record", reverse=reverse)
        with self.lanes.loop(self.values["horizon"]) as (k, _, _):
            self.gather_step(k)
            if states is not None:
                self._copy(self.row("x"), self.lanes.at(states, self.lanes.times(k, nx)), nx)
            found = self.program.forward(self.lanes, self.code, self.inputs(self.program), records)
            self.put("x", found["x"])
            if objective is not None:
                self._accumulate(found, objective.discount)
            if write:
                after = self.builder.add(k, self.lanes.index(1))
                offset = self.lanes.times(after, nx)
                self.scatter("x", "x", self.values["horizon"], offset)
        if objective is not None:
            self._gather_last()
            program = objective.terminal
            found = program.forward(self.lanes, self.code, self.inputs(program), [])
            self._accumulate(found, 1.0)

    def _gather_last(self) -> None:
        offset = self.builder.mul(self.values["horizon"], self.values["d_step"])
        self.gather("d", "d", self.sizes["d"], offset)

    def _accumulate(self, found: Mapping[str, list[Parts]], discount: float) -> None:
        lanes = self.lanes
        (gamma,), (cost,), (violation,) = (
            self.rows_of(name, 1) for name in ("gamma", "cost", "violation")
        )
        stage, overstepped = found["cost"][0], found["violation"][0]
        cost = [lanes.add(c, lanes.mul(g, s)) for c, g, s in zip(cost, gamma, stage, strict=True)]
        total = [lanes.add(v, o) for v, o in zip(violation, overstepped, strict=True)]
        self.put("cost", [cost])
        self.put("violation", [total])
        if discount != 1.0:
            self.put("gamma", [[lanes.mul(g, lanes.constant(discount)) for g in gamma]])

    def _copy(self, source: Value, target: Value, rows: int) -> None:
        for i in range(rows):
            for p in range(self.shape.span):
                self.lanes.store(self.lanes.load(source, i, p), target, i, p)

    def run_reverse(self, objective: Objective | None, wanted: frozenset[str]) -> None:
        lanes, nx = self.lanes, self.sizes["x"]
        horizon = self.values["horizon"]
        names = ["x", *(n for n in ("u", "p", "d") if n in wanted and self.sizes[n])]
        self.zero("x_bar", nx)
        self.zero("p_bar", self.sizes["p"])
        states = self.row_at(self.layout.rows)
        # a rollout has signals of H steps, an objective those of the last state too
        signals = horizon if objective is None else self.builder.add(horizon, lanes.index(1))
        if objective is not None:
            self._seed()
            program = objective.terminal
            bars = {"cost": self.row("cost_seed"), "violation": self.row("violation_bar")}
            found = program.reverse(
                lanes, self.code, self.inputs(program), bars, [], [], [n for n in names if n != "u"]
            )
            self._add_bars(found)
            if "d" in names:
                self._write_step("d", found["d"], horizon, signals)
        else:
            self._add_outer(horizon)
        with lanes.loop(horizon, down=True) as (k, _, _):
            self.gather_step(k)
            if objective is None:
                stride = lanes.times(self.builder.add(horizon, lanes.index(1)), nx)
                self.move("gather", "x", "x", nx, stride, lanes.times(k, nx))
            else:
                self._copy(lanes.at(states, lanes.times(k, nx)), self.row("x"), nx)
                self._discount(objective.discount)
            bars = {"x": self.row("x_bar")}
            if objective is not None:
                bars |= {"cost": self.row("cost_seed"), "violation": self.row("violation_bar")}
            found = self.program.reverse(
                lanes,
                self.code,
                self.inputs(self.program),
                bars,
                self.records("record", reverse=True),
                self.records("bars", reverse=True),
                names,
            )
            if "weights" in wanted:
                for i in range(len(self.program.callees)):
                    places = (self.row(f"{kind} {i}") for kind in ("record", "bars", "turned"))
                    self.code.gradient(lanes, i, *places)
            self.zero("x_bar", nx)
            self._add_bars(found)
            for name, steps in {"u": horizon, "d": signals}.items():
                if name in names:
                    self._write_step(name, found[name], k, steps)
            if objective is None:
                self._add_outer(k)
        if "x0" in wanted:
            self.move("scatter", "x_bar", "x0_gradient", nx, lanes.index(nx), 0)
        if "p" in names:
            count = self.sizes["p"]
            self.move("scatter", "p_bar", "p_gradient", count, lanes.index(count), 0)

    def _seed(self) -> None:
        """Bar of the terminal cost: γᴴ times that of the cost."""
        (gamma,), (bar,) = self.rows_of("gamma", 1), self.rows_of("cost_bar", 1)
        seed = [self.lanes.mul(g, b) for g, b in zip(gamma, bar, strict=True)]
        self.put("cost_seed", [seed])

    def _discount(self, discount: float) -> None:
        """One step back: γ⁻¹ times the seed."""
        if discount == 1.0:
            return
        (seed,) = self.rows_of("cost_seed", 1)
        factor = self.lanes.constant(1.0 / discount)
        self.put("cost_seed", [[self.lanes.mul(s, factor) for s in seed]])

    def _add_bars(self, found: Mapping[str, list[Parts]]) -> None:
        for name in ("x", "p"):
            if name in found:
                before = self.rows_of(f"{name}_bar", len(found[name]))
                self.put(
                    f"{name}_bar",
                    [
                        [self.lanes.add(a, b) for a, b in zip(old, new, strict=True)]
                        for old, new in zip(before, found[name], strict=True)
                    ],
                )

    def _add_outer(self, k: Value) -> None:
        """Adds the bar that the caller gives for state k."""
        nx = self.sizes["x"]
        stride = self.lanes.times(self.builder.add(self.values["horizon"], self.lanes.index(1)), nx)
        self.move("gather_bars", "x", "x_bar", nx, stride, self.lanes.times(k, nx))
        given, own = self.rows_of("x", nx), self.rows_of("x_bar", nx)
        self.put(
            "x_bar",
            [
                [self.lanes.add(a, b) for a, b in zip(old, new, strict=True)]
                for old, new in zip(own, given, strict=True)
            ],
        )

    def _write_step(self, name: str, rows: Sequence[Parts], k: Value, steps: Value) -> None:
        """Gradient of a signal at step k of so many."""
        count = self.sizes[name]
        self.put(f"{name}_bar", rows)
        stride = self.lanes.times(steps, count)
        offset = self.lanes.times(k, count)
        self.move("scatter", f"{name}_bar", f"{name}_gradient", count, stride, offset)
