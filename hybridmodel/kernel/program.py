"""One step as scalar operations with calls between them, forward and reverse.

A step is traced once on SX symbols, by the same `equations.step` that torch and CasADi run:
where it meets a network, or a scalar function too large to be written out, a call is cut out and
its results become symbols. What is left is one SX graph G, and its reverse is CasADi's own:

    G: (inputs, results of calls) ↦ (arguments of calls, outputs)
    G': (inputs, results, bars of outputs, bars of arguments) ↦ (bars of results, bars of inputs)

Values are computed when a call or an output first needs them, so the order of calls orders all.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import casadi as ca
import numpy as np
from llvmlite import ir

from hybridmodel.kernel.callees import Callee, Curvature, Gradient, routine
from hybridmodel.kernel.lanes import Lanes, Shape, Value
from hybridmodel.kernel.scalars import Argument, Scalars

Parts = list[Value]  # a vector for each part of a row


@dataclass(frozen=True)
class Call:
    """A call that was cut out: of which callee, with what arguments, and the symbols it gives."""

    callee: int
    arguments: ca.SX
    results: ca.SX


@dataclass(frozen=True)
class Program:
    """G with its calls, and what it is made of.

    inputs, outputs   by name, columns of SX
    callees           the code that is called; `starts` tells where the weights of each begin
    """

    inputs: Mapping[str, ca.SX]
    outputs: Mapping[str, ca.SX]
    calls: tuple[Call, ...] = ()
    callees: tuple[Callee, ...] = field(default=(), compare=False)

    @functools.cached_property
    def sizes(self) -> Mapping[str, int]:
        """Rows of each input."""
        return {name: symbol.shape[0] for name, symbol in self.inputs.items()}

    @functools.cached_property
    def identity(self) -> str:
        """A digest of all that its code depends on: other programs with the same share it."""
        given = [*self.inputs.values(), *(c.results for c in self.calls)]
        found = [*(c.arguments for c in self.calls), *self.outputs.values()]
        graph = ca.Function("step", given, found).serialize()
        names = [*self.inputs], [*self.outputs], [c.callee for c in self.calls]
        parts = names, graph, [callee.identity for callee in self.callees]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def starts(self) -> list[int]:
        """Where the weights of each callee begin."""
        return [0, *accumulate(callee.n_weights for callee in self.callees)]

    @property
    def gradient_starts(self) -> list[int]:
        """Where the gradient in the weights of each callee begins."""
        return [0, *accumulate(callee.n_gradient for callee in self.callees)]

    def collected(self, gradient: np.ndarray, width: int) -> np.ndarray:
        """The gradient in all weights from its numbers as the code lays them out."""
        parts = np.split(gradient, self.gradient_starts[1:-1])
        pairs = zip(self.callees, parts, strict=True)
        return np.concatenate([callee.collected(part, width) for callee, part in pairs])

    @functools.cached_property
    def work(self) -> int:
        """Operations on vectors of a step, roughly, for each part of a row."""
        given = [*self.inputs.values(), *(c.results for c in self.calls)]
        found = [*(c.arguments for c in self.calls), *self.outputs.values()]
        own = ca.Function("step", given, [ca.vertcat(*found)]).n_instructions()
        return own + sum(self.callees[call.callee].work for call in self.calls)

    def sites(self, callee: int) -> list[int]:
        """The calls of a callee."""
        return [i for i, call in enumerate(self.calls) if call.callee == callee]

    def forward(
        self, lanes: Lanes, code: Code, inputs: Mapping[str, Value], records: Sequence[Value]
    ) -> dict[str, list[Parts]]:
        """Code for a step: rows of each output; inputs are rows of memory, records one a call."""
        given = [*self.inputs.values(), *(c.results for c in self.calls)]
        found = [*(c.arguments for c in self.calls), *self.outputs.values()]
        graph = _graph("step", given, found)
        run = Run(lanes, graph, [inputs[name] for name in self.inputs])
        for i, call in enumerate(self.calls):
            run.store(i, records[i])
            code.forward(lanes, call.callee, records[i])
            run.take(len(self.inputs) + i, self._result(call, lanes, records[i]))
        start = len(self.calls)
        return {name: run.rows(start + i) for i, name in enumerate(self.outputs)}

    def reverse(
        self,
        lanes: Lanes,
        code: Code,
        inputs: Mapping[str, Value],
        output_bars: Mapping[str, Value],
        records: Sequence[Value],
        bars: Sequence[Value],
        wanted: Sequence[str],
    ) -> dict[str, list[Parts]]:
        """Code for the step and its reverse: rows of the bar of each wanted input.

        The calls' records and bars stay filled, for the gradient in the weights.
        """
        calls, names = self.calls, list(self.inputs)
        output_seeds = {n: ca.SX.sym(f"{n}_bar", y.shape[0]) for n, y in self.outputs.items()}
        call_seeds = [
            ca.SX.sym(f"argument_bar_{i}", c.arguments.shape[0]) for i, c in enumerate(calls)
        ]
        results = [c.results for c in calls]
        given = [*self.inputs.values(), *results]
        values = ca.vertcat(*(c.arguments for c in calls), *self.outputs.values())
        seeds = ca.vertcat(*call_seeds, *output_seeds.values())
        slopes = ca.jtimes(values, ca.vertcat(*given), seeds, True)
        cut, at = [], 0
        for symbol in given:
            cut.append(ca.densify(slopes[at : at + symbol.shape[0]]))
            at += symbol.shape[0]
        input_bars = dict(zip(names, cut[: len(names)], strict=True))
        result_bars = cut[len(names) :]
        graph = _graph(
            "reverse",
            [*given, *output_seeds.values(), *call_seeds],
            [*(c.arguments for c in calls), *result_bars, *(input_bars[n] for n in wanted)],
        )
        run = Run(lanes, graph, [inputs[name] for name in names])
        for i, call in enumerate(calls):
            run.store(i, records[i])
            code.forward(lanes, call.callee, records[i])
            run.take(len(names) + i, self._result(call, lanes, records[i]))
        first = len(given)
        for i, name in enumerate(output_seeds):
            run.take(first + i, output_bars[name])
        for i in reversed(range(len(calls))):
            run.store(len(calls) + i, self._result(calls[i], lanes, bars[i]))
            code.reverse(lanes, calls[i].callee, records[i], bars[i])
            run.take(first + len(output_seeds) + i, bars[i])
        return {name: run.rows(2 * len(calls) + i) for i, name in enumerate(wanted)}

    def _result(self, call: Call, lanes: Lanes, record: Value) -> Value:
        return lanes.at(record, self.callees[call.callee].result)


class Code:
    """The callees of a program as functions of one module; each is made when first called."""

    def __init__(
        self, module: ir.Module, shape: Shape, program: Program, weights: Value, gradient: Value
    ) -> None:
        self.module, self.shape, self.program = module, shape, program
        self.weights, self.gradient_at = weights, gradient

    def _own(self, lanes: Lanes, callee: int) -> Value:
        return lanes.place(self.weights, self.program.starts[callee])

    def forward(self, lanes: Lanes, callee: int, record: Value) -> None:
        made = self.program.callees[callee]
        function = self._function(
            f"forward_{callee}", 2, lambda own, args: made.forward(own, args[0], args[1])
        )
        lanes.builder.call(function, [record, self._own(lanes, callee)])

    def reverse(self, lanes: Lanes, callee: int, record: Value, bars: Value) -> None:
        made = self.program.callees[callee]
        function = self._function(
            f"reverse_{callee}", 3, lambda own, args: made.reverse(own, args[0], args[1], args[2])
        )
        lanes.builder.call(function, [record, bars, self._own(lanes, callee)])

    def tangent(
        self,
        lanes: Lanes,
        callee: int,
        record: Value,
        dots: Value,
        curvature: Curvature | None,
    ) -> None:
        """Tangents of a call whose record is filled."""
        made = self.program.callees[callee]
        own = self._own(lanes, callee)
        if curvature is None:
            name, given = f"tangent_{callee}", [record, dots, own]
        else:
            places = [curvature.bars, curvature.left, curvature.right]
            name, given = f"curvature_{callee}", [record, dots, own, *places]
        function = self._function(
            name,
            len(given),
            lambda lanes, args: made.tangent(
                lanes, args[0], args[1], args[2], Curvature(*args[3:]) if len(args) > 3 else None
            ),
        )
        lanes.builder.call(function, given)

    def gradient(
        self, lanes: Lanes, callee: int, sites: int, records: Value, bars: Value, turned: Value
    ) -> None:
        """Adds to the gradient what calls of a callee give, whose records are in a row."""
        made = self.program.callees[callee]
        if not (made.n_gradient and sites):
            return
        function = self._function(
            f"gradient_{callee}_{sites}",
            5,
            lambda own, args: made.gradient(own, Gradient(args[0], args[1], sites, *args[2:])),
        )
        place = lanes.place(self.gradient_at, self.program.gradient_starts[callee])
        given = [records, bars, self._own(lanes, callee), place, turned]
        lanes.builder.call(function, given)

    def _function(
        self, name: str, pointers: int, body: Callable[[Lanes, Sequence[Value]], None]
    ) -> ir.Function:
        known = self.module.globals.get(name)
        return known or routine(self.module, self.shape, name, pointers, body)


class Run:
    """Emits the values of a graph bit by bit, as they are needed."""

    def __init__(self, lanes: Lanes, graph: Scalars, inputs: Sequence[Value]) -> None:
        self.lanes, self.graph = lanes, graph
        self.memory: dict[int, Value] = dict(enumerate(inputs))
        self.held: dict[int, Parts] = {}

    def _load(self, input: int, row: int, part: int) -> Value:
        return self.lanes.load(self.memory[input], row, part)

    def rows(self, output: int) -> list[Parts]:
        return self.graph.emit(self.lanes, self.graph.outputs[output], self._load, self.held)

    def store(self, output: int, memory: Value) -> None:
        """Writes an output to rows of memory."""
        for row, parts in enumerate(self.rows(output)):
            for part, value in enumerate(parts):
                self.lanes.store(value, memory, row, part)

    def argument(self, input: int, row: int) -> Parts:
        """An input's row as it was when taken."""
        for v, made in enumerate(self.graph.values):
            if isinstance(made, Argument) and (made.input, made.row) == (input, row):
                return self.held[v]
        raise ValueError(f"input has no row {row} that the graph reads, of number {input}")

    def take(self, input: int, memory: Value) -> None:
        """Reads an input now: its memory may be used again."""
        self.memory[input] = memory
        own = [
            v for v, made in enumerate(self.graph.values) if getattr(made, "input", None) == input
        ]
        self.graph.emit(self.lanes, own, self._load, self.held)


def graph_run(
    name: str,
    lanes: Lanes,
    given: Sequence[ca.SX],
    found: Sequence[ca.SX],
    memory: Sequence[Value],
) -> Run:
    """The graph given ↦ found, to be emitted bit by bit; `memory` holds rows of each input."""
    return Run(lanes, _graph(name, given, found), memory)


def _graph(name: str, given: Sequence[ca.SX], found: Sequence[ca.SX]) -> Scalars:
    found = [ca.densify(y) for y in found]
    return Scalars(ca.Function(name, list(given), found, {"cse": True}))
