"""The scalar form: an SX graph as one torch operation for each of its instructions.

Every scalar of the graph is a tensor of the batch's shape. No source text is generated and
nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import casadi as ca
import torch
from torch import Tensor

from hybridmodel.bridges.leading import broadcast
from hybridmodel.bridges.operations import ARITHMETIC, FUNCTIONS, NAME, OPCODE, OPERATIONS

LARGE = 4096  # numbers from which on a contiguous copy of a column pays for itself


class ScalarForm:
    """An SXFunction: nonzeros (…, nnz) of its inputs ↦ nonzeros of its outputs.

    Slots hold the values: first CasADi's own registers, which it reuses, so that what is dead
    is freed; then inputs, constants and outputs, which stay.
    """

    def __init__(self, sx: ca.Function, form_of: Callable[[ca.Function], Any]) -> None:
        self.input_counts = [sx.nnz_in(i) for i in range(sx.n_in())]
        self.called: list[Any] = []
        self._program: list[tuple[Callable[..., Any], int, int, int]] = []  # slot ← call(slots)
        self._inputs: list[tuple[int, int, int]] = []  # slot ← input, nonzero
        self._numbers: list[tuple[int, float]] = []  # slot ← constant, as a tensor
        self._outputs = [[-1] * sx.nnz_out(i) for i in range(sx.n_out())]
        self._slots: list[Any] = [None] * sx.sz_w()
        held: dict[int, int | float] = {}  # register → slot of its present value, or a constant
        constants: dict[tuple[str, bool], int] = {}
        callees = calls(sx)

        def slot(register: int, *, plain: bool = False) -> int:
            """Where a register's value is; constants become tensors unless `plain`."""
            value = held[register]
            if isinstance(value, int):
                return value
            key = (repr(value), plain)  # 0.0 and -0.0 differ
            if key not in constants:
                constants[key] = self._new(value if plain else None)
                if not plain:
                    self._numbers.append((constants[key], value))
            return constants[key]

        for k in range(sx.n_instructions()):
            op, outs, ins = sx.instruction_id(k), sx.instruction_output(k), sx.instruction_input(k)
            if op == ca.OP_CONST:
                held[outs[0]] = sx.instruction_constant(k)
            elif op == ca.OP_INPUT:
                held[outs[0]] = self._new()
                self._inputs.append((len(self._slots) - 1, ins[0], ins[1]))
            elif op == ca.OP_OUTPUT:
                self._outputs[outs[0]][outs[1]] = self._emit(_same, self._new(), slot(ins[0]))
            elif op == ca.OP_CALL:
                form = form_of(callees[k])
                results = self._call(form, [slot(i) for i in ins])
                for place, out in enumerate(outs):
                    if out >= 0:
                        held[out] = self._emit(_item(place), out, results)
            elif op in OPCODE:
                call = ARITHMETIC.get(OPCODE[op])
                plain = call is not None and any(isinstance(held[i], int) for i in ins)
                sources = [slot(i, plain=plain) for i in ins]
                held[outs[0]] = self._emit(call or FUNCTIONS[OPCODE[op]], outs[0], *sources)
            else:
                raise ValueError(
                    f"{sx.name()}: operation {NAME.get(op, op)} at instruction {k} has no torch "
                    f"form; known are {', '.join(OPERATIONS)}"
                )

    @property
    def size(self) -> int:
        """Number of torch operations, those of called Functions included."""
        return len(self._program) + sum(form.size for form in self.called)

    def _new(self, value: float | None = None) -> int:
        self._slots.append(value)
        return len(self._slots) - 1

    def _emit(self, call: Callable[..., Any], out: int, first: int, second: int = -1) -> int:
        self._program.append((call, out, first, second))
        return out

    def _call(self, form: Any, sources: list[int]) -> int:
        """The slot of a tuple with all results of a called Function."""
        self.called.append(form)
        row = self._emit(_first, self._new(), sources[0])
        for source in sources[1:]:
            row = self._emit(_append, self._new(), row, source)
        return self._emit(_on_scalars(form), self._new(), row)

    def __call__(self, nonzeros: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        slots = list(self._slots)
        columns = [v.unbind(-1) for v in nonzeros]
        large = any(v.numel() >= LARGE for v in nonzeros)
        for slot, argument, place in self._inputs:
            column = columns[argument][place]
            slots[slot] = column.contiguous() if large else column
        for slot, number in self._numbers:
            slots[slot] = like.new_full((), number)
        for call, out, first, second in self._program:
            slots[out] = call(slots[first]) if second < 0 else call(slots[first], slots[second])
        batch = broadcast(*(v.shape[:-1] for v in nonzeros))
        return [_stacked([slots[s] for s in row], batch, like) for row in self._outputs]


def calls(sx: ca.Function) -> dict[int, ca.Function]:
    """The Functions that an SX graph calls, by instruction."""
    found = [k for k in range(sx.n_instructions()) if sx.instruction_id(k) == ca.OP_CALL]
    nodes = sx.instructions_sx() if found else []
    return {k: nodes[k].which_function() for k in found}


def _same(x: Any) -> Any:
    return x


def _first(x: Any) -> tuple[Any, ...]:
    return (x,)


def _append(row: tuple[Any, ...], x: Any) -> tuple[Any, ...]:
    return (*row, x)


def _item(place: int) -> Callable[[Any], Any]:
    return lambda row: row[place]


def _on_scalars(form: Any) -> Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """A form as a map from all its input scalars to all its output scalars."""

    def call(row: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        wide = torch.broadcast_tensors(*row)
        nonzeros, start = [], 0
        for count in form.input_counts:
            nonzeros.append(_stacked(list(wide[start : start + count]), wide[0].shape, wide[0]))
            start += count
        return tuple(column for v in form(nonzeros, wide[0]) for column in v.unbind(-1))

    return call


def _stacked(row: list[Tensor], batch: torch.Size, like: Tensor) -> Tensor:
    """The scalars of a row as (…, nnz); in memory each stays contiguous where the batch is large,
    as the next graph that reads them wants it."""
    if not row:
        return like.new_zeros((*batch, 0))
    wide = [t if t.shape == batch else t.expand(batch) for t in row]
    if batch.numel() < LARGE // 4:
        return torch.stack(wide, -1)
    return torch.stack(wide).movedim(0, -1)
