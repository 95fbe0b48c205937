"""yᵢ = φ(x¹ᵢ, x²ᵢ, …): a scalar function, element by element."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import casadi as ca

from hybridmodel.kernel.callees import Curvature
from hybridmodel.kernel.lanes import Lanes, Value
from hybridmodel.kernel.operations.operation import Array, Filled, Operation, Tape
from hybridmodel.kernel.scalars import Scalars


@dataclass(frozen=True)
class Map(Operation):
    """yᵢ = φ(x¹ᵢ, x²ᵢ, …), with `reverse_code` (x…, y, ȳ) ↦ (x̄…).

    second   (x…, y, ȳ, ẋ…) ↦ (∂x̄/∂x ẋ…), sparse where φ is linear
    """

    result: Array
    operands: tuple[Array, ...]
    forward_code: Scalars
    reverse_code: Scalars
    second: ca.Function = field(repr=False)  # the others tell which

    @property
    def varying(self) -> tuple[Array, ...]:
        return tuple(x for x in self.operands if x.varying)

    @functools.cached_property
    def _second(self) -> Scalars:
        return Scalars(self.second)  # made when asked for: it may have what no kernel has

    @property
    def _bent(self) -> list[int]:
        """The operands whose slope is not constant."""
        varying = (k for k, x in enumerate(self.operands) if x.varying)
        return [k for k in varying if self.second.nnz_out(k)]

    @property
    def bends(self) -> int:
        return len(self._bent) * self.result.size

    def forward(self, lanes: Lanes, record: Value, weights: Value) -> None:
        with lanes.loop(self.result.size) as (i, _, _):
            found = self.forward_code.emit(
                lanes,
                self.forward_code.outputs[0],
                lambda k, _, p: self._operand(lanes, k, i, p, record, weights),
            )
            target = lanes.at(lanes.at(record, self.result.start), i)
            for p, value in enumerate(found[0]):
                lanes.store(value, target, 0, p)

    def _operand(
        self, lanes: Lanes, k: int, i: Value, part: int, record: Value, weights: Value
    ) -> Value:
        x = self.operands[k]
        step = i if x.size > 1 else lanes.index(0)
        if not x.varying:
            return lanes.number(lanes.place(weights, x.start), step)
        return lanes.load(lanes.at(lanes.at(record, x.start), step), 0, part)

    def _slopes(
        self,
        lanes: Lanes,
        which: Sequence[int],
        i: Value,
        record: Value,
        bars: Value,
        weights: Value,
    ) -> list[list[Value]]:
        n = len(self.operands)

        def load(k: int, _: int, part: int) -> Value:
            if k < n:
                return self._operand(lanes, k, i, part, record, weights)
            memory = record if k == n else bars
            return lanes.load(lanes.at(lanes.at(memory, self.result.start), i), 0, part)

        wanted = [self.reverse_code.outputs[k][0] for k in which]
        return self.reverse_code.emit(lanes, wanted, load)

    def reverse(
        self, lanes: Lanes, record: Value, bars: Value, weights: Value, filled: Filled
    ) -> None:
        which = [k for k, x in enumerate(self.operands) if x.varying]
        with lanes.loop(self.result.size) as (i, _, _):
            for k, found in zip(
                which, self._slopes(lanes, which, i, record, bars, weights), strict=True
            ):
                x = self.operands[k]
                step = i if x.size > 1 else lanes.index(0)
                target = lanes.at(lanes.at(bars, x.start), step)
                for p, value in enumerate(found):
                    lanes.store(lanes.add(lanes.load(target, 0, p), value), target, 0, p)

    def tangent(
        self,
        lanes: Lanes,
        record: Value,
        dots: Value,
        weights: Value,
        curvature: Curvature | None,
    ) -> None:
        n, span = len(self.operands), lanes.shape.span
        varies = [k for k, x in enumerate(self.operands) if x.varying]
        with lanes.loop(self.result.size) as (i, _, _):

            def at(memory: Value) -> Value:
                return lanes.at(lanes.at(memory, self.result.start), i)

            def dot(k: int, part: int) -> Value:
                x = self.operands[k]
                return (
                    self._operand(lanes, k, i, part, dots, weights)
                    if x.varying
                    else lanes.constant(0.0)
                )

            def given(k: int, part: int) -> Value:
                if k < n:
                    return self._operand(lanes, k, i, part, record, weights)
                if k == n:
                    return lanes.load(at(record), 0, part)
                assert curvature is not None
                if k == n + 1:
                    return lanes.load(at(curvature.bars), 0, part)
                return dot(k - n - 2, part)

            total = [lanes.constant(0.0)] * span
            for k in varies:  # a slope times a bar is as linear in the bar as in a tangent
                found = self.reverse_code.emit(
                    lanes,
                    self.reverse_code.outputs[k],
                    lambda j, _, p, k=k: dot(k, p) if j == n + 1 else given(j, p),
                )
                total = [lanes.add(t, v) for t, v in zip(total, found[0], strict=True)]
            for p, value in enumerate(total):
                lanes.store(value, at(dots), 0, p)
            which = self._bent if curvature else []
            wanted = [self._second.outputs[k][0] for k in which]
            bent = self._second.emit(lanes, wanted, lambda j, _, p: given(j, p)) if which else []
            for place, (k, parts) in enumerate(zip(which, bent, strict=True)):
                assert curvature is not None
                row = lanes.builder.add(i, lanes.index(place * self.result.size))
                for p, value in enumerate(parts):
                    lanes.store(value, lanes.at(curvature.left, row), 0, p)
                    lanes.store(dot(k, p), lanes.at(curvature.right, row), 0, p)

    def gradient(self, lanes: Lanes, tape: Tape) -> None:
        uniform = (k for k, x in enumerate(self.operands) if not x.varying)
        which = [k for k in uniform if self.operands[k].start in tape.wanted]
        if not which:
            return
        with lanes.loop(tape.sites) as (site, _, _), lanes.loop(self.result.size) as (i, _, _):
            record, bar = tape.site(lanes, site)
            found = self._slopes(lanes, which, i, record, bar, tape.weights)
            for k, parts in zip(which, found, strict=True):
                x = self.operands[k]
                place = tape.total(lanes, x)
                place = lanes.vector_at(place, i) if x.size > 1 else place
                total = lanes.read(place)
                for value in parts:
                    total = lanes.add(total, value)
                lanes.write(total, place)
