"""What a step calls instead of writing it out: large scalar functions, and networks.

A call has a record, rows of memory that begin with its arguments and hold its results at
`result`; whatever lies between is its own. In a reverse sweep `bars` are rows like those of the
record and hold the derivative of the objective in each of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import casadi as ca
import numpy as np
from llvmlite import ir

from hybridmodel.kernel.lanes import POINTER, Lanes, Shape, Value
from hybridmodel.kernel.scalars import Scalars


@dataclass(frozen=True)
class Curvature:
    """Where a call leaves its part of a second derivative, beside the tangents of a direction.

    bars          rows as in the record: the objective's derivative in each, after a reverse sweep
    left, right   rows with Σ leftⁱ(v) rightⁱ(w) = ȳᵀ ∂²y(v, w), for directions v and w
    """

    bars: Value
    left: Value
    right: Value

    def after(self, lanes: Lanes, rows: int) -> Curvature:
        """What is left behind so many rows."""
        left, right = (lanes.at(memory, rows) for memory in (self.left, self.right))
        return Curvature(self.bars, left, right)


@dataclass(frozen=True)
class Gradient:
    """What a gradient in weights is made from: the records and bars of all calls of a callee."""

    records: Value
    bars: Value
    sites: int
    weights: Value
    gradient: Value
    turned: Value


class Callee(ABC):
    """Code that is there once and called from several places of a step.

    rows       of the record
    n_in       arguments, the first rows
    result     the row where results begin
    n_out      results
    n_weights  numbers that are the same for all candidates, which the caller passes
    n_gradient numbers of the gradient in them, as the code lays them out
    turned     rows of memory that the gradient needs beside, for each call
    """

    rows: int
    n_in: int
    result: int
    n_out: int
    n_weights: int = 0

    @property
    @abstractmethod
    def identity(self) -> str:
        """What its code depends on, as text."""

    @property
    @abstractmethod
    def work(self) -> int:
        """Operations on vectors of a call, roughly, for each part of a row."""

    @property
    def n_gradient(self) -> int:
        return 0

    @property
    def turned(self) -> int:
        return 0

    @abstractmethod
    def forward(self, lanes: Lanes, record: Value, weights: Value) -> None:
        """Code that fills the record from its arguments."""

    @abstractmethod
    def reverse(self, lanes: Lanes, record: Value, bars: Value, weights: Value) -> None:
        """Code that fills the bars of the arguments from those of the results."""

    @property
    @abstractmethod
    def bends(self) -> int:
        """Rows of `left` and of `right` of a call's curvature."""

    @abstractmethod
    def tangent(
        self,
        lanes: Lanes,
        record: Value,
        dots: Value,
        weights: Value,
        curvature: Curvature | None,
    ) -> None:
        """Code for the tangents of the results from those of the arguments, rows of `dots`."""

    def gradient(self, lanes: Lanes, given: Gradient) -> None:  # noqa: B027 - most have no weights
        """Code that adds the derivatives in the weights, summed over calls and candidates."""

    def collected(self, gradient: np.ndarray, width: int) -> np.ndarray:
        """The gradient (n_weights,) from its numbers as the code lays them out."""
        return np.zeros(self.n_weights, gradient.dtype)


class Scalar(Callee):
    """A scalar function with many operations, one vector after the other."""

    def __init__(self, function: ca.Function) -> None:
        sizes = [function.size1_in(i) for i in range(function.n_in())]
        x = ca.SX.sym("x", sum(sizes))
        parts = ca.vertsplit(x, [0, *accumulate(sizes)])
        y = ca.densify(ca.vertcat(*function.call(parts, True, False)))
        bar = ca.SX.sym("bar", y.shape[0])
        back = ca.densify(ca.jtimes(y, x, bar, True))
        self.n_in, self.n_out = x.shape[0], y.shape[0]
        self.result, self.rows = self.n_in, self.n_in + self.n_out
        self._forward = Scalars(ca.Function("forward", [x], [y], {"cse": True}))
        self._reverse = Scalars(ca.Function("reverse", [x, bar], [back], {"cse": True}))
        self._symbols = x, y, bar, back

    def forward(self, lanes: Lanes, record: Value, weights: Value) -> None:
        for_each_part(lanes, self._forward, [record], lanes.at(record, self.result))

    def reverse(self, lanes: Lanes, record: Value, bars: Value, weights: Value) -> None:
        for_each_part(lanes, self._reverse, [record, lanes.at(bars, self.result)], bars)

    @property
    def identity(self) -> str:
        x, y, *_ = self._symbols
        return ca.Function("scalar", [x], [y]).serialize()

    @property
    def work(self) -> int:
        return len(self._forward.values)

    @property
    def bends(self) -> int:
        return self.n_in

    def tangent(
        self,
        lanes: Lanes,
        record: Value,
        dots: Value,
        weights: Value,
        curvature: Curvature | None,
    ) -> None:
        x, y, bar, back = self._symbols
        dot, target = ca.SX.sym("dot", self.n_in), lanes.at(dots, self.result)
        found = [ca.densify(ca.jtimes(y, x, dot))]
        if curvature is None:
            first = Scalars(ca.Function("first", [x, dot], found, {"cse": True}))
            for_each_part(lanes, first, [record, dots], target)
            return
        found.append(ca.densify(ca.jtimes(back, x, dot)))
        second = Scalars(ca.Function("second", [x, bar, dot], found, {"cse": True}))
        given = [record, lanes.at(curvature.bars, self.result), dots]
        for_each_part(lanes, second, given, target, curvature.left)
        for row in range(self.n_in):
            for part in range(lanes.shape.span):
                lanes.store(lanes.load(dots, row, part), curvature.right, row, part)


def for_each_part(lanes: Lanes, code: Scalars, inputs: Sequence[Value], *outputs: Value) -> None:
    """Code for a scalar function on rows of memory, a loop over the vectors of a row."""

    def moved(pointer: Value, part: Value) -> Value:
        return lanes.builder.gep(pointer, [part], source_etype=lanes.vector)

    with lanes.loop(lanes.shape.span) as (part, _, _):
        given = [moved(pointer, part) for pointer in inputs]
        targets = [moved(pointer, part) for pointer in outputs]
        held: dict[int, list[Value]] = {}
        for wanted, target in zip(code.outputs, targets, strict=True):
            found = code.emit(
                lanes, wanted, lambda i, row, _: lanes.load(given[i], row), held, parts=[0]
            )
            for row, vectors in enumerate(found):
                lanes.store(vectors[0], target, row)


def routine(
    module: ir.Module,
    shape: Shape,
    name: str,
    pointers: int,
    body: Callable[[Lanes, Sequence[Value]], None],
) -> ir.Function:
    """A function of this module that takes pointers and returns nothing."""
    kind = ir.FunctionType(ir.VoidType(), [POINTER] * pointers)
    made = ir.Function(module, kind, name)
    made.linkage = "internal"
    made.attributes.add("noinline")
    for argument in made.args:
        argument.add_attribute("noalias")
    lanes = Lanes(module, ir.IRBuilder(made.append_basic_block("entry")), shape)
    body(lanes, made.args)
    lanes.builder.ret_void()
    return made
