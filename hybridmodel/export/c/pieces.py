"""Analytic pieces in C99: the scalar instructions of an SX function, one statement each.

CasADi's own generator is not used: its helper functions are not static, its unused arguments do
not pass -Wextra -Werror, and in float32 it calls the float64 functions of math.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import casadi as ca
import numpy as np

DType = Literal["float64", "float32"]
REAL = {"float64": "double", "float32": "float"}
BYTES = {"float64": 8, "float32": 4}

_EXPRESSIONS = {
    "ASSIGN": "{0}",
    "LIFT": "{0}",
    "ADD": "{0} + {1}",
    "SUB": "{0} - {1}",
    "MUL": "{0} * {1}",
    "DIV": "{0} / {1}",
    "NEG": "-{0}",
    "SQ": "{0} * {0}",
    "TWICE": "{0} + {0}",
    "INV": "1 / {0}",
    "LT": "{0} < {1}",
    "LE": "{0} <= {1}",
    "EQ": "{0} == {1}",
    "NE": "{0} != {1}",
    "NOT": "!{0}",
    "AND": "{0} && {1}",
    "OR": "{0} || {1}",
    "IF_ELSE_ZERO": "{0} ? {1} : 0",
    "SIGN": "{0} < 0 ? -1 : {0} > 0 ? 1 : {0}",
}
_CALLS = {  # functions of math.h, which end in f for float32
    "EXP": "exp",
    "LOG": "log",
    "EXPM1": "expm1",
    "LOG1P": "log1p",
    "SQRT": "sqrt",
    "SIN": "sin",
    "COS": "cos",
    "TAN": "tan",
    "ASIN": "asin",
    "ACOS": "acos",
    "ATAN": "atan",
    "SINH": "sinh",
    "COSH": "cosh",
    "TANH": "tanh",
    "ASINH": "asinh",
    "ACOSH": "acosh",
    "ATANH": "atanh",
    "ERF": "erf",
    "FABS": "fabs",
    "FLOOR": "floor",
    "CEIL": "ceil",
    "POW": "pow",
    "CONSTPOW": "pow",
    "ATAN2": "atan2",
    "HYPOT": "hypot",
    "FMIN": "fmin",
    "FMAX": "fmax",
    "FMOD": "fmod",
    "REMAINDER": "remainder",
    "COPYSIGN": "copysign",
}
_CHEAP = ("FABS", "FLOOR", "CEIL", "FMIN", "FMAX", "COPYSIGN")  # count as one operation
_FREE = ("ASSIGN", "LIFT")
OPERATIONS = tuple(sorted((*_EXPRESSIONS, *_CALLS)))
_NAME = {getattr(ca, name): name[3:] for name in dir(ca) if name.startswith("OP_")}


@dataclass(frozen=True)
class Cost:
    """Operations of one call: flops are + − × ÷ and the like, calls are functions of math.h."""

    flops: int = 0
    calls: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.calls + other.calls)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.flops * times, self.calls * times)


@dataclass(frozen=True)
class Routine:
    """One C function: its name and text, what a call costs, and bytes of stack with callees."""

    name: str
    text: str
    cost: Cost
    stack: int


def literal(number: float, dtype: DType) -> str:
    """A C constant that reads back to the same bits."""
    if math.isnan(number):
        return "NAN"
    with np.errstate(over="ignore"):
        value = np.float32(number) if dtype == "float32" else np.float64(number)
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return str(value) + ("f" if dtype == "float32" else "")


def at(place: str, offset: int) -> str:
    """The C text of a place like "v" or "v + 12", moved on."""
    array, _, start = place.partition(" + ")
    total = int(start or 0) + offset
    return f"{array} + {total}" if total else array


def element(place: str, index: str) -> str:
    """The C text of an element counted from a place."""
    array, _, start = place.partition(" + ")
    return f"{array}[{start} + {index}]" if int(start or 0) else f"{array}[{index}]"


def signature(name: str, parameters: Sequence[str]) -> str:
    """`void name(parameters)`, broken into lines of at most 100 characters."""
    lines = [f"void {name}("]
    for k, parameter in enumerate(parameters):
        text = parameter + (", " if k < len(parameters) - 1 else ")")
        if len(lines[-1]) + len(text) > 100:
            lines.append(" " * 8)
        lines[-1] += text
    return "\n".join(line.rstrip() for line in lines)


def statements(
    function: ca.Function,
    read: Callable[[int, int], str],
    write: Callable[[int, int], str],
    dtype: DType,
) -> tuple[list[str], Cost]:
    """An SX function as C statements, with its declarations.

    read(i, k), write(j, k)   the C text of nonzero k of input i and of output j

    Raises ValueError for an operation that C99 has no form for.
    """
    suffix = "f" if dtype == "float32" else ""
    lines, cost = [], Cost()
    registers: dict[str, None] = {}
    for k in range(function.n_instructions()):
        op = function.instruction_id(k)
        out, source = function.instruction_output(k), function.instruction_input(k)
        operation = _NAME.get(op, str(op))
        if op == ca.OP_OUTPUT:
            lines.append(f"{write(out[0], out[1])} = w{source[0]};")
            continue
        if op == ca.OP_CONST:
            value = literal(function.instruction_constant(k), dtype)
        elif op == ca.OP_INPUT:
            value = read(source[0], source[1])
        elif operation in _EXPRESSIONS:
            value = _EXPRESSIONS[operation].format(*(f"w{s}" for s in source))
            cost += Cost(flops=0 if operation in _FREE else 1)
        elif operation in _CALLS:
            value = f"{_CALLS[operation]}{suffix}({', '.join(f'w{s}' for s in source)})"
            cost += Cost(flops=1) if operation in _CHEAP else Cost(calls=1)
        else:
            raise ValueError(
                f"model: operation {operation} in {function.name()!r} has no form in C99; known "
                f"are {', '.join(OPERATIONS)}"
            )
        registers[f"w{out[0]}"] = None
        lines.append(f"w{out[0]} = {value};")
    names = list(registers)
    rows = [names[i : i + 14] for i in range(0, len(names), 14)]
    return [f"{REAL[dtype]} {', '.join(row)};" for row in rows] + lines, cost


def print_piece(
    name: str, function: ca.Function, outputs: Sequence[str], dtype: DType
) -> tuple[Routine, tuple[int, ...]]:
    """`static void name(inputs…, outputs…)` for an SX function, and which inputs it takes.

    Inputs that nothing reads are left out. An output array holds the nonzeros by column.
    """
    used: set[int] = set()

    def read(i: int, k: int) -> str:
        used.add(i)
        return f"{function.name_in(i)}[{k}]"

    lines, cost = statements(function, read, lambda j, k: f"{outputs[j]}[{k}]", dtype)
    inputs = tuple(sorted(used))
    kind = REAL[dtype]
    head = [f"const {kind} *restrict {function.name_in(i)}" for i in inputs]
    head += [f"{kind} *restrict {output}" for output in outputs]
    body = "".join(f"    {line}\n" for line in lines)
    text = f"static {signature(name, head)}\n{{\n{body}}}\n"
    return Routine(name, text, cost, function.sz_w() * BYTES[dtype]), inputs


def with_slopes(function: ca.Function, arguments: Sequence[int]) -> ca.Function:
    """(y, ∂y/∂argument, …) of an SX function; terms that occur twice are computed once."""
    names = function.name_in()
    inputs = [ca.SX.sym(names[k], *function.size_in(k)) for k in range(function.n_in())]
    [y] = function.call(inputs)
    slopes = [ca.sparsify(ca.jacobian(y, inputs[k])) for k in arguments]
    results = ca.cse([ca.densify(y), *slopes])
    outputs = ["y", *(f"y_{names[k]}" for k in arguments)]
    return ca.Function(function.name(), inputs, results, names, outputs)
