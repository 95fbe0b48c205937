"""Rows that are picked, put side by side, and summed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hybridmodel.kernel.callees import Curvature
from hybridmodel.kernel.lanes import Lanes, Value
from hybridmodel.kernel.operations.operation import (
    Array,
    Filled,
    Operation,
    Tape,
    copy,
    deposit,
    zero,
)


@dataclass(frozen=True)
class Gather(Operation):
    """yᵢ = x[index i]."""

    result: Array
    x: Array
    index: tuple[int, ...]

    @property
    def varying(self) -> tuple[Array, ...]:
        return (self.x,)

    def forward(self, lanes: Lanes, record: Value, weights: Value) -> None:
        for i, at in enumerate(self.index):
            for p in range(lanes.shape.span):
                value = lanes.load(record, self.x.start + at, p)
                lanes.store(value, record, self.result.start + i, p)

    def tangent(
        self,
        lanes: Lanes,
        record: Value,
        dots: Value,
        weights: Value,
        curvature: Curvature | None,
    ) -> None:
        self.forward(lanes, dots, weights)

    def reverse(
        self, lanes: Lanes, record: Value, bars: Value, weights: Value, filled: Filled
    ) -> None:
        for i, at in enumerate(self.index):
            for p in range(lanes.shape.span):
                bar = lanes.load(bars, self.result.start + i, p)
                deposit(lanes, bars, self.x, at, p, bar)


@dataclass(frozen=True)
class Join(Operation):
    """y = (x¹, x², …)."""

    result: Array
    parts: tuple[Array, ...]

    @property
    def varying(self) -> tuple[Array, ...]:
        return tuple(x for x in self.parts if x.varying)

    def _places(self) -> Iterator[tuple[Array, int]]:
        start = 0
        for part in self.parts:
            yield part, start
            start += part.size

    def forward(self, lanes: Lanes, record: Value, weights: Value) -> None:
        for part, start in self._places():
            with lanes.loop(part.size) as (i, _, _):
                target = lanes.at(lanes.at(record, self.result.start + start), i)
                for p in range(lanes.shape.span):
                    if part.varying:
                        value = lanes.load(lanes.at(lanes.at(record, part.start), i), 0, p)
                    else:
                        value = lanes.number(lanes.place(weights, part.start), i)
                    lanes.store(value, target, 0, p)

    def tangent(
        self,
        lanes: Lanes,
        record: Value,
        dots: Value,
        weights: Value,
        curvature: Curvature | None,
    ) -> None:
        for part, start in self._places():
            here = Array(self.result.start + start, part.size, True)
            if part.varying:
                copy(lanes, dots, part, lanes.at(dots, here.start))
            else:
                zero(lanes, dots, here)

    def reverse(
        self, lanes: Lanes, record: Value, bars: Value, weights: Value, filled: Filled
    ) -> None:
        for part, start in self._places():
            if not part.varying:
                continue
            with lanes.loop(part.size) as (i, _, _):
                source = lanes.at(lanes.at(bars, self.result.start + start), i)
                target = lanes.at(lanes.at(bars, part.start), i)
                for p in range(lanes.shape.span):
                    total = lanes.add(lanes.load(target, 0, p), lanes.load(source, 0, p))
                    lanes.store(total, target, 0, p)

    def gradient(self, lanes: Lanes, tape: Tape) -> None:
        for part, start in self._places():
            if part.varying or part.start not in tape.wanted:
                continue
            with lanes.loop(tape.sites) as (site, _, _), lanes.loop(part.size) as (i, _, _):
                _, bar = tape.site(lanes, site)
                source = lanes.at(lanes.at(bar, self.result.start + start), i)
                place = lanes.vector_at(tape.total(lanes, part), i)
                total = lanes.read(place)
                for p in range(lanes.shape.span):
                    total = lanes.add(total, lanes.load(source, 0, p))
                lanes.write(total, place)


@dataclass(frozen=True)
class Total(Operation):
    """y… = Σₖ x…ₖ over the last axis."""

    result: Array
    x: Array

    @property
    def varying(self) -> tuple[Array, ...]:
        return (self.x,)

    def forward(self, lanes: Lanes, record: Value, weights: Value) -> None:
        span, count = lanes.shape.span, self.x.size // self.result.size
        with lanes.loop(self.result.size) as (i, _, _):
            x = lanes.at(lanes.at(record, self.x.start), lanes.times(i, count))
            with lanes.loop(count, [lanes.constant(0.0)] * span) as (k, sums, out):
                row = lanes.at(x, k)
                out += [lanes.add(s, lanes.load(row, 0, p)) for p, s in enumerate(sums)]
            target = lanes.at(lanes.at(record, self.result.start), i)
            for p in range(span):
                lanes.store(out[p], target, 0, p)

    def tangent(
        self,
        lanes: Lanes,
        record: Value,
        dots: Value,
        weights: Value,
        curvature: Curvature | None,
    ) -> None:
        self.forward(lanes, dots, weights)

    def reverse(
        self, lanes: Lanes, record: Value, bars: Value, weights: Value, filled: Filled
    ) -> None:
        span, count = lanes.shape.span, self.x.size // self.result.size
        with lanes.loop(self.result.size) as (i, _, _):
            bar = lanes.at(lanes.at(bars, self.result.start), i)
            given = [lanes.load(bar, 0, p) for p in range(span)]
            x = lanes.at(lanes.at(bars, self.x.start), lanes.times(i, count))
            with lanes.loop(count) as (k, _, _):
                row = lanes.at(x, k)
                for p in range(span):
                    lanes.store(lanes.add(lanes.load(row, 0, p), given[p]), row, 0, p)
