"""yₑᵢⱼ = Σₖ aₑᵢₖ bₑⱼₖ, where b differs from candidate to candidate and a may."""

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
    read,
    zero,
)


@dataclass(frozen=True)
class Product(Operation):
    """yₑᵢⱼ = Σₖ aₑᵢₖ bₑⱼₖ, where b varies and a may."""

    result: Array
    a: Array
    b: Array
    sizes: tuple[int, int, int, int]  # E, m, k, n

    @property
    def varying(self) -> tuple[Array, ...]:
        return tuple(x for x in (self.a, self.b) if x.varying)

    def _terms(self) -> Iterator[tuple[int, int, int]]:
        members, m, k, n = self.sizes
        for e in range(members):
            for i in range(m):
                for j in range(n):
                    for at in range(k):
                        yield (e * m + i) * n + j, (e * m + i) * k + at, (e * n + j) * k + at

    def forward(self, lanes: Lanes, record: Value, weights: Value) -> None:
        zero(lanes, record, self.result)
        for p in range(lanes.shape.span):
            for y, a, b in self._terms():
                term = lanes.mul(
                    read(lanes, self.a, a, p, record, weights),
                    read(lanes, self.b, b, p, record, weights),
                )
                deposit(lanes, record, self.result, y, p, term)

    def reverse(
        self, lanes: Lanes, record: Value, bars: Value, weights: Value, filled: Filled
    ) -> None:
        for p in range(lanes.shape.span):
            for y, a, b in self._terms():
                bar = lanes.load(bars, self.result.start + y, p)
                for own, at, other, there in ((self.a, a, self.b, b), (self.b, b, self.a, a)):
                    if own.varying:
                        factor = read(lanes, other, there, p, record, weights)
                        deposit(lanes, bars, own, at, p, lanes.mul(bar, factor))

    def tangent(
        self,
        lanes: Lanes,
        record: Value,
        dots: Value,
        weights: Value,
        curvature: Curvature | None,
    ) -> None:
        """ẏ = ȧ b + a ḃ, and ȳ (ȧ ḃ' + ȧ' ḃ)."""
        zero(lanes, dots, self.result)
        sides = ((self.a, self.b), (self.b, self.a))
        for p in range(lanes.shape.span):
            for y, *places in self._terms():
                for (own, other), at, there in zip(sides, places, reversed(places), strict=True):
                    if own.varying:
                        factor = read(lanes, other, there, p, record, weights)
                        dot = lanes.load(dots, own.start + at, p)
                        deposit(lanes, dots, self.result, y, p, lanes.mul(factor, dot))
        if curvature is None or not self.bends:
            return
        left = Array(0, self.bends, True)
        zero(lanes, curvature.left, left)
        for p in range(lanes.shape.span):
            for y, a, b in self._terms():
                bar = lanes.load(curvature.bars, self.result.start + y, p)
                other = lanes.load(dots, self.b.start + b, p)
                deposit(lanes, curvature.left, left, a, p, lanes.mul(bar, other))
                other = lanes.load(dots, self.a.start + a, p)
                deposit(lanes, curvature.left, left, self.a.size + b, p, lanes.mul(bar, other))
        for start, array in ((0, self.a), (self.a.size, self.b)):
            copy(lanes, dots, array, lanes.at(curvature.right, start))

    @property
    def bends(self) -> int:
        return self.a.size + self.b.size if self.a.varying else 0

    def gradient(self, lanes: Lanes, tape: Tape) -> None:
        if self.a.varying or self.a.start not in tape.wanted:
            return
        whole = tape.total(lanes, self.a)
        with lanes.loop(tape.sites) as (site, _, _):
            record, bar = tape.site(lanes, site)
            for y, a, b in self._terms():
                target = lanes.vector_at(whole, a)
                total = lanes.read(target)
                for p in range(lanes.shape.span):
                    factor = lanes.load(record, self.b.start + b, p)
                    total = lanes.fma(lanes.load(bar, self.result.start + y, p), factor, total)
                lanes.write(total, target)
