"""Random casadi.Functions, seeded: together they hold every SX operation and the MX ones.

Each is a chain of pieces that keep their numbers of the size of 1, so that no operation leaves
its domain and derivatives stay of a size that can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import casadi as ca
import numpy as np
import torch

from hybridmodel import to_torch

SIZE = 3  # of the vectors that the chains work on

Scalar = Callable[[Any, Any], Any]  # (x, y) of the size of 1 ↦ a number of that size
SCALARS: Mapping[str, Scalar] = {
    "ADD": lambda x, y: 0.5 * (x + y),
    "SUB": lambda x, y: x - 0.7 * y,
    "MUL": lambda x, y: x * y,
    "DIV": lambda x, y: x / (2 + ca.tanh(y)),
    "NEG": lambda x, y: -x,
    "SQ": lambda x, y: x**2 - 0.5,
    "TWICE": lambda x, y: ca.sin(2 * x),
    "INV": lambda x, y: 1 / (1.5 + ca.tanh(x)),
    "EXP": lambda x, y: ca.exp(-(x**2)),
    "LOG": lambda x, y: ca.log(1.5 + ca.tanh(x)),
    "EXPM1": lambda x, y: ca.expm1(ca.tanh(x)),
    "LOG1P": lambda x, y: ca.log1p(0.5 + x**2),
    "SQRT": lambda x, y: ca.sqrt(0.5 + x**2),
    "POW": lambda x, y: (1.5 + ca.tanh(x)) ** (0.5 * y),
    "CONSTPOW": lambda x, y: (1.5 + ca.tanh(x)) ** 1.7,
    "SIN": lambda x, y: ca.sin(x),
    "COS": lambda x, y: ca.cos(x + y),
    "TAN": lambda x, y: ca.tan(0.8 * ca.tanh(x)),
    "ASIN": lambda x, y: ca.asin(0.8 * ca.sin(x)),
    "ACOS": lambda x, y: ca.acos(0.8 * ca.sin(x)),
    "ATAN": lambda x, y: ca.atan(x),
    "SINH": lambda x, y: ca.sinh(ca.tanh(x)),
    "COSH": lambda x, y: ca.cosh(ca.tanh(x)),
    "TANH": lambda x, y: ca.tanh(x),
    "ASINH": lambda x, y: ca.asinh(x),
    "ACOSH": lambda x, y: ca.acosh(1.5 + x**2),
    "ATANH": lambda x, y: ca.atanh(0.7 * ca.tanh(x)),
    "ERF": lambda x, y: ca.erf(x),
    # outside ±0.3 CasADi's own erfinv is an approximation, off by up to 1e-5
    "ERFINV": lambda x, y: ca.erfinv(0.3 * ca.tanh(x)),
    "FABS": lambda x, y: ca.fabs(x) - 0.5,
    "SIGN": lambda x, y: x * ca.sign(y),
    "FLOOR": lambda x, y: x - 0.5 * ca.floor(x),
    "CEIL": lambda x, y: x - 0.5 * ca.ceil(x),
    "ATAN2": lambda x, y: ca.atan2(x, 2 + ca.tanh(y)),
    "HYPOT": lambda x, y: ca.hypot(0.5 + ca.fabs(x), y),
    "FMIN": lambda x, y: ca.fmin(x, 0.3 + y),
    "FMAX": lambda x, y: ca.fmax(x, y - 0.3),
    "FMOD": lambda x, y: ca.fmod(3 * x, 1.2 + ca.tanh(y)),
    "REMAINDER": lambda x, y: ca.remainder(3 * x, 1.2 + ca.tanh(y)),
    "COPYSIGN": lambda x, y: ca.copysign(x, y),
    "LT": lambda x, y: x * (x < y),
    "LE": lambda x, y: x * (x <= y) + 0.2,
    "EQ": lambda x, y: x + (x == y),
    "NE": lambda x, y: x * (x != y),
    "NOT": lambda x, y: x + ca.logic_not(y > 0.4),
    "AND": lambda x, y: x * ca.logic_and(x > -1, y < 1),
    "OR": lambda x, y: x * ca.logic_or(x > 0.5, y < 0.5),
    "IF_ELSE_ZERO": lambda x, y: ca.if_else(x > 0.1, y, 0.4 * x),
}

GRID = np.linspace(-3, 3, 9)
AXES = [np.linspace(-3, 3, 6), np.linspace(-3, 3, 7)]


@cache
def _table(kind: str, axes: int) -> ca.Function:
    values = np.cos(np.arange(np.prod([len(GRID)] if axes == 1 else [6, 7])) * 0.7)
    return ca.interpolant(f"{kind}{axes}", kind, [GRID] if axes == 1 else AXES, values)


@cache
def _inner() -> ca.Function:
    x, a = ca.SX.sym("x", SIZE), ca.SX.sym("a", SIZE, SIZE)
    return ca.Function("inner", [x, a], [ca.tanh(a @ x) + 0.1 * x[0], x[::-1]])


@cache
def _column() -> ca.Function:
    x = ca.MX.sym("x", SIZE)
    return ca.Function("column", [x], [_table("linear", 1)(x[0]) * ca.sin(x)])


@cache
def _halves() -> tuple[ca.Function, ca.Function]:
    x = ca.MX.sym("x", SIZE)
    return ca.Function("one", [x], [ca.sqrt(x**2 + 0.5)]), ca.Function("two", [x], [0.7 * x])


def _near_identity(A: Any) -> Any:
    return ca.MX.eye(SIZE) + 0.2 * ca.tanh(A)


def _short_circuit(x: Any, A: Any) -> Any:
    return ca.Function.if_else("choice", *_halves())(x[0] > 0.1, x)


def _chosen(x: Any, A: Any) -> Any:
    one, two = _halves()
    return ca.Function.conditional("cases", [one, two], one)(ca.floor(2 * ca.fabs(x[1])), x)


def _placed(x: Any, A: Any) -> Any:
    y = ca.MX(x)
    y[1:] = ca.sin(x[:-1]) * A[0, 0]
    return y


def _block(x: Any, A: Any) -> Any:
    B = ca.MX(A)
    B[:2, 1:] = ca.sin(B[1:, :2])
    return ca.tanh(B @ x)


def _split(x: Any, A: Any) -> Any:
    first, rest = ca.vertsplit(x, [0, 1, SIZE])
    left, right = ca.horzsplit(A, [0, 1, SIZE])
    return ca.vertcat(rest, first) + 0.3 * ca.sin(left) + 0.1 * ca.sum2(right)


def _sparse(x: Any, A: Any) -> Any:
    lower = ca.project(A, ca.Sparsity.lower(SIZE))
    return ca.tanh(lower @ x + ca.diagcat(x[:1], A[:2, :2]) @ x + ca.diag(x) @ x)


def _einstein(x: Any, A: Any) -> Any:
    n = [SIZE, SIZE]
    square = ca.einstein(ca.vec(A), ca.vec(A), n, n, n, [-1, -2], [-2, -3], [-1, -3])
    return ca.tanh(ca.reshape(square, SIZE, SIZE) @ x)


def _spline_node(x: Any, A: Any) -> Any:
    knots = [[-3.0, -3, -3, -3, -1, 0.5, 3, 3, 3, 3]]
    values = ca.bspline(
        ca.reshape(3 * ca.tanh(x[0]), 1, 1), ca.DM(np.sin(range(6))), knots, [3], 1, {}
    )
    return values * x


def _place(x: Any) -> Any:
    """One of 0, 1, 2 as an index that is computed."""
    return ca.fmod(ca.floor(ca.fabs(5 * x[0])), SIZE)


def _concatenated(x: Any, A: Any) -> Any:
    solved = ca.solve(_near_identity(A), x, "lapacklu", {})
    return ca.vertcat(ca.sin(x[0]), solved[1:])


Matrix = Callable[[Any, Any], Any]  # (x (SIZE,), A (SIZE, SIZE)) ↦ a vector (SIZE,)
MATRICES: Mapping[str, Matrix] = {
    "call": lambda x, A: _inner()(x, A)[0] + 0.3 * _inner()(x, A)[1],
    "mtimes": lambda x, A: ca.tanh(A @ x),
    "transposed": lambda x, A: ca.tanh(A.T @ x),
    "mac": lambda x, A: ca.mac(A, ca.tanh(x), x) / SIZE,
    "outer": lambda x, A: ca.tanh((x @ x.T + A) @ x),
    "solve": lambda x, A: ca.solve(_near_identity(A), x),
    "solve_lu": lambda x, A: ca.solve(_near_identity(A), x, "lapacklu", {}),
    "solve_qr": lambda x, A: ca.solve(_near_identity(A).T, x, "qr", {}),
    "inverse": lambda x, A: ca.inv(_near_identity(A)) @ x,
    "inverse_lu": lambda x, A: ca.inv(_near_identity(A), "lapacklu", {}) @ x,
    "determinant": lambda x, A: x * ca.det(_near_identity(A)),
    "slices": lambda x, A: ca.sin(A[:, 1]) + x[[2, 0, 1]] + A[1, ::1].T,
    "blocks": _block,
    "reshape": lambda x, A: ca.tanh(ca.reshape(A, 9, 1)[2:5] + ca.vec(A.T)[:3] * x),
    "splits": _split,
    "cats": lambda x, A: ca.sin(ca.vertcat(x[1:], A[2, 2])) + ca.horzcat(x, A)[:, 2],
    "concatenated": _concatenated,
    "repmat": lambda x, A: ca.tanh(ca.sum2(ca.repmat(x, 1, 4) * 0.3) + ca.repmat(x[0], 3, 1)),
    "repsum": lambda x, A: ca.sin(ca.repsum(ca.horzcat(x, A[:, 0]), 1, 2)),
    "set": _placed,
    "sparse": _sparse,
    "if_else": lambda x, A: ca.if_else(x[0] > A[0, 0], ca.sin(x), 0.3 * x),
    "if_else_short": _short_circuit,
    "conditional": _chosen,
    "linear_table": lambda x, A: x * _table("linear", 1)(2 * ca.tanh(x[0])),
    "linear_table_2d": lambda x, A: x + _table("linear", 2)(2 * ca.tanh(x[:2])),
    "spline_table": lambda x, A: x * _table("bspline", 1)(2 * ca.tanh(x[1])),
    "spline_table_2d": lambda x, A: x + _table("bspline", 2)(2 * ca.tanh(x[1:])),
    "spline_node": _spline_node,
    "map": lambda x, A: ca.sum2(_column().map(SIZE)(ca.tanh(A))) + 0.2 * x,
    "thread_map": lambda x, A: ca.sum2(_column().map(SIZE, "thread", 2)(ca.tanh(A))) + 0.2 * x,
    "fold": lambda x, A: _column().fold(2)(x),
    "mapaccum": lambda x, A: ca.sum2(_column().mapaccum(3)(x)),
    "norms": lambda x, A: x / (1 + ca.norm_2(x)) + ca.norm_1(A) / 9 + ca.norm_fro(A) / 9,
    "norm_inf": lambda x, A: x + 0.3 * ca.norm_inf(x),
    "extremes": lambda x, A: x + 0.2 * ca.fmin(ca.mmin(A), ca.mmax(x)),
    "logsumexp": lambda x, A: x - ca.logsumexp(x),
    "dot": lambda x, A: x * ca.dot(ca.sin(x), ca.cos(A[:, 1])),
    "bilin": lambda x, A: x + 0.2 * ca.bilin(A, x, ca.sin(x)),
    "rank1": lambda x, A: ca.tanh(ca.rank1(A, 0.3, x, x) @ x),
    "kron": lambda x, A: ca.tanh(ca.sum2(ca.kron(A, x))[:SIZE] / 3),
    "einstein": _einstein,
    "cross": lambda x, A: ca.tanh(ca.cross(x, A[:, 0])),
    "cumsum": lambda x, A: ca.sin(ca.cumsum(x)) + ca.trace(A) / 9,
    "at": lambda x, A: ca.sin(x) + 0.5 * x[_place(A)],
    # not A[i, 1], A[1, i] and the like: CasADi 3.8 derives them wrongly
    "at_both": lambda x, A: ca.cos(x) * A[_place(A), _place(x)],
    "assertion": lambda x, A: ca.sin(x).attachAssert(x[0] > -100, "never"),
}


@dataclass(frozen=True)
class Drawn:
    """One random Function of (x, A), and the names of the operations that were put in."""

    name: str
    function: ca.Function
    operations: tuple[str, ...]


def draw(count: int, seed: int = 0) -> Iterator[Drawn]:
    """`count` Functions, SX and MX by turns; each operation comes up again and again."""
    generator = np.random.default_rng(seed)
    queues: dict[str, list[str]] = {"SX": [], "MX": []}
    for number in range(count):
        kind = "SX" if number % 2 == 0 else "MX"
        table, length = (SCALARS, 8) if kind == "SX" else (MATRICES, 3)
        while len(queues[kind]) < length:
            queues[kind] += list(generator.permutation(sorted(table)))
        chosen = tuple(queues[kind].pop(0) for _ in range(length))
        make = _scalar_chain if kind == "SX" else _matrix_chain
        yield Drawn(f"{kind.lower()}{number}", make(f"f{number}", chosen, generator), chosen)


def _scalar_chain(
    name: str, chosen: tuple[str, ...], generator: np.random.Generator
) -> ca.Function:
    x, A = ca.SX.sym("x", SIZE), ca.SX.sym("A", SIZE, SIZE)
    values = [*ca.vertsplit(x), *ca.vertsplit(ca.vec(A))[:2]]
    for operation in chosen:
        first, second = (values[i] for i in generator.integers(len(values), size=2))
        if operation in ("EQ", "NE") and first is second:
            second = values[0] + 0.01
        values.append(SCALARS[operation](first, second))
    return ca.Function(name, [x, A], [ca.vertcat(*values[-SIZE:])])


def _matrix_chain(
    name: str, chosen: tuple[str, ...], generator: np.random.Generator
) -> ca.Function:
    x, A = ca.MX.sym("x", SIZE), ca.MX.sym("A", SIZE, SIZE)
    value = x
    for operation in chosen:
        value = MATRICES[operation](value, A) + 0.1 * x
    return ca.Function(name, [x, A], [value])


def differences(function: ca.Function, *, points: int = 3, seed: int = 0) -> np.ndarray:
    """Largest relative differences (3,) of torch and CasADi: value, Jacobian, Hessian.

    The Hessian is taken in all ways that torch.func has, over a batch and at a point.
    """
    counts = [function.numel_in(i) for i in range(function.n_in())]
    shapes = [function.size_in(i) for i in range(function.n_in())]
    flat = ca.MX.sym("v", sum(counts))
    parts = ca.vertsplit(flat, np.cumsum([0, *counts]).tolist())
    value = function(*(ca.reshape(p, *s) for p, s in zip(parts, shapes, strict=True)))
    first = ca.jacobian(value, flat)
    second = ca.jacobian(ca.vec(first), flat)
    reference = ca.Function("reference", [flat], [value, first, second])
    module = to_torch(function)

    def ours(v: torch.Tensor) -> torch.Tensor:
        pieces = [
            part.unflatten(-1, (m, n)).mT if m > 1 else part
            for part, (n, m) in zip(v.split(counts, -1), shapes, strict=True)
        ]
        return module(*pieces)

    v = torch.from_numpy(np.random.default_rng(seed).normal(size=(points, sum(counts))))
    forward, reverse, both = torch.func.jacfwd, torch.func.jacrev, torch.func.hessian
    ways = [
        (ours(v), torch.func.vmap(reverse(ours))(v), torch.func.vmap(both(ours))(v)),
        (ours(v[:1]), forward(ours)(v[0])[None], forward(forward(ours))(v[0])[None]),
        (ours(v[0])[None], reverse(ours)(v[0])[None], reverse(reverse(ours))(v[0])[None]),
    ]
    worst = np.zeros(3)
    for way in ways:
        for k in range(len(way[0])):
            for row, (found, theirs) in enumerate(zip(way, reference(v[k].numpy()), strict=True)):
                wanted = theirs.full()
                mine = found[k].detach()
                if row == 2:  # (m, n, n) here, vec of (m, n) by n there
                    mine = mine.movedim(0, 1)
                gap = np.abs(mine.numpy().reshape(wanted.shape) - wanted)
                gap = np.nan_to_num(gap, nan=np.inf).max(initial=0.0)
                worst[row] = max(worst[row], gap / max(1.0, np.abs(wanted).max(initial=0.0)))
    return worst
