"""CasADi → torch: a casadi.Function becomes a batched, differentiable torch module.

    scalar form    SX graphs, and MX graphs that expand to them: one operation a scalar
    matrix form    MX graphs with whole matrix products, solves and lookup tables
    call-through   what has no graph (callbacks, externals, FMUs, solvers): CasADi is called

No source text is generated and nothing is compiled. The first two work on any device, in
float32 and float64, twice differentiable, under torch.func and torch.compile; the third works
under torch.func too, but runs on the CPU and breaks a compiled graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, Literal

import casadi as ca
import torch
from torch import Tensor, nn

from hybridmodel.bridges.call_through import CallThrough
from hybridmodel.bridges.lookup_tables import table_of
from hybridmodel.bridges.matrix_form import MatrixForm, dense, nonzeros_of
from hybridmodel.bridges.operations import OPERATIONS as OPERATIONS
from hybridmodel.bridges.scalar_form import ScalarForm

Form = Literal["scalar", "matrix"]


def to_torch(function: ca.Function, *, form: Form | None = None) -> TorchFunction:
    """A torch module that computes a casadi.Function on batches.

    Each input of shape (n, 1) is taken as a tensor (…, n), a matrix (n, m) as (…, n, m); the
    leading dims broadcast. One output is returned as a tensor, several as a tuple. SX and MX
    Functions become torch operations; of an MX Function the form with fewer of them is taken,
    unless `form` says which. What has no graph is called through, see `calls_through`.

    Raises ValueError where symbols of the function are free, `form` is unknown, or the scalar
    form is asked of a Function that has none.
    """
    if form not in (None, "scalar", "matrix"):
        raise ValueError(f"form must be 'scalar', 'matrix' or None, got {form!r}")
    return TorchFunction(function, form)


class TorchFunction(nn.Module):
    """What `to_torch` returns; it has no weights, so it may be shared.

    calls_through   names of the Functions inside that CasADi evaluates, because they have no
                    graph; empty for a module that is all torch
    """

    def __init__(self, function: ca.Function, form: Form | None = None) -> None:
        super().__init__()
        self.function, self.asked = function, form
        self.name: str = function.name()
        if function.has_free():
            raise ValueError(f"{self.name}: symbols {function.get_free()} are not among its inputs")
        self.form = form_of(function, form)
        self.calls_through = tuple(dict.fromkeys(_called_through(self.form)))
        self.input_names = tuple(function.name_in())
        before = [function.sparsity_in(i) for i in range(function.n_in())]
        after = [function.sparsity_out(i) for i in range(function.n_out())]
        self.input_shapes = tuple(_trailing(sparsity) for sparsity in before)
        self.output_shapes = tuple(_trailing(sparsity) for sparsity in after)
        self._packs = [_pack(sparsity) for sparsity in before]
        self._unpacks = [_unpack(sparsity) for sparsity in after]

    def __reduce__(self) -> tuple[Any, ...]:
        return TorchFunction, (self.function, self.asked)  # forms hold lambdas

    def extra_repr(self) -> str:
        told = f"{self.name}, {type(self.form).__name__}, {self.form.size} operations"
        return told + (f", calls CasADi for {self.calls_through}" if self.calls_through else "")

    def forward(self, *arguments: Tensor) -> Any:
        self._check(arguments)
        like = _like(arguments)
        nonzeros = [pack(a) for pack, a in zip(self._packs, arguments, strict=True)]
        found = self.form(nonzeros, like)
        results = tuple(unpack(v) for unpack, v in zip(self._unpacks, found, strict=True))
        return results[0] if len(results) == 1 else results

    def _check(self, arguments: tuple[Tensor, ...]) -> None:
        if len(arguments) != len(self.input_shapes):
            raise ValueError(
                f"{self.name} takes {len(self.input_shapes)} arguments {self.input_names}, "
                f"got {len(arguments)}"
            )
        for name, shape, argument in zip(
            self.input_names, self.input_shapes, arguments, strict=True
        ):
            if tuple(argument.shape[-len(shape) :]) != shape:
                wanted = ", ".join(("…", *map(str, shape)))
                raise ValueError(
                    f"{self.name}: {name} must have shape ({wanted}), got {tuple(argument.shape)}"
                )
            if not argument.is_floating_point():
                raise ValueError(
                    f"{self.name}: {name} must hold floating-point numbers, got {argument.dtype}"
                )


def _like(arguments: tuple[Tensor, ...]) -> Tensor:
    """A scalar of the arguments' device and widest dtype."""
    if not arguments:
        return torch.zeros((), dtype=torch.float64)
    dtype = reduce(torch.promote_types, [argument.dtype for argument in arguments])
    return arguments[0].new_zeros((), dtype=dtype)


def form_of(function: ca.Function, form: Form | None = None) -> Any:
    """The form of a Function: nonzeros (…, nnz) of its inputs ↦ nonzeros of its outputs."""
    kind = function.class_name()
    if kind == "SXFunction":
        return ScalarForm(function, form_of)
    if kind == "MXFunction":
        return _of_graph(function, form)
    if form is not None:
        raise ValueError(f"{function.name()}: a {kind} has no graph, so no {form!r} form")
    if kind in ("Map", "ThreadMap", "OmpMap"):
        return Mapped(form_of(function.info()["f"]), function.info()["n"])
    if kind == "Switch" and not any(function.info()[k] for k in ("project_in", "project_out")):
        info = function.info()
        return Switched([form_of(f) for f in (*info["f"], info["f_def"])])
    if kind in ("LinearInterpolant", "BSplineInterpolant") and (table := table_of(function)):
        return table
    return CallThrough(function)


def _of_graph(function: ca.Function, form: Form | None) -> Any:
    """An MX graph as scalars or matrices, whichever is asked for or has fewer operations."""
    scalar, reason = None, ""
    # as scalars, a branch that is not taken would be computed and its NaN get into the slope
    switches = any(inner.class_name() == "Switch" for inner in function.find_functions(-1))
    if form == "scalar" or (form is None and not switches):
        scalar, reason = _expanded(function)
    if form == "scalar":
        if scalar is None:
            raise ValueError(
                f"{function.name()}: this MX function has no scalar (SX) form: {reason}"
            )
        return scalar
    matrix = MatrixForm(function, form_of, _of_node)
    return scalar if scalar is not None and scalar.size <= matrix.size else matrix


def _expanded(function: ca.Function) -> tuple[ScalarForm | None, str]:
    """The scalar form of an MX graph, or why there is none."""
    try:
        return ScalarForm(function.expand(), form_of), ""
    except RuntimeError as error:
        return None, str(error).strip().splitlines()[-1]


def _of_node(function: ca.Function) -> Any:
    """A single MX node: scalars, a table, or a call of CasADi."""
    scalar, _ = _expanded(function)
    return scalar or table_of(function) or CallThrough(function)


class Mapped:
    """A Function mapped over n columns of arguments: the columns become a leading dim."""

    def __init__(self, form: Any, n: int) -> None:
        self.inner, self.n = form, n
        self.called = (form,)
        self.size = form.size
        self.input_counts = [n * count for count in form.input_counts]

    def __call__(self, nonzeros: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        columns = [v.unflatten(-1, (self.n, v.shape[-1] // self.n)) for v in nonzeros]
        return [v.flatten(-2) for v in self.inner(columns, like)]


class Switched:
    """A choice among Functions by the first argument; the last is taken where none fits.

    All run on all rows. The inputs of a branch that a row does not take are detached from it,
    so that no NaN of its slope gets through.
    """

    def __init__(self, forms: list[Any]) -> None:
        self.called = forms
        self.size = sum(form.size for form in forms)
        self.input_counts = [1, *max((form.input_counts for form in forms), key=len)]

    def __call__(self, nonzeros: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        index, arguments = nonzeros[0], nonzeros[1:]
        number = torch.trunc(index)
        last = len(self.called) - 1
        taken = [number == k for k in range(last)]
        taken.append(~reduce(torch.logical_or, taken) if taken else torch.ones_like(index).bool())
        results: list[Tensor] | None = None
        for mine, form in zip(taken, self.called, strict=True):
            inputs = [torch.where(mine, v, v.detach()) for v in arguments]
            found = form(inputs, like)
            results = (
                found
                if results is None
                else [torch.where(mine, new, old) for new, old in zip(found, results, strict=True)]
            )
        return results or []


def _called_through(form: Any) -> Iterator[str]:
    if isinstance(form, CallThrough):
        yield form.function.name()
    for inner in form.called:
        yield from _called_through(inner)


def _trailing(sparsity: ca.Sparsity) -> tuple[int, ...]:
    n, m = sparsity.shape
    return (n,) if m == 1 else (n, m)


def _pack(sparsity: ca.Sparsity) -> Callable[[Tensor], Tensor]:
    """A tensor (…, n) or (…, n, m) ↦ nonzeros (…, nnz)."""
    pack = nonzeros_of(sparsity)
    if sparsity.size2() != 1:
        return pack
    return _same if sparsity.is_dense() else lambda argument: pack(argument[..., None])


def _unpack(sparsity: ca.Sparsity) -> Callable[[Tensor], Tensor]:
    unpack = dense(sparsity)
    if sparsity.size2() != 1:
        return unpack
    return _same if sparsity.is_dense() else lambda nonzeros: unpack(nonzeros)[..., 0]


def _same(argument: Tensor) -> Tensor:
    return argument
