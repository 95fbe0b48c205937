"""y = φ(W x + b), W and b the same for all candidates: where the time goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hybridmodel.kernel.callees import Curvature
from hybridmodel.kernel.lanes import Lanes, Value
from hybridmodel.kernel.operations.operation import Array, Filled, Operation, Tape
from hybridmodel.kernel.operations.outer import add_outer, padded
from hybridmodel.kernel.operations.tiling import over, tiles
from hybridmodel.kernel.scalars import Scalars


@dataclass(frozen=True)
class Dense(Operation):
    """y (E, m, n) = φ(x (E, m, k) Wᵀ + b), W (E, n, k).

    slope, bend   φ' and φ''/φ' from y = φ(a); no bend where that is zero
    """

    result: Array
    x: Array
    weight: Array
    bias: Array | None
    activation: Scalars | None
    slope: Scalars | None
    sizes: tuple[int, int, int, int]  # E, m, k, n
    bend: Scalars | None = None

    @property
    def varying(self) -> tuple[Array, ...]:
        return (self.x,)

    def fills(self, array: Array) -> bool:
        return True

    @contextmanager
    def _each(
        self, lanes: Lanes, record: Value, weights: Value
    ) -> Iterator[tuple[Value, Value, Value, Value, Value]]:
        """For each member and row: pointers to y, x, W and b, and how far y is from the first."""
        members, m, k, n = self.sizes
        y, x = lanes.at(record, self.result.start), lanes.at(record, self.x.start)
        w = lanes.place(weights, self.weight.start)
        b = lanes.place(weights, self.bias.start) if self.bias else w
        if members * m == 1:
            yield y, x, w, b, lanes.index(0)
            return
        with lanes.loop(members * m) as (i, _, _):
            member = lanes.builder.udiv(i, lanes.index(m))
            yield (
                lanes.at(y, lanes.times(i, n)),
                lanes.at(x, lanes.times(i, k)),
                lanes.place(w, lanes.times(member, n * k)),
                lanes.place(b, lanes.times(member, n)),
                lanes.times(i, n),
            )

    def forward(self, lanes: Lanes, record: Value, weights: Value) -> None:
        y = lanes.at(record, self.result.start)

        def finish(row: Value, r: int, p: int, value: Value) -> None:
            if self.activation:
                value = _one(lanes, self.activation, value)
            lanes.store(value, lanes.at(y, row), r, p)

        self._multiply(lanes, record, weights, self.bias is not None, finish)

    def _multiply(
        self,
        lanes: Lanes,
        memory: Value,
        weights: Value,
        biased: bool,
        finish: Callable[[Value, int, int, Value], None],
    ) -> None:
        """x Wᵀ (+ b) of rows of memory; finish(row, r, part, value) takes element row + r."""
        k, n = self.sizes[2:]
        span = lanes.shape.span
        with self._each(lanes, memory, weights) as (_, x, w, b, before):
            for first, count, tile in tiles(n, lanes.shape.tile):
                with over(lanes, first, count, tile) as row:
                    start = [lanes.constant(0.0)] * (tile * span)
                    if biased:
                        numbers = [lanes.number(lanes.place(b, row), r) for r in range(tile)]
                        start = [v for v in numbers for _ in range(span)]
                    here = lanes.place(w, lanes.times(row, k))
                    with lanes.loop(k, start) as (j, sums, out):
                        given = [lanes.load(lanes.at(x, j), 0, p) for p in range(span)]
                        column = lanes.place(here, j)
                        for r in range(tile):
                            factor = lanes.number(column, r * k)
                            for p in range(span):
                                out.append(lanes.fma(factor, given[p], sums[r * span + p]))
                    place = lanes.builder.add(before, row)
                    for r in range(tile):
                        for p in range(span):
                            finish(place, r, p, out[r * span + p])

    def tangent(
        self,
        lanes: Lanes,
        record: Value,
        dots: Value,
        weights: Value,
        curvature: Curvature | None,
    ) -> None:
        y, target = (lanes.at(memory, self.result.start) for memory in (record, dots))

        def finish(row: Value, r: int, p: int, value: Value) -> None:
            """ẏ = φ' ȧ with a = W x + b; ȳ φ'' = (ȳ φ') (φ''/φ'), of which a sweep leaves ȳ φ'."""
            if self.slope:
                result = lanes.load(lanes.at(y, row), r, p)
                if curvature and self.bend:
                    g = lanes.load(lanes.at(lanes.at(curvature.bars, self.result.start), row), r, p)
                    bent = lanes.mul(g, _one(lanes, self.bend, result))
                    lanes.store(lanes.mul(bent, value), lanes.at(curvature.left, row), r, p)
                    lanes.store(value, lanes.at(curvature.right, row), r, p)
                value = lanes.mul(_one(lanes, self.slope, result), value)
            lanes.store(value, lanes.at(target, row), r, p)

        self._multiply(lanes, dots, weights, False, finish)

    @property
    def bends(self) -> int:
        return self.result.size if self.bend else 0

    def reverse(
        self, lanes: Lanes, record: Value, bars: Value, weights: Value, filled: Filled
    ) -> None:
        k, n = self.sizes[2:]
        span = lanes.shape.span
        if self.slope:
            slope = self.slope
            y, g = (lanes.at(memory, self.result.start) for memory in (record, bars))
            with lanes.loop(self.result.size) as (row, _, _):
                for p in range(span):
                    steep = _one(lanes, slope, lanes.load(y, row, p))
                    lanes.store(lanes.mul(steep, lanes.load(g, row, p)), g, row, p)
        add = filled(self.x)
        with self._each(lanes, bars, weights) as (g, x, w, _, _):
            for first, count, tile in tiles(k, lanes.shape.tile):
                with over(lanes, first, count, tile) as column:
                    target = lanes.at(x, column)
                    places = [(r, p) for r in range(tile) for p in range(span)]
                    start = [
                        lanes.load(target, *place) if add else lanes.constant(0.0)
                        for place in places
                    ]
                    here = lanes.place(w, column)
                    with lanes.loop(n, start) as (j, sums, out):
                        given = [lanes.load(lanes.at(g, j), 0, p) for p in range(span)]
                        factors = lanes.place(here, lanes.times(j, k))
                        for r in range(tile):
                            factor = lanes.number(factors, r)
                            for p in range(span):
                                out.append(lanes.fma(factor, given[p], sums[r * span + p]))
                    for place, value in zip(places, out, strict=True):
                        lanes.store(value, target, *place)

    def gradient(self, lanes: Lanes, tape: Tape) -> None:
        members, m, k, n = self.sizes
        if self.bias and self.bias.start in tape.wanted:
            whole = tape.total(lanes, self.bias)
            with lanes.loop(members * n) as (row, _, _):  # m is 1 where there is a bias
                target = lanes.vector_at(whole, row)
                with lanes.loop(tape.sites, [lanes.read(target)]) as (site, sums, out):
                    _, bar = tape.site(lanes, site)
                    g, value = lanes.at(lanes.at(bar, self.result.start), row), sums[0]
                    for p in range(lanes.shape.span):
                        value = lanes.add(value, lanes.load(g, 0, p))
                    out.append(value)
                lanes.write(out[0], target)
        if self.weight.start not in tape.wanted:
            return
        whole = lanes.place(tape.gradient, tape.places[self.block])
        with lanes.loop(members) as (member, _, _):
            g = lanes.at(tape.bars, self.result.start)
            x = lanes.at(tape.records, self.x.start)
            add_outer(
                lanes,
                lanes.at(g, lanes.times(member, m * n)),
                lanes.at(x, lanes.times(member, m * k)),
                lanes.place(whole, lanes.times(member, n * padded(k))),
                sites=tape.sites,
                rows=tape.rows,
                sizes=(m, k, n),
                turned=tape.turned,
            )

    @property
    def block(self) -> int:
        """The key of its own block of the gradient: two layers may share a weight."""
        return -1 - self.result.start


def _one(lanes: Lanes, code: Scalars, x: Value) -> Value:
    """φ(x) of one vector."""
    return code.emit(lanes, code.outputs[0], lambda *_: x, parts=[0])[0][0]
