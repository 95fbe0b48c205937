"""CasADi's lookup tables, linear and B-spline in any number of dimensions, as torch operations.

CasADi has no accessor for what a table holds, so it is read from the labelled form of its
serialisation and then compared with CasADi's own values; `table_of` returns None where that
fails, and the table is called through.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import casadi as ca
import numpy as np
import torch
from torch import Tensor

from hybridmodel.bridges.leading import broadcast

POINTS = 8  # at which a table that was read is compared


@dataclass(frozen=True)
class Table:
    """y (…, m) at x (…, n) from values on a grid; the first axis varies fastest.

    knots    one sorted vector for each axis
    degree   of the spline along each axis; None where the table is linear
    m        numbers at each grid point
    values   (points · m,), or None where they are the second argument of the call
    """

    knots: tuple[tuple[float, ...], ...]
    degree: tuple[int, ...] | None
    m: int
    values: tuple[float, ...] | None
    size = 20  # torch operations, about
    called = ()

    @property
    def input_counts(self) -> list[int]:
        return [len(self.knots), *([] if self.values is not None else [self.numbers])]

    @property
    def numbers(self) -> int:
        """How many values the table holds."""
        return self.m * math.prod(self.points)

    @cached_property
    def points(self) -> list[int]:
        """Grid points or spline coefficients along each axis."""
        degrees = self.degree or (-1,) * len(self.knots)
        return [len(knots) - p - 1 for knots, p in zip(self.knots, degrees, strict=True)]

    @cached_property
    def _tensors(self) -> tuple[Tensor | None, list[Tensor]]:
        values = None if self.values is None else torch.tensor(self.values, dtype=torch.float64)
        return values, [torch.tensor(k, dtype=torch.float64) for k in self.knots]

    def __call__(self, nonzeros: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        own, knots = self._tensors
        values = nonzeros[1] if own is None else own.to(like)
        axes = list(zip(nonzeros[0].unbind(-1), (k.to(like) for k in knots), strict=True))
        if self.degree is None:
            return [self._linear(axes, values)]
        bases = [_spline(x, grid, p) for (x, grid), p in zip(axes, self.degree, strict=True)]
        corners = self._box([start for start, _ in bases], [p + 1 for p in self.degree], values)
        return [_weighted([basis for _, basis in bases], corners)]

    def _linear(self, axes: list[tuple[Tensor, Tensor]], values: Tensor) -> Tensor:
        cells, shares, slopes = [], [], []
        for x, grid in axes:
            i = _cell(x, grid)
            left = _at(grid, i)
            width = _at(grid, i + 1) - left
            share = (x.detach() - left) / width
            cells.append(i)
            shares.append(torch.stack([1 - share, share], -1))
            slopes.append(torch.stack([-1 / width, 1 / width], -1))
        corners = self._box(cells, [2] * len(cells), values)
        y = _weighted(shares, corners)
        # CasADi takes the slope of a linear table as constant: there is no second derivative
        for k, (x, _) in enumerate(axes):
            slope = _weighted([*shares[:k], slopes[k], *shares[k + 1 :]], corners)
            y = y + slope * (x - x.detach())[..., None]
        return y

    def _box(self, starts: list[Tensor], widths: list[int], values: Tensor) -> Tensor:
        """The values (…, corners, m) in the box of these widths at these starts."""
        index, stride = starts[0].new_zeros(1), 1
        for start, width, points in zip(starts, widths, self.points, strict=True):
            places = stride * (start[..., None] + torch.arange(width, device=start.device))
            index = (places[..., :, None] + index[..., None, :]).flatten(-2)
            stride *= points
        rows = values.unflatten(-1, (-1, self.m))
        if rows.dim() == 2:  # one table for the whole batch
            return rows[index]
        batch = broadcast(index.shape[:-1], rows.shape[:-2])
        places = index[..., None].expand(*batch, index.shape[-1], self.m)
        return rows.expand(*batch, *rows.shape[-2:]).gather(-2, places)


def _weighted(factors: Sequence[Tensor], corners: Tensor) -> Tensor:
    """Σ over the corners (…, corners, m), weighted by the product of one factor for each axis."""
    weight = factors[0]
    for factor in factors[1:]:
        weight = (factor[..., :, None] * weight[..., None, :]).flatten(-2)
    return (weight[..., None] * corners).sum(-2)


def _cell(x: Tensor, grid: Tensor) -> Tensor:
    """i with grid_i ≤ x < grid_{i+1}, the first or last cell outside, the last for NaN."""
    return (~(x.detach()[..., None] < grid[1:-1])).sum(-1)


def _at(values: Tensor, i: Tensor) -> Tensor:
    """values[i]; under torch.func.vmap a single number is no valid index, a row of one is."""
    return values[i[..., None]][..., 0]


def _spline(x: Tensor, knots: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """The first coefficient that counts and the degree + 1 basis functions; 0 outside."""
    i = _cell(x, knots[degree : len(knots) - degree]) + degree  # knots_i ≤ x < knots_{i+1}
    basis = [torch.ones_like(x)]
    for p in range(1, degree + 1):  # de Boor, A Practical Guide to Splines, X (8)
        raised = [torch.zeros_like(x) for _ in range(p + 1)]
        for j, value in enumerate(basis):
            left, right = _at(knots, i - p + 1 + j), _at(knots, i + 1 + j)
            share = value / (right - left)
            raised[j] = raised[j] + (right - x) * share
            raised[j + 1] = raised[j + 1] + (x - left) * share
        basis = raised
    inside = (x >= knots[0]) & (x <= knots[-1])
    outside = torch.where(torch.isnan(x), x, torch.zeros_like(x))
    return i - degree, torch.stack([torch.where(inside, b, outside) for b in basis], -1)


# -- reading what CasADi holds -------------------------------------------------------------------


def table_of(function: ca.Function) -> Table | None:
    """The table of an interpolant, or of a Function that is one B-spline node; else None."""
    fields = _fields(function)
    if function.class_name() == "LinearInterpolant":
        room, grid, values = "Interpolant", "grid", "Interpolant::values"
        degrees: list[Any] = [None] * len(fields.get("Interpolant::m", []))
    else:
        room, grid, values = "BSplineCommon", "knots", "BSpline::coeffs"
        degrees = [tuple(int(p) for p in row) for row in fields.get("BSplineCommon::degree", [])]
    # several tables where derivatives were asked for before: they are serialised within it
    shapes = [fields.get(f"{room}::{name}", []) for name in (grid, "offset", "m")]
    for knots, offset, m, degree in zip(*shapes, degrees, strict=False):
        axes = tuple(tuple(knots[int(a) : int(b)]) for a, b in pairwise(offset))
        for stored in (*fields.get(values, []), None):
            table = Table(axes, degree, int(m[0]), tuple(stored) if stored else None)
            if (not stored or len(stored) == table.numbers) and _agrees(table, function):
                return table
    return None


def _fields(function: ca.Function) -> Mapping[str, list[list[float]]]:
    """The labelled numbers of a Function's serialisation, in order, by label."""
    text = function.serialize({"debug": True})
    letters = np.frombuffer(text.encode(), np.uint8) - ord("a")  # two to a byte, low half first
    data = (letters[1::2] << 4 | letters[::2]).tobytes()
    found: dict[str, list[list[float]]] = {}
    for match in re.finditer(rb"si(.{4})", data, re.DOTALL):
        end = match.end() + struct.unpack("<I", match[1])[0]
        label = data[match.end() : end]
        if len(label) < 100 and re.fullmatch(rb"[A-Za-z_]+(::[A-Za-z_]+)+", label):
            found.setdefault(label.decode(), []).append(_numbers(data, end))
    return found


def _numbers(data: bytes, at: int) -> list[float]:
    """The integer, the double or the vector of them that begins here."""
    kinds = {b"J": "<q", b"d": "<d"}
    if (kind := kinds.get(data[at : at + 1])) is not None:
        return [struct.unpack_from(kind, data, at + 1)[0]]
    kind = kinds.get(data[at + 10 : at + 11])
    if data[at : at + 2] != b"VJ" or kind is None:
        return []
    count = struct.unpack_from("<q", data, at + 2)[0]
    if not 0 < count <= len(data) // 9:
        return []
    return [struct.unpack_from(kind, data, at + 11 + 9 * i)[0] for i in range(count)]


def _agrees(table: Table, function: ca.Function) -> bool:
    """Whether the table gives CasADi's values inside, at the corners and outside of its grid."""
    counts = [function.nnz_in(i) for i in range(function.n_in())]
    if table.input_counts != counts or function.n_out() != 1:
        return False
    generator = np.random.default_rng(0)
    spans = [(k[0], k[-1]) for k in table.knots]
    inside = [[generator.uniform(a, b) for a, b in spans] for _ in range(POINTS)]
    outside = [[b + generator.uniform(0, 1) for _, b in spans]]
    for x in (*inside, *list(product(*spans))[:POINTS], *outside):
        arguments = [np.array(x), *(generator.normal(size=n) for n in counts[1:])]
        theirs = np.array(function.call([ca.DM(a) for a in arguments])[0].nonzeros())
        tensors = [torch.from_numpy(a) for a in arguments]
        ours = table(tensors, tensors[0])[0].numpy()
        scale = max(1.0, float(np.abs(theirs).max(initial=0.0)))
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=1e-12 * scale):
            return False
    return True
