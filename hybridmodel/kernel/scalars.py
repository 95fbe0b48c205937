"""An SX graph as a list of operations, each value set once, and its code on vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import casadi as ca

from hybridmodel.bridges.operations import NAME, OPCODE
from hybridmodel.kernel.functions import FUNCTIONS, sincos
from hybridmodel.kernel.lanes import Lanes, Value

_LARGEST_POWER = 8  # up to which a whole power is a product


class NotLoweredError(ValueError):
    """What the kernel has no code for, and why; the torch path has."""


@dataclass(frozen=True)
class Operation:
    """A value: an operation on values of smaller number."""

    name: str
    operands: tuple[int, ...]


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Argument:
    """A nonzero of an input."""

    input: int
    row: int


class Scalars:
    """An SX Function, taken apart: `values` in order, and the value of each nonzero of `outputs`.

    All inputs and outputs are dense columns. Raises NotLoweredError for an operation that the
    kernel does not know.
    """

    def __init__(self, function: ca.Function) -> None:
        if not function.is_a("SXFunction"):
            raise NotLoweredError(f"{function.name()} has no scalar form")
        self.name: str = function.name()
        self.values: list[Operation | Number | Argument] = []
        self.outputs = [[-1] * function.nnz_out(i) for i in range(function.n_out())]
        known: dict[Operation | Number | Argument | tuple[str, str], int] = {}
        held: dict[int, int] = {}  # CasADi's register → the value in it

        def value(made: Operation | Number | Argument) -> int:
            # 0.0 equals −0.0, and NaN nothing
            key = ("number", repr(made.value)) if isinstance(made, Number) else made
            if key not in known:
                known[key] = len(self.values)
                self.values.append(made)
            return known[key]

        for k in range(function.n_instructions()):
            op = function.instruction_id(k)
            outs, ins = function.instruction_output(k), function.instruction_input(k)
            if op == ca.OP_CONST:
                held[outs[0]] = value(Number(function.instruction_constant(k)))
            elif op == ca.OP_INPUT:
                held[outs[0]] = value(Argument(ins[0], ins[1]))
            elif op == ca.OP_OUTPUT:
                self.outputs[outs[0]][outs[1]] = held[ins[0]]
            elif op in OPCODE and OPCODE[op] in FUNCTIONS:
                made = Operation(OPCODE[op], tuple(held[i] for i in ins))
                held[outs[0]] = value(made)
            else:
                raise NotLoweredError(
                    f"{function.name()}: operation {NAME.get(op, op)} at instruction {k} is not "
                    f"one of the kernel's"
                )

    def __repr__(self) -> str:
        return f"Scalars({self.values}, {self.outputs})"

    def needed(self, wanted: Iterable[int], done: Mapping[int, object]) -> list[int]:
        """The values that `wanted` rest on and that are not done, in order."""
        found: set[int] = set()
        stack = [v for v in wanted if v not in done]
        while stack:
            v = stack.pop()
            if v in found:
                continue
            found.add(v)
            made = self.values[v]
            if isinstance(made, Operation):
                stack += [o for o in made.operands if o not in done and o not in found]
        return sorted(found)

    def emit(
        self,
        lanes: Lanes,
        wanted: Sequence[int],
        load: Callable[[int, int, int], Value],
        held: dict[int, list[Value]] | None = None,
        parts: Sequence[int] | None = None,
    ) -> list[list[Value]]:
        """Code for the wanted values: for each a vector of every part of a row.

        load(input, row, part) gives a nonzero of an input; `held` keeps what is there already.
        """
        held = {} if held is None else held
        parts = range(lanes.shape.span) if parts is None else parts
        pairs: dict[int, list[tuple[Value, Value]]] = {}
        both = self._both()
        for v in self.needed(wanted, held):
            made = self.values[v]
            if isinstance(made, Number):
                held[v] = [lanes.constant(made.value) for _ in parts]
            elif isinstance(made, Argument):
                held[v] = [load(made.input, made.row, p) for p in parts]
            elif made.operands[0] in both and made.name in ("SIN", "COS"):
                angle = made.operands[0]
                if angle not in pairs:
                    pairs[angle] = [sincos(lanes, x) for x in held[angle]]
                held[v] = [pair[made.name == "COS"] for pair in pairs[angle]]
            else:
                held[v] = self._operation(lanes, made, held)
        return [held[v] for v in wanted]

    def _both(self) -> set[int]:
        """Angles of which both sine and cosine are taken."""
        taken = [
            {m.operands[0] for m in self.values if isinstance(m, Operation) and m.name == name}
            for name in ("SIN", "COS")
        ]
        return taken[0] & taken[1]

    def _operation(
        self, lanes: Lanes, made: Operation, held: Mapping[int, list[Value]]
    ) -> list[Value]:
        if made.name in ("POW", "CONSTPOW"):
            exponent = self.values[made.operands[1]]
            if isinstance(exponent, Number) and exponent.value in range(1, _LARGEST_POWER + 1):
                return [_power(lanes, x, int(exponent.value)) for x in held[made.operands[0]]]
        call = FUNCTIONS[made.name]
        return [call(lanes, *x) for x in zip(*(held[o] for o in made.operands), strict=True)]


def _power(lanes: Lanes, x: Value, n: int) -> Value:
    result = None
    while n:
        if n & 1:
            result = x if result is None else lanes.mul(result, x)
        n >>= 1
        if n:
            x = lanes.mul(x, x)
    return result
