"""Σ g xᵀ over candidates: a layer's part of the gradient in its weights.

The sum runs over lanes, so x is first turned: a row for each candidate, its elements side by
side. Then a block of the gradient stays in registers while all candidates pass.
"""

from __future__ import annotations

from llvmlite import ir

from hybridmodel.kernel.lanes import Lanes, Value
from hybridmodel.kernel.operations.tiling import over, tiles

_PAD = 16  # numbers; the widest vector has as many


def padded(k: int) -> int:
    """Numbers of a row of the gradient of a weight with k columns."""
    return -(-k // _PAD) * _PAD


def add_outer(
    lanes: Lanes,
    g: Value,
    x: Value,
    whole: Value,
    *,
    sites: int,
    rows: int,
    sizes: tuple[int, int, int],
    turned: Value,
) -> None:
    """Adds Σ g xᵀ to n rows of padded(k) numbers.

    g, x    rows (m, n) and (m, k) of the first call; those of the next follow after `rows`
    turned  sites · m · padded(k) rows of memory
    """
    m, k, n = sizes
    _turn(lanes, x, turned, sites, rows, m, k)
    width, span = lanes.shape.width, lanes.shape.span
    vectors = padded(k) // width
    high, wide = (6, 4) if lanes.shape.tile > 4 else (4, 2)
    for left, times, size in tiles(vectors, wide):
        with over(lanes, left, times, size) as column:
            for first, count, tall in tiles(n, high):
                with over(lanes, first, count, tall) as row:
                    corner = lanes.place(whole, lanes.times(row, padded(k)))
                    corner = lanes.vector_at(corner, column)
                    target = [
                        lanes.vector_at(lanes.place(corner, r * padded(k)), c)
                        for r in range(tall)
                        for c in range(size)
                    ]
                    start = [lanes.read(t) for t in target]
                    with lanes.loop(sites * m, start) as (i, outer, result):
                        site = lanes.builder.udiv(i, lanes.index(m))
                        part = lanes.builder.urem(i, lanes.index(m))
                        bars = lanes.at(lanes.at(g, lanes.times(site, rows)), lanes.times(part, n))
                        bars = lanes.at(bars, row)
                        seen = lanes.place(turned, lanes.times(i, lanes.shape.lanes * padded(k)))
                        seen = lanes.vector_at(seen, column)
                        with lanes.loop(width * span, outer) as (lane, sums, out):
                            here = lanes.place(seen, lanes.times(lane, padded(k)))
                            given = [lanes.read(lanes.vector_at(here, c)) for c in range(size)]
                            for r in range(tall):
                                factor = lanes.number(lanes.at(bars, r), lane)
                                for c in range(size):
                                    total = sums[r * size + c]
                                    out.append(lanes.fma(factor, given[c], total))
                        result += out
                    for value, place in zip(result, target, strict=True):
                        lanes.write(value, place)


def _turn(lanes: Lanes, x: Value, turned: Value, sites: int, rows: int, m: int, k: int) -> None:
    """Row (site · m + i) · lanes + c holds what candidate c has in row i of x, then zeros."""
    width, span = lanes.shape.width, lanes.shape.span
    with lanes.loop(sites * m) as (i, _, _):
        site = lanes.builder.udiv(i, lanes.index(m))
        part = lanes.builder.urem(i, lanes.index(m))
        source = lanes.at(lanes.at(x, lanes.times(site, rows)), lanes.times(part, k))
        target = lanes.place(turned, lanes.times(i, lanes.shape.lanes * padded(k)))
        for first, count, _ in ((0, k // width, width), (k // width * width, 1, width)):
            if first == k or not count:
                continue
            rest = min(width, k - first)
            with over(lanes, first, count, width) as column:
                for p in range(span):
                    block = [
                        lanes.load(lanes.at(source, column), r, p)
                        if r < rest
                        else lanes.constant(0.0)
                        for r in range(width)
                    ]
                    for lane, row in enumerate(_transposed(lanes, block)):
                        place = lanes.place(target, (p * width + lane) * padded(k))
                        lanes.write(row, lanes.place(place, column))
        for empty in range(-(-k // width) * width, padded(k), width):
            for lane in range(width * span):
                place = lanes.place(target, lane * padded(k) + empty)
                lanes.write(lanes.constant(0.0), place)


def _transposed(lanes: Lanes, rows: list[Value]) -> list[Value]:
    """width vectors with rows and columns exchanged, by shuffling halves log₂ width times."""
    n = len(rows)
    low, high = (
        ir.Constant(
            ir.VectorType(ir.IntType(32), n),
            [i // 2 + start + (n if i % 2 else 0) for i in range(n)],
        )
        for start in (0, n // 2)
    )
    step = 1
    while step < n:
        shuffled = []
        for a, b in zip(rows[: n // 2], rows[n // 2 :], strict=True):
            shuffled += [lanes.builder.shuffle_vector(a, b, half) for half in (low, high)]
        rows, step = shuffled, step * 2
    return rows
