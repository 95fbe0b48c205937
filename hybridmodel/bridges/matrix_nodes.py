"""MX nodes as torch operations on nonzeros (…, nnz): one table from the kind of node.

What only moves nonzeros is an index; products and factorisations run on whole matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import casadi as ca
import numpy as np
import torch
from torch import Tensor

from hybridmodel.bridges.leading import broadcast
from hybridmodel.bridges.nonzeros import dense, joined, nonzeros_of, taken

Operation = Callable[..., Any]  # nonzeros of the operands ↦ nonzeros, or a tuple of them


def _routed(move: Callable[..., ca.DM | Sequence[ca.DM]]) -> Callable[[ca.MX], Operation]:
    """Nodes that only move nonzeros: the move is done once, on their numbers."""

    def make(node: ca.MX) -> Operation:
        numbered, count = [], 0
        for i in range(node.n_dep()):
            sparsity = node.dep(i).sparsity()
            numbered.append(ca.DM(sparsity, np.arange(count, count + sparsity.nnz()) + 1.0))
            count += sparsity.nnz()
        moved = move(node, *numbered)
        several = not isinstance(moved, ca.DM)
        parts: Sequence[ca.DM] = moved if not isinstance(moved, ca.DM) else [moved]
        takes = [taken([int(number) - 1 for number in part.nonzeros()]) for part in parts]

        def route(*operands: Tensor) -> Any:
            whole = operands[0] if len(operands) == 1 else joined(operands)
            results = tuple(take(whole) for take in takes)
            return results if several else results[0]

        return route

    return make


def _same(node: ca.MX) -> Operation:
    return lambda x, *_: x


def _asserted(node: ca.MX) -> Operation:
    # a batch cannot raise for one of its rows: what fails its assertion is NaN
    return lambda x, holds: torch.where(holds != 0, x, torch.nan)


def _selected(info: dict[str, Any]) -> list[int]:
    """The nonzeros that a node reads or writes, in order."""
    if "nz" in info:
        return list(info["nz"])
    if "slice" in info:
        return list(range(*(info["slice"][key] for key in ("start", "stop", "step"))))
    outer, inner = (
        range(*(info[name][key] for key in ("start", "stop", "step")))
        for name in ("outer", "inner")
    )
    return [a + b for a in outer for b in inner]


def _get_nonzeros(node: ca.MX) -> Operation:
    return taken(_selected(node.info()))


def _get_nonzeros_at(node: ca.MX) -> Operation:
    """x[outer + inner], the outer index varying slowest, where one or both are computed.

    NaN where it is out of range, which CasADi asks of the nonzero and not of row and column.
    """
    count, info = node.dep(0).nnz(), node.info()
    fixed = {
        name: torch.tensor([*range(*(part[key] for key in ("start", "stop", "step")))])
        for name, part in info.items()
    } or ({"outer": torch.zeros(1)} if node.n_dep() == 2 else {})

    def get(x: Tensor, first: Tensor, *second: Tensor) -> Tensor:
        inner = fixed["inner"].to(first) if "inner" in fixed else first
        outer = first if "inner" in fixed else (*second, fixed.get("outer", first))[0].to(first)
        at = torch.trunc(outer)[..., :, None] + torch.trunc(inner)[..., None, :]
        at = at.flatten(-2)
        inside = (at >= 0) & (at < count)  # false for NaN
        batch = broadcast(x.shape[:-1], at.shape[:-1])
        place = torch.where(inside, at, 0).long().expand(*batch, at.shape[-1])
        return torch.where(inside, x.expand(*batch, x.shape[-1]).gather(-1, place), torch.nan)

    return get


def _set_nonzeros(node: ca.MX) -> Operation:
    written, count = _selected(node.info()), node.nnz()
    source = list(range(count))
    for number, place in enumerate(written):
        if place >= 0:
            source[place] = count + number  # a place written twice keeps the last
    take = taken(source)
    return lambda x, y: take(joined((x, y)))


def _add_nonzeros(node: ca.MX) -> Operation:
    places = _selected(node.info())
    kept = taken([number for number, place in enumerate(places) if place >= 0])
    index = torch.tensor([place for place in places if place >= 0], dtype=torch.long)

    def add(x: Tensor, y: Tensor) -> Tensor:
        batch = broadcast(x.shape[:-1], y.shape[:-1])
        wide = kept(y).expand(*batch, len(index))
        return x.expand(*batch, x.shape[-1]).index_add(-1, index.to(x.device), wide)

    return add


def _product(node: ca.MX) -> Operation:
    """Z + X Y, on the sparsity of Z."""
    z, x, y = (node.dep(i).sparsity() for i in range(3))
    add, is_column = not node.dep(0).is_zero(), y.size2() == 1
    left, right, packed = dense(x), dense(y), nonzeros_of(z)

    def multiply(zs: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
        if is_column and xs.dim() == 1:  # one matrix for a batch of columns
            value = (right(ys)[..., 0] @ left(xs).mT)[..., None]
        else:
            value = left(xs) @ right(ys)
        return zs + packed(value) if add else packed(value)

    return multiply


def _solve(node: ca.MX) -> Operation:
    """X with A X = B, or Aᵀ X = B."""
    right, left = dense(node.dep(0).sparsity()), dense(node.dep(1).sparsity())
    transposed, packed = node.info()["tr"], nonzeros_of(node.sparsity())

    def solve(bs: Tensor, as_: Tensor) -> Tensor:
        matrix, columns = left(as_), right(bs)
        batch = broadcast(matrix.shape[:-2], columns.shape[:-2])
        matrix, columns = (v.expand(*batch, *v.shape[-2:]) for v in (matrix, columns))
        matrix = matrix.mT if transposed else matrix
        # Not torch's solve: torch 2.13 loses terms of its second derivative in forward mode. A
        # singular row of a batch gives infinities or NaN and leaves the others alone.
        inverse = _inverse(matrix)
        value = inverse @ columns
        return packed(value + inverse @ (columns - matrix @ value))  # as exact as elimination

    return solve


def _of_matrix(function: Callable[[Tensor], Tensor]) -> Callable[[ca.MX], Operation]:
    """A square matrix ↦ a scalar (…,) or a matrix (…, n, m)."""

    def make(node: ca.MX) -> Operation:
        unpacked, packed = dense(node.dep(0).sparsity()), nonzeros_of(node.sparsity())
        if node.is_scalar():
            return lambda values: function(unpacked(values))[..., None]
        return lambda values: packed(function(unpacked(values)))

    return make


def _inverse(matrix: Tensor) -> Tensor:
    half = matrix.dtype in (torch.float16, torch.bfloat16)  # which LAPACK does not know
    inverse, _ = torch.linalg.inv_ex(matrix.float() if half else matrix)
    return inverse.to(matrix.dtype)


def _determinant(matrix: Tensor) -> Tensor:
    """det A = det A₀ · det(I + A₀⁻¹ (A − A₀)) at A₀ = A, so that slopes are sums of products.

    torch 2.13 loses terms of the second derivative of its own in forward mode.
    """
    here = matrix.detach()
    value = torch.linalg.det(here)
    regular = (value != 0)[..., None, None]
    identity = torch.eye(matrix.shape[-1]).to(matrix)
    moved = _inverse(torch.where(regular, here, identity)) @ (matrix - here)  # 0, with slopes
    near = value * sum(_symmetric(torch.where(regular, moved, 0 * identity)))
    singular = _symmetric(torch.where(regular, 0 * identity, matrix))[-1]
    return torch.where(value != 0, near, value + singular - singular.detach())


def _symmetric(matrix: Tensor) -> list[Tensor]:
    """e₀ … eₙ of a matrix's eigenvalues: Σ eₖ(M) = det(I + M), eₙ(M) = det M. Newton's identities
    from the traces of its powers."""
    power, traces = matrix, []
    found = [torch.ones_like(matrix[..., 0, 0])]
    for k in range(1, matrix.shape[-1] + 1):
        traces.append(power.diagonal(dim1=-2, dim2=-1).sum(-1))
        signed = [(-1) ** i * found[k - 1 - i] * traces[i] for i in range(k)]
        found.append(torch.stack(signed).sum(0) / k)
        power = power @ matrix
    return found


def _reduced(function: Callable[[Tensor], Tensor]) -> Callable[[ca.MX], Operation]:
    """All entries, zeros that are not stored included, ↦ one number."""

    def make(node: ca.MX) -> Operation:
        sparsity = node.dep(0).sparsity()
        places = None if sparsity.is_dense() else taken([*range(sparsity.nnz()), -1])
        return lambda v: function(v if places is None else places(v))[..., None]

    return make


def _split(node: ca.MX, whole: ca.DM) -> list[ca.DM]:
    """Blocks of the sizes that the node's outputs have: below, beside or along the diagonal."""
    output = node.info()["output"]
    parts, row, column = [], 0, 0
    for i in range(output.n_out()):
        n, m = output.size_out(i)
        parts.append(whole[row : row + n, column : column + m])
        row, column = (row + n) % whole.size1(), (column + m) % whole.size2()
    return parts


def _repeated_sum(node: ca.MX) -> Operation:
    count = node.dep(0).size2() // node.size2()
    return lambda v: v.unflatten(-1, (count, -1)).sum(-2)


NODES: dict[str, Callable[[ca.MX], Operation]] = {
    "RESHAPE": _same,
    "SPARSITY_CAST": _same,
    "MONITOR": _same,
    "DUMP": _same,
    "ASSERTION": _asserted,
    "TRANSPOSE": _routed(lambda node, a: a.T),
    "PROJECT": _routed(lambda node, a: ca.project(a, node.sparsity())),
    "HORZCAT": _routed(lambda node, *parts: ca.horzcat(*parts)),
    "VERTCAT": _routed(lambda node, *parts: ca.vertcat(*parts)),
    "DIAGCAT": _routed(lambda node, *parts: ca.diagcat(*parts)),
    "DIAGSPLIT": _routed(_split),
    "HORZSPLIT": _routed(_split),
    "VERTSPLIT": _routed(_split),
    "HORZREPMAT": _routed(lambda node, a: ca.repmat(a, 1, node.size2() // a.size2())),
    "HORZREPSUM": _repeated_sum,
    "GETNONZEROS": _get_nonzeros,
    "GETNONZEROS_PARAM": _get_nonzeros_at,
    "SETNONZEROS": _set_nonzeros,
    "ADDNONZEROS": _add_nonzeros,
    "MTIMES": _product,
    "DOT": lambda node: lambda x, y: (x * y).sum(-1, keepdim=True),
    "NORM1": _reduced(lambda v: v.abs().sum(-1)),
    "NORMF": _reduced(lambda v: (v * v).sum(-1).sqrt()),  # NaN slope at 0, as in CasADi
    "NORM2": _reduced(lambda v: (v * v).sum(-1).sqrt()),
    "NORMINF": _reduced(lambda v: v.abs().amax(-1)),
    "MMIN": _reduced(lambda v: v.amin(-1)),
    "MMAX": _reduced(lambda v: v.amax(-1)),
    "LOGSUMEXP": _reduced(lambda v: torch.logsumexp(v, -1)),
    "SOLVE": _solve,
    "DETERMINANT": _of_matrix(_determinant),
    "INVERSE": _of_matrix(_inverse),
}
