"""CasADi → torch: a casadi.Function becomes a batched, differentiable torch module.

    scalar form    SX graphs, and MX graphs that expand to them: one operation a scalar
    matrix form    MX graphs with whole matrix products, solves and lookup tables
    call-through   what has no graph (callbacks, externals, FMUs, solvers): CasADi is called

No source text is generated and nothing is compiled. The first two work on any device, in
float32 and float64, twice differentiable, under torch.func and torch.compile; the third works
under torch.func too, but runs on the CPU and breaks a compiled graph.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import casadi as ca
import torch
from torch import Tensor, nn

from hybridmodel.bridges.forms import Forms, Name, called_through
from hybridmodel.bridges.leading import broadcast
from hybridmodel.bridges.nonzeros import dense, nonzeros_of


def to_torch(function: ca.Function, *, form: Name | None = None) -> TorchFunction:
    """A torch module that computes a casadi.Function on batches.

    Each input of shape (n, 1) is taken as a tensor (…, n), a matrix (n, m) as (…, n, m); the
    leading dims broadcast. One output is returned as a tensor, several as a tuple. SX and MX
    Functions become torch operations; of an MX Function the cheaper form is taken, unless `form`
    says which. What has no graph is called through, see `calls_through`. All arguments are taken
    in the widest dtype among them.

    Raises ValueError for what is no Function, where its symbols are free, and where `form` is
    unknown or one that the Function has not got.
    """
    if form not in (None, "scalar", "matrix"):
        raise ValueError(f"form must be 'scalar', 'matrix' or None, got {form!r}")
    if not isinstance(function, ca.Function) or function.is_null():
        raise ValueError(f"wanted a casadi.Function, got {type(function).__name__} {function!r}")
    return TorchFunction(function, form)


class TorchFunction(nn.Module):
    """What `to_torch` returns; it has no weights, so it may be shared.

    calls_through   names of the Functions inside that CasADi evaluates, because they have no
                    graph; empty for a module that is all torch
    """

    def __init__(self, function: ca.Function, form: Name | None = None) -> None:
        super().__init__()
        self.function, self.asked = function, form
        self.name: str = function.name()
        if function.has_free():
            raise ValueError(f"{self.name}: symbols {function.get_free()} are not among its inputs")
        self.form = Forms().of(function, form)
        self.calls_through = tuple(dict.fromkeys(called_through(self.form)))
        self.input_names = tuple(function.name_in())
        before = [function.sparsity_in(i) for i in range(function.n_in())]
        after = [function.sparsity_out(i) for i in range(function.n_out())]
        self.input_shapes = tuple(_trailing(sparsity) for sparsity in before)
        self.output_shapes = tuple(_trailing(sparsity) for sparsity in after)
        self._packs = [_pack(sparsity) for sparsity in before]
        self._unpacks = [_unpack(sparsity) for sparsity in after]

    def __reduce__(self) -> tuple[Any, ...]:
        return TorchFunction, (self.function, self.asked)  # forms hold lambdas

    def __deepcopy__(self, memo: dict[int, Any]) -> TorchFunction:
        return self

    def extra_repr(self) -> str:
        told = f"{self.name}, {type(self.form).__name__}, {self.form.size} operations"
        return told + (f", calls CasADi for {self.calls_through}" if self.calls_through else "")

    def forward(self, *arguments: Tensor) -> Any:
        like = self._checked(arguments)
        nonzeros = [
            pack(a if a.dtype == like.dtype else a.to(like.dtype))
            for pack, a in zip(self._packs, arguments, strict=True)
        ]
        found = self.form(nonzeros, like)
        results = tuple(unpack(v) for unpack, v in zip(self._unpacks, found, strict=True))
        return results[0] if len(results) == 1 else results

    def _checked(self, arguments: tuple[Tensor, ...]) -> Tensor:
        """A scalar of the arguments' device and widest dtype; ValueError where one does not fit."""
        if len(arguments) != len(self.input_shapes):
            raise ValueError(
                f"{self.name} takes {len(self.input_shapes)} arguments {self.input_names}, "
                f"got {len(arguments)}"
            )
        leading, dtypes = set(), set()
        for name, shape, argument in zip(
            self.input_names, self.input_shapes, arguments, strict=True
        ):
            if not isinstance(argument, Tensor):
                raise ValueError(f"{self.name}: {name} must be a tensor, got {type(argument)}")
            found = argument.shape
            if found[-len(shape) :] != shape:
                wanted = ", ".join(("…", *map(str, shape)))
                raise ValueError(
                    f"{self.name}: {name} must have shape ({wanted}), got {tuple(found)}"
                )
            if not argument.is_floating_point():
                raise ValueError(
                    f"{self.name}: {name} must hold floating-point numbers, got {argument.dtype}"
                )
            leading.add(found[: -len(shape)])
            dtypes.add(argument.dtype)
        try:
            broadcast(*leading)
        except RuntimeError:
            told = {n: tuple(a.shape) for n, a in zip(self.input_names, arguments, strict=True)}
            raise ValueError(f"{self.name}: leading dims must broadcast, got {told}") from None
        if not arguments:
            return torch.zeros((), dtype=torch.float64)
        return arguments[0].new_zeros((), dtype=reduce(torch.promote_types, dtypes))


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
