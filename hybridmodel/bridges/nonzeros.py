"""Nonzeros (…, nnz) of a sparse matrix in CasADi's order, by column, and what moves them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import casadi as ca
import torch
from torch import Tensor

from hybridmodel.bridges.leading import broadcast


def dense(sparsity: ca.Sparsity) -> Callable[[Tensor], Tensor]:
    """Nonzeros (…, nnz) ↦ the matrix (…, n, m)."""
    (n, m), count = sparsity.shape, sparsity.numel()
    fill = None if sparsity.is_dense() else taken(_places(sparsity))

    def unpack(values: Tensor) -> Tensor:
        values = values if fill is None else fill(values)
        return values.unflatten(-1, (m, n)).mT if count else values.unflatten(-1, (n, m))

    return unpack


def nonzeros_of(sparsity: ca.Sparsity) -> Callable[[Tensor], Tensor]:
    """A matrix (…, n, m) ↦ its nonzeros (…, nnz)."""
    take = None if sparsity.is_dense() else taken(sparsity.find())

    def pack(matrix: Tensor) -> Tensor:
        values = matrix.mT.flatten(-2)
        return values if take is None else take(values)

    return pack


def nonzeros_in(sparsity: ca.Sparsity, wide: ca.Sparsity) -> Callable[[Tensor], Tensor]:
    """Nonzeros of a sparsity ↦ those of a wider one, 0 where they are new."""
    if sparsity == wide:
        return lambda values: values
    places = _places(sparsity)
    return taken([places[place] for place in wide.find()])


def _places(sparsity: ca.Sparsity) -> list[int]:
    """For each place of the dense matrix, by column, its nonzero or −1."""
    places = [-1] * sparsity.numel()
    for nonzero, place in enumerate(sparsity.find()):
        places[place] = nonzero
    return places


def taken(places: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """values (…, n) ↦ values at these places, 0 where a place is −1."""
    index = torch.tensor(list(places), dtype=torch.long)
    missing = bool((index < 0).any())

    def take(values: Tensor) -> Tensor:
        if missing:
            values = torch.cat([values, values.new_zeros(*values.shape[:-1], 1)], -1)
        return values.index_select(-1, (index % max(values.shape[-1], 1)).to(values.device))

    return take


def joined(operands: Sequence[Tensor]) -> Tensor:
    batch = broadcast(*(v.shape[:-1] for v in operands))
    return torch.cat([v.expand(*batch, v.shape[-1]) for v in operands], -1)
