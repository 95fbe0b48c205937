"""One direction of a program's first and second derivatives, with its calls.

With w = (x, u, p, d) of a node, n numbers, x⁺ = F(w), and the Lagrangian part λᵀF:

    J = ∂F/∂w (nx, n),   g = Jᵀλ (n,),   H = ∂²(λᵀF)/∂w² (n, n)

A step is elementary maps y = φ(a): the scalar graph between the calls, and the operations within
them. One forward and one reverse sweep give the values and the bars ȳ that all directions share;
then each direction v goes forward once, and H is a sum over the elementary maps,

    J v = ẏ(v) at the outputs,   H(v, w) = Σ ȳᵀ ∂²φ(ȧ(v), ȧ(w))

A direction costs one forward pass, not a forward and a reverse one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import casadi as ca

from hybridmodel.kernel.callees import Curvature
from hybridmodel.kernel.lanes import Lanes, Value
from hybridmodel.kernel.program import Code, Parts, Program, graph_run


@dataclass(frozen=True)
class Second:
    """The scalar graph's own part of a second derivative.

    curvature   ∂²L/∂(w, r)² (ẇ, ṙ) of L = Σ āᵀa + λᵀy, for inputs w and results r of calls
    bars        symbols of ā of each call, then of λ
    """

    curvature: ca.SX
    bars: tuple[ca.SX, ...]

    @classmethod
    def of(cls, program: Program, dots: ca.SX) -> Second:
        values = [*(c.arguments for c in program.calls), *program.outputs.values()]
        bars = tuple(ca.SX.sym(f"bar_{i}", y.shape[0]) for i, y in enumerate(values))
        given = ca.vertcat(*program.inputs.values(), *(c.results for c in program.calls))
        slopes = ca.jtimes(ca.vertcat(*values), given, ca.vertcat(*bars), True)
        return cls(ca.sparsify(ca.jtimes(slopes, given, dots)), bars)


class Tangents:
    """The scalar graph of one direction, with its calls.

    bends   rows of `left` and of `right` that a direction leaves
    """

    def __init__(self, program: Program, *, second: bool) -> None:
        self.program = program
        results = [c.results for c in program.calls]
        primal = [*program.inputs.values(), *results]
        dots = [ca.SX.sym(f"dot_{i}", s.shape[0]) for i, s in enumerate(primal)]
        values = [*(c.arguments for c in program.calls), *program.outputs.values()]
        ahead = ca.jtimes(ca.vertcat(*values), ca.vertcat(*primal), ca.vertcat(*dots))
        cut, at = [], 0
        for y in values:
            cut.append(ahead[at : at + y.shape[0]])
            at += y.shape[0]
        self.given, self.found = [*primal, *dots], cut
        self.size = sum(program.sizes.values())
        self.curved: list[int] = []
        if second:
            own = Second.of(program, ca.vertcat(*dots))
            self.curved = [row for row in own.curvature.sparsity().row() if row >= self.size]
            self.given += own.bars
            self.found += [own.curvature[: self.size], own.curvature[self.curved]]
        self.second = second
        sites = (program.callees[c.callee].bends for c in program.calls)
        self.bends = len(self.curved) + sum(sites)

    def emit(
        self,
        lanes: Lanes,
        code: Code,
        primal: Sequence[Value],
        dots: Sequence[Value],
        records: Sequence[Value],
        tangents: Sequence[Value],
        bars: Sequence[Value],
        multipliers: Value,
        block: Value,
    ) -> list[Parts]:
        """Code for a direction: tangents of x⁺; fills the block (∂²L ẇ rows, left, right).

        primal, dots        rows of the inputs and of their tangents
        records, bars       of each call, filled; tangents: rows like a record, of each call
        """
        calls, callees = self.program.calls, self.program.callees

        def result(memory: Value, callee: int) -> Value:
            return lanes.at(memory, callees[callee].result)

        memory = [*primal, *(result(r, c.callee) for r, c in zip(records, calls, strict=True))]
        first = len(memory) + len(dots)
        memory += [*dots, *(result(t, c.callee) for t, c in zip(tangents, calls, strict=True))]
        if self.second:
            memory += [*bars, multipliers]
        run = graph_run("tangent", lanes, self.given, self.found, memory)
        left = lanes.at(block, self.size)
        right = lanes.at(left, self.bends)
        place = Curvature(left, left, right).after(lanes, len(self.curved))
        owners: list[tuple[int, int]] = []
        for i, call in enumerate(calls):
            run.store(i, tangents[i])
            own = Curvature(bars[i], place.left, place.right) if self.second else None
            code.tangent(lanes, call.callee, records[i], tangents[i], own)
            place = place.after(lanes, callees[call.callee].bends)
            run.take(first + i, result(tangents[i], call.callee))
            owners += [(first + i, row) for row in range(callees[call.callee].n_out)]
        if self.second:
            run.store(len(calls) + 1, block)
            run.store(len(calls) + 2, left)
            for at, row in enumerate(self.curved):
                for part, value in enumerate(run.argument(*owners[row - self.size])):
                    lanes.store(value, right, at, part)
        return run.rows(len(calls))
