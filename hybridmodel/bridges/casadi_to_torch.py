"""CasADi → torch: a casadi.Function becomes a batched, differentiable torch module.

The SX graph is a list of scalar instructions; each becomes one torch operation on a whole
batch. No source text is generated and nothing is compiled, so the module works on any device,
in float32 and float64, twice differentiable, and under torch.func and torch.compile.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import casadi as ca
import torch
from torch import Tensor, nn


def _real(condition: Tensor, like: Tensor) -> Tensor:
    return condition.to(like.dtype)


def _sign(x: Tensor) -> Tensor:
    return torch.where(torch.isnan(x), math.nan, torch.sign(x))  # torch says sign(NaN) = 0


# fmin(NaN, 1) = 1, and both arguments share the slope where they tie, as CasADi has it


def _fmin(x: Tensor, y: Tensor) -> Tensor:
    return _without_nan(x, y, torch.minimum(x, y))


def _fmax(x: Tensor, y: Tensor) -> Tensor:
    return _without_nan(x, y, torch.maximum(x, y))


def _without_nan(x: Tensor, y: Tensor, value: Tensor) -> Tensor:
    return torch.where(torch.isnan(x), y, torch.where(torch.isnan(y), x, value))


def _remainder(x: Tensor, y: Tensor) -> Tensor:
    # IEEE 754: x − n y for the nearest n, ties to even; exact since fmod is, however large x/y
    part = torch.fmod(x, 2 * y)
    n = torch.round(part / y).detach()
    return torch.where(n == 0, part, part - n * y)  # y may be infinite where n = 0


# Plain operators take Python floats for constants; the other tables are given tensors.
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "ADD": operator.add,
    "SUB": operator.sub,
    "MUL": operator.mul,
    "DIV": operator.truediv,
    "NEG": operator.neg,
    "SQ": lambda x: x * x,
    "TWICE": lambda x: x + x,
    "INV": lambda x: 1.0 / x,
    "ASSIGN": lambda x: x,
    "LIFT": lambda x, y: x,
}
_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "EXP": torch.exp,
    "LOG": torch.log,
    "EXPM1": torch.expm1,
    "LOG1P": torch.log1p,
    "SQRT": torch.sqrt,
    "SIN": torch.sin,
    "COS": torch.cos,
    "TAN": torch.tan,
    "ASIN": torch.asin,
    "ACOS": torch.acos,
    "ATAN": torch.atan,
    "SINH": torch.sinh,
    "COSH": torch.cosh,
    "TANH": torch.tanh,
    "ASINH": torch.asinh,
    "ACOSH": torch.acosh,
    "ATANH": torch.atanh,
    "ERF": torch.erf,
    "ERFINV": torch.erfinv,
    "FABS": torch.abs,
    "SIGN": _sign,
    "FLOOR": torch.floor,
    "CEIL": torch.ceil,
    "POW": torch.pow,
    "CONSTPOW": torch.pow,
    "ATAN2": torch.atan2,
    "HYPOT": torch.hypot,
    "FMIN": _fmin,
    "FMAX": _fmax,
    "FMOD": torch.fmod,
    "REMAINDER": _remainder,
    "COPYSIGN": torch.copysign,
    "LT": lambda x, y: _real(x < y, x),
    "LE": lambda x, y: _real(x <= y, x),
    "EQ": lambda x, y: _real(x == y, x),
    "NE": lambda x, y: _real(x != y, x),
    "NOT": lambda x: _real(x == 0, x),
    "AND": lambda x, y: _real((x != 0) & (y != 0), x),
    "OR": lambda x, y: _real((x != 0) | (y != 0), x),
    "IF_ELSE_ZERO": lambda x, y: torch.where(x != 0, y, torch.zeros_like(y)),
}
OPERATIONS = tuple(sorted((*_ARITHMETIC, *_FUNCTIONS)))
_OPCODE = {getattr(ca, f"OP_{name}"): name for name in OPERATIONS}
_NAME = {getattr(ca, name): name[3:] for name in dir(ca) if name.startswith("OP_")}


def to_torch(function: ca.Function) -> TorchFunction:
    """A torch module that computes a casadi.Function on batches.

    Each input of shape (n, 1) is taken as a tensor (…, n), a matrix (n, m) as (…, n, m); the
    leading dims broadcast. One output is returned as a tensor, several as a tuple.

    Raises ValueError where an MX function has no scalar form, an operation is not known (the
    known ones are listed) or symbols of the function are free.
    """
    return TorchFunction(function)


class TorchFunction(nn.Module):
    """What `to_torch` returns; it has no weights, so it may be shared."""

    def __init__(self, function: ca.Function) -> None:
        super().__init__()
        self.function = function
        self.name: str = function.name()
        if function.has_free():
            raise ValueError(f"{self.name}: symbols {function.get_free()} are not among its inputs")
        sx = function if function.is_a("SXFunction") else _expanded(function)
        self.input_names = tuple(sx.name_in())
        self.input_shapes = tuple(_trailing(sx.size_in(i)) for i in range(sx.n_in()))
        self.output_shapes = tuple(_trailing(sx.size_out(i)) for i in range(sx.n_out()))
        places_in = [_places(sx.sparsity_in(i)) for i in range(sx.n_in())]
        places_out = [_places(sx.sparsity_out(i)) for i in range(sx.n_out())]

        # one entry an operation: what to call, value number ← one or two operands
        self._program: list[tuple[Callable[..., Any], int, int, int | None]] = []
        self._constants: list[tuple[int, float | None]] = []  # value number ← number, as tensor
        self._loads: list[tuple[int, int, int]] = []  # value number ← input, place
        self._stores: list[tuple[int, int, int]] = []  # output, place ← value number
        # registers are renamed to value numbers, so that constants can be set in advance
        values: list[float | None] = []
        floats: set[int] = set()  # value numbers of Python floats: constants and sums of them
        register: dict[int, int] = {}

        def as_tensor(number: int) -> int:
            """The value number of a constant's copy as a tensor."""
            self._constants.append((len(values), values[number]))
            values.append(None)
            return len(values) - 1

        for k in range(sx.n_instructions()):
            op, out, source = (
                sx.instruction_id(k),
                sx.instruction_output(k),
                sx.instruction_input(k),
            )
            if op == ca.OP_CONST:
                register[out[0]] = len(values)
                floats.add(len(values))
                values.append(sx.instruction_constant(k))
            elif op == ca.OP_INPUT:
                register[out[0]] = len(values)
                self._loads.append((len(values), source[0], places_in[source[0]][source[1]]))
                values.append(None)
            elif op == ca.OP_OUTPUT:
                self._stores.append((out[0], places_out[out[0]][out[1]], register[source[0]]))
            elif op in _OPCODE:
                name = _OPCODE[op]
                sources = [register[s] for s in source]
                if name in _FUNCTIONS:
                    sources = [as_tensor(i) if i in floats else i for i in sources]
                elif floats.issuperset(sources):
                    floats.add(len(values))
                call = _ARITHMETIC.get(name) or _FUNCTIONS[name]
                register[out[0]] = len(values)
                first, second = sources[0], sources[1] if len(sources) > 1 else None
                self._program.append((call, len(values), first, second))
                values.append(None)
            else:
                raise ValueError(
                    f"{self.name}: operation {_NAME.get(op, op)} at instruction {k} has no torch "
                    f"form; known are {', '.join(OPERATIONS)}"
                )
        self._values = values

    def __reduce__(self) -> tuple[Any, ...]:
        return to_torch, (self.function,)  # the tables hold lambdas, which do not pickle

    def extra_repr(self) -> str:
        return f"{self.name}, {len(self._program)} operations"

    def forward(self, *arguments: Tensor) -> Any:
        columns = self._columns(arguments)
        like = self._like(arguments)
        values: list[Any] = list(self._values)
        for value, argument, place in self._loads:
            values[value] = columns[argument][place]
        for value, number in self._constants:
            values[value] = _tensor(number, like)
        for call, value, first, second in self._program:
            if second is None:
                values[value] = call(values[first])
            else:
                values[value] = call(values[first], values[second])
        return self._outputs(values, like, arguments)

    def _like(self, arguments: tuple[Tensor, ...]) -> Tensor:
        """A scalar of the arguments' device and widest dtype."""
        for name, argument in zip(self.input_names, arguments, strict=True):
            if not argument.is_floating_point():
                raise ValueError(
                    f"{self.name}: {name} must hold floating-point numbers, got {argument.dtype}"
                )
        dtype = reduce(torch.promote_types, [argument.dtype for argument in arguments])
        return arguments[0].new_zeros((), dtype=dtype)

    def _columns(self, arguments: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
        if len(arguments) != len(self.input_shapes):
            raise ValueError(
                f"{self.name} takes {len(self.input_shapes)} arguments {self.input_names}, "
                f"got {len(arguments)}"
            )
        columns = []
        for name, shape, argument in zip(
            self.input_names, self.input_shapes, arguments, strict=True
        ):
            if tuple(argument.shape[-len(shape) :]) != shape:
                wanted = ", ".join(("…", *map(str, shape)))
                raise ValueError(
                    f"{self.name}: {name} must have shape ({wanted}), got {tuple(argument.shape)}"
                )
            flat = argument if len(shape) == 1 else argument.flatten(-2)
            columns.append(flat.unbind(-1) if math.prod(shape) else ())
        return columns

    def _outputs(self, values: list[Any], like: Tensor, arguments: tuple[Tensor, ...]) -> Any:
        leading = {
            a.shape[: a.dim() - len(s)] for a, s in zip(arguments, self.input_shapes, strict=True)
        }
        batch = leading.pop() if len(leading) == 1 else torch.broadcast_shapes(*leading)
        rows: list[list[Any]] = [[0.0] * math.prod(shape) for shape in self.output_shapes]
        for output, place, value in self._stores:
            rows[output][place] = values[value]
        results = []
        for shape, row in zip(self.output_shapes, rows, strict=True):
            if not row:
                results.append(like.new_zeros((*batch, *shape)))
                continue
            tensors = [_tensor(value, like) for value in row]
            wide = [t if t.shape == batch else t.expand(batch) for t in tensors]
            stacked = torch.stack(wide, -1)
            results.append(stacked if len(shape) == 1 else stacked.unflatten(-1, shape))
        return results[0] if len(results) == 1 else tuple(results)


def _expanded(function: ca.Function) -> ca.Function:
    try:
        return function.expand()
    except RuntimeError as error:
        raise ValueError(
            f"{function.name()}: this MX function has no scalar (SX) form: "
            f"{str(error).strip().splitlines()[-1]}"
        ) from None


def _trailing(size: tuple[int, int]) -> tuple[int, ...]:
    return (size[0],) if size[1] == 1 else size


def _places(sparsity: ca.Sparsity) -> list[int]:
    """For each nonzero (CasADi: by column) its place in the dense row-major array."""
    rows, columns = sparsity.get_triplet()
    return [r * sparsity.size2() + c for r, c in zip(rows, columns, strict=True)]


def _tensor(value: Any, like: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return torch.full((), value, dtype=like.dtype, device=like.device)
