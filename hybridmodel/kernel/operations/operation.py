"""The one noun of this room: an operation on rows of memory, and what it may be asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hybridmodel.kernel.callees import Curvature
from hybridmodel.kernel.lanes import Lanes, Value

Filled = Callable[["Array"], bool]  # whether bars of an array hold something to add to


@dataclass(frozen=True)
class Array:
    """Numbers in order: rows of the record where they vary, else weights."""

    start: int
    size: int
    varying: bool

    @property
    def range(self) -> range:
        """Its rows; none where it does not vary."""
        return range(self.start, self.start + self.size) if self.varying else range(0)


@dataclass(frozen=True)
class Tape:
    """What a reverse sweep left of all calls of a network, for the gradient in its weights.

    records, bars   rows of the first call; those of the next one follow after `rows`
    weights         numbers
    gradient        numbers, laid out by `places`: a vector for each weight, or a block of `Dense`
    turned          rows for a copy with lanes and rows exchanged
    wanted          where the weights begin that the gradient is asked for
    """

    records: Value
    bars: Value
    sites: int
    rows: int
    weights: Value
    gradient: Value
    turned: Value
    wanted: frozenset[int]
    places: Mapping[int, int]

    def site(self, lanes: Lanes, i: Value) -> tuple[Value, Value]:
        """Record and bars of a call."""
        return tuple(lanes.at(m, lanes.times(i, self.rows)) for m in (self.records, self.bars))  # type: ignore[return-value]

    def total(self, lanes: Lanes, array: Array) -> Value:
        """Where the vectors of an array's gradient are."""
        return lanes.place(self.gradient, self.places[array.start])


class Operation(ABC):
    """What fills the rows of `result`."""

    result: Array

    @property
    @abstractmethod
    def varying(self) -> tuple[Array, ...]:
        """The operands that have rows."""

    def fills(self, array: Array) -> bool:
        """Whether `reverse` stores the bars of this operand where there are none yet."""
        return False

    @abstractmethod
    def forward(self, lanes: Lanes, record: Value, weights: Value) -> None:
        """Code for the result."""

    @abstractmethod
    def reverse(
        self, lanes: Lanes, record: Value, bars: Value, weights: Value, filled: Filled
    ) -> None:
        """Code for the bars of the operands, added to what is there."""

    @abstractmethod
    def tangent(
        self,
        lanes: Lanes,
        record: Value,
        dots: Value,
        weights: Value,
        curvature: Curvature | None,
    ) -> None:
        """Code for the tangent of the result, rows of `dots`, from those of the operands."""

    @property
    def bends(self) -> int:
        """Rows of `left` and of `right`; none where the operation is linear."""
        return 0

    def gradient(self, lanes: Lanes, tape: Tape) -> None:  # noqa: B027 - most have no weights
        """Code that adds the derivatives in the weights that are wanted, over all calls."""


def zero(lanes: Lanes, memory: Value, array: Array) -> None:
    for row in array.range:
        for p in range(lanes.shape.span):
            lanes.store(lanes.constant(0.0), memory, row, p)


def copy(lanes: Lanes, memory: Value, array: Array, target: Value) -> None:
    source = lanes.at(memory, array.start)
    with lanes.loop(array.size) as (i, _, _):
        for p in range(lanes.shape.span):
            lanes.store(lanes.load(lanes.at(source, i), 0, p), lanes.at(target, i), 0, p)


def read(lanes: Lanes, array: Array, i: int, part: int, record: Value, weights: Value) -> Value:
    if array.varying:
        return lanes.load(record, array.start + i, part)
    return lanes.number(weights, array.start + i)


def deposit(lanes: Lanes, memory: Value, array: Array, i: int, part: int, value: Value) -> None:
    """Adds to a row."""
    here = lanes.load(memory, array.start + i, part)
    lanes.store(lanes.add(here, value), memory, array.start + i, part)
