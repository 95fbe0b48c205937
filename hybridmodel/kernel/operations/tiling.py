"""Loops over tiles of rows, with what is left at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hybridmodel.kernel.lanes import Lanes, Value


def tiles(n: int, tile: int) -> Iterator[tuple[int, int, int]]:
    """(first, how often, size): whole tiles, then what is left."""
    whole, rest = divmod(n, tile)
    if whole:
        yield 0, whole, tile
    if rest:
        yield whole * tile, 1, rest


@contextmanager
def over(lanes: Lanes, first: int, count: int, tile: int) -> Iterator[Value]:
    """The first row of each tile in turn."""
    if count == 1:
        yield lanes.index(first)
        return
    with lanes.loop(count) as (i, _, _):
        yield lanes.times(i, tile)
