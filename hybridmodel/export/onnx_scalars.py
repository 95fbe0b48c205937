"""CasADi's scalar operations as ONNX nodes, one table, and the nodes of a graph as they grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import casadi as ca
import numpy as np

from hybridmodel.export.c.pieces import DType

_NAME = {getattr(ca, name): name[3:] for name in dir(ca) if name.startswith("OP_")}


class Builder:
    """Nodes and constants of one ONNX graph; values are known by name."""

    def __init__(self, dtype: DType) -> None:
        from onnx import TensorProto, helper, numpy_helper

        self._helper, self._numpy = helper, numpy_helper
        self.bool = TensorProto.BOOL
        self.real = TensorProto.DOUBLE if dtype == "float64" else TensorProto.FLOAT
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def node(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """The name of the one output of a new node."""
        return self.nodes_of(operation, inputs, 1, **attributes)[0]

    def nodes_of(
        self, operation: str, inputs: Sequence[str], count: int, **attributes: Any
    ) -> list[str]:
        """The names of the outputs of a new node."""
        names = [f"v{len(self.nodes)}_{k}" for k in range(count)]
        self.nodes.append(self._helper.make_node(operation, inputs, names, **attributes))
        return names

    def constant(self, value: float | np.ndarray) -> str:
        """Real numbers as they are shaped."""
        return self._constant(np.asarray(value, dtype=self.dtype))

    def integers(self, value: Sequence[int] | np.ndarray) -> str:
        """Indices or a shape."""
        return self._constant(np.asarray(value, dtype=np.int64))

    def truth(self, x: str) -> str:
        """Whether x differs from 0, as CasADi reads a condition."""
        return self.node("Cast", x, to=self.bool)

    def number(self, truth: str) -> str:
        """1 where true, else 0."""
        return self.node("Cast", truth, to=self.real)

    def columns(self, x: str, size: int) -> list[str]:
        """(batch, size) as `size` values (batch, 1)."""
        if size == 1:
            return [x]
        return self.nodes_of("Split", [x, self.integers([1] * size)], size, axis=1)

    def over_batch(self, x: str, like: str, size: int) -> str:
        """A constant (1, size), repeated for each row of `like`."""
        rows = self.node("Slice", self.node("Shape", like), self.integers([0]), self.integers([1]))
        shape = self.node("Concat", rows, self.integers([size]), axis=0)
        return self.node("Expand", x, shape)

    def _constant(self, value: np.ndarray) -> str:
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = f"c{len(self._known)}"
            self.constants.append(self._numpy.from_array(value, self._known[key]))
        return self._known[key]


def _plain(operation: str) -> Callable[..., str]:
    return lambda b, *x: b.node(operation, *x)


def _compared(operation: str) -> Callable[..., str]:
    return lambda b, x, y: b.number(b.node(operation, x, y))


def _logical(operation: str) -> Callable[..., str]:
    return lambda b, *x: b.number(b.node(operation, *(b.truth(v) for v in x)))


def _without_nan(operation: str) -> Callable[..., str]:
    def extreme(b: Builder, x: str, y: str) -> str:  # fmin(NaN, 1) = 1
        both = b.node("Where", b.node("IsNaN", y), x, b.node(operation, x, y))
        return b.node("Where", b.node("IsNaN", x), y, both)

    return extreme


def _sign(b: Builder, x: str) -> str:
    return b.node("Where", b.node("IsNaN", x), x, b.node("Sign", x))


def _expm1(b: Builder, x: str) -> str:
    # eˣ − 1 = tanh(x/2) (eˣ + 1), exact near 0 too
    above = b.node("Add", b.node("Exp", x), b.constant(1.0))
    return b.node("Mul", b.node("Tanh", b.node("Mul", x, b.constant(0.5))), above)


def _log1p(b: Builder, x: str) -> str:
    # log(w) x / (w − 1) with w = 1 + x, which cancels the rounding of w near 0
    w = b.node("Add", x, b.constant(1.0))
    log, gap = b.node("Log", w), b.node("Sub", w, b.constant(1.0))
    ratio = b.node("Div", b.node("Mul", log, x), gap)
    small = b.node("Where", b.node("Equal", gap, b.constant(0.0)), x, ratio)
    return b.node("Where", b.node("Greater", x, b.constant(1.0)), log, small)


def _hypot(b: Builder, x: str, y: str) -> str:
    x, y = b.node("Abs", x), b.node("Abs", y)
    large, small = b.node("Max", x, y), b.node("Min", x, y)
    ratio = b.node("Div", small, large)
    root = b.node("Sqrt", b.node("Add", b.node("Mul", ratio, ratio), b.constant(1.0)))
    none = b.node("Equal", large, b.constant(0.0))
    return b.node("Where", none, large, b.node("Mul", large, root))


def _tan(b: Builder, x: str) -> str:
    return b.node("Div", b.node("Sin", x), b.node("Cos", x))


def _if_else_zero(b: Builder, x: str, y: str) -> str:
    return b.node("Where", b.truth(x), y, b.constant(0.0))


_OPERATIONS: dict[str, Callable[..., str]] = {
    "ASSIGN": lambda b, x: x,
    "LIFT": lambda b, x, _: x,
    "ADD": _plain("Add"),
    "SUB": _plain("Sub"),
    "MUL": _plain("Mul"),
    "DIV": _plain("Div"),
    "NEG": _plain("Neg"),
    "SQ": lambda b, x: b.node("Mul", x, x),
    "TWICE": lambda b, x: b.node("Add", x, x),
    "INV": _plain("Reciprocal"),
    "EXP": _plain("Exp"),
    "LOG": _plain("Log"),
    "EXPM1": _expm1,
    "LOG1P": _log1p,
    "SQRT": _plain("Sqrt"),
    "SIN": _plain("Sin"),
    "COS": _plain("Cos"),
    "TAN": _tan,  # onnxruntime has no float64 Tan
    "ASIN": _plain("Asin"),
    "ACOS": _plain("Acos"),
    "ATAN": _plain("Atan"),
    "SINH": _plain("Sinh"),
    "COSH": _plain("Cosh"),
    "TANH": _plain("Tanh"),
    "ASINH": _plain("Asinh"),
    "ACOSH": _plain("Acosh"),
    "ATANH": _plain("Atanh"),
    "ERF": _plain("Erf"),
    "FABS": _plain("Abs"),
    "SIGN": _sign,
    "FLOOR": _plain("Floor"),
    "CEIL": _plain("Ceil"),
    "POW": _plain("Pow"),
    "CONSTPOW": _plain("Pow"),
    "HYPOT": _hypot,
    "FMIN": _without_nan("Min"),
    "FMAX": _without_nan("Max"),
    "FMOD": lambda b, x, y: b.node("Mod", x, y, fmod=1),
    "LT": _compared("Less"),
    "LE": _compared("LessOrEqual"),
    "EQ": _compared("Equal"),
    "NE": lambda b, x, y: b.number(b.node("Not", b.node("Equal", x, y))),
    "NOT": _logical("Not"),
    "AND": _logical("And"),
    "OR": _logical("Or"),
    "IF_ELSE_ZERO": _if_else_zero,
}
OPERATIONS = tuple(sorted(_OPERATIONS))


def print_scalars(
    builder: Builder, function: ca.Function, columns: Sequence[Sequence[str]]
) -> list[tuple[str, bool]]:
    """The entries of an SX function's one output, and whether each depends on an input.

    columns   for each input its entries, by name

    Raises ValueError for an operation that ONNX has no form for.
    """
    registers: dict[int, tuple[str, bool]] = {}
    zero = (builder.constant(np.zeros((1, 1))), False)
    results: list[tuple[str, bool]] = [zero] * function.size1_out(0)
    places = function.sparsity_out(0).row()
    for k in range(function.n_instructions()):
        op = function.instruction_id(k)
        out, source = function.instruction_output(k), function.instruction_input(k)
        operation = _NAME.get(op, str(op))
        if op == ca.OP_CONST:
            value = np.full((1, 1), function.instruction_constant(k))
            registers[out[0]] = (builder.constant(value), False)
        elif op == ca.OP_INPUT:
            registers[out[0]] = (columns[source[0]][source[1]], True)
        elif op == ca.OP_OUTPUT:
            results[places[out[1]]] = registers[source[0]]
        elif operation in _OPERATIONS:
            operands = [registers[s] for s in source]
            value = _OPERATIONS[operation](builder, *(name for name, _ in operands))
            registers[out[0]] = (value, any(moving for _, moving in operands))
        else:
            raise ValueError(
                f"model: operation {operation} in {function.name()!r} has no form in ONNX; known "
                f"are {', '.join(OPERATIONS)}"
            )
    return results
