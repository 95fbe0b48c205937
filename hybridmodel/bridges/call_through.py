"""The way across for a Function without symbolic form: CasADi itself is called, on all rows.

Callbacks, externals, FMUs, solvers and integrators have no graph that could become torch. Values
and derivatives are those that CasADi gives: the adjoint is Function.reverse(1), the tangent
Function.forward(1), and both cross in the same way, so that second derivatives work too. The
arithmetic is done in float64 on the CPU whatever the tensors are. What a Function raises for one
row is raised for the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import casadi as ca
import numpy as np
import torch
from torch import Tensor

from hybridmodel.bridges.leading import broadcast


class CallThrough:
    """A Function as a map of nonzeros (…, nnz), evaluated by CasADi."""

    size = 1
    called = ()

    def __init__(self, function: ca.Function) -> None:
        self.function = function
        self.input_counts = [function.nnz_in(i) for i in range(function.n_in())]
        self._in = [_Layout(function.sparsity_in(i)) for i in range(function.n_in())]
        self._out = [_Layout(function.sparsity_out(i)) for i in range(function.n_out())]

    def __call__(self, nonzeros: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        leading = [v.shape[:-1] for v in nonzeros]
        batch = broadcast(*leading)
        # a derivative that does not need an argument takes it without nonzeros
        wide = [
            v.to(like.dtype).expand(*batch, v.shape[-1])[..., :count]
            for v, count in zip(nonzeros, self.input_counts, strict=True)
        ]
        return list(_Evaluate.apply(self, *wide)) if self._out else []

    def evaluate(self, nonzeros: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """All outputs at all rows, without derivatives."""
        batch = nonzeros[0].shape[:-1] if nonzeros else ()
        rows = int(np.prod(batch))
        values = [v.detach().cpu().double().reshape(rows, v.shape[-1]).numpy() for v in nonzeros]
        if rows:
            wide = [layout.wide(v) for layout, v in zip(self._in, values, strict=True)]
            results = self.function.call(wide)
            found = [
                layout.narrow(r.full(), rows) for layout, r in zip(self._out, results, strict=True)
            ]
        else:
            found = [np.zeros((0, layout.count)) for layout in self._out]
        like = nonzeros[0] if nonzeros else torch.zeros((), dtype=torch.float64)
        return tuple(
            torch.from_numpy(np.ascontiguousarray(v)).to(like).reshape(*batch, v.shape[-1])
            for v in found
        )

    @cached_property
    def adjoint(self) -> CallThrough:
        """(inputs, outputs, adjoint of outputs) ↦ adjoint of inputs."""
        return CallThrough(self.function.reverse(1))

    @cached_property
    def tangent(self) -> CallThrough:
        """(inputs, outputs, tangents of inputs) ↦ tangents of outputs."""
        return CallThrough(self.function.forward(1))


class _Layout:
    """Where the nonzeros of one argument lie: rows (R, nnz) ⇄ a matrix (n, R·m)."""

    def __init__(self, sparsity: ca.Sparsity) -> None:
        self.n, self.m, self.count = sparsity.size1(), sparsity.size2(), sparsity.nnz()
        rows, columns = sparsity.get_triplet()
        self.rows, self.columns = np.array(rows, int), np.array(columns, int)

    def wide(self, values: np.ndarray) -> ca.DM:
        dense = np.zeros((self.n, len(values), self.m))
        dense[self.rows, :, self.columns] = values.T
        return ca.DM(dense.reshape(self.n, len(values) * self.m))

    def narrow(self, dense: np.ndarray, rows: int) -> np.ndarray:
        return dense.reshape(self.n, rows, self.m)[self.rows, :, self.columns].T


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(through: CallThrough, *nonzeros: Tensor) -> tuple[Tensor, ...]:
        return through.evaluate(nonzeros)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.through, ctx.count = inputs[0], len(inputs) - 1
        ctx.save_for_backward(*inputs[1:], *output)
        ctx.save_for_forward(*inputs[1:], *output)

    @staticmethod
    def backward(ctx: Any, *seeds: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        found = ctx.through.adjoint([*saved, *seeds], saved[0])
        return (None, *map(_filled, found, saved[: ctx.count]))

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, ...]:
        saved = ctx.saved_tensors
        given = [
            torch.zeros_like(v) if t is None else t
            for v, t in zip(saved[: ctx.count], tangents[1:], strict=True)
        ]
        found = ctx.through.tangent([*saved, *given], saved[0])
        return tuple(map(_filled, found, saved[ctx.count :]))

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> tuple[tuple[Tensor, ...], Any]:
        through, *nonzeros = arguments
        wide = [
            v.expand(info.batch_size, *v.shape) if dim is None else v.movedim(dim, 0)
            for v, dim in zip(nonzeros, in_dims[1:], strict=True)
        ]
        results = _Evaluate.apply(through, *wide)
        return results, (0,) * len(results)


def _filled(derivative: Tensor, like: Tensor) -> Tensor:
    """A derivative that CasADi knows to be zero comes without nonzeros."""
    return derivative if derivative.shape[-1] == like.shape[-1] else torch.zeros_like(like)
