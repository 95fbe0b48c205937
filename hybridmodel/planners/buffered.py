"""CasADi Functions between numpy arrays, at one point or at many nodes at a time."""

from __future__ import annotations

from collections.abc import Sequence

import casadi as ca
import numpy as np

_LONGEST = 20_000  # scalar instructions; longer ones hold networks, which are matrix products


class Buffered:
    """A CasADi Function between numpy arrays, without copies of CasADi's own.

    Arguments are contiguous float64 whose memory is that of CasADi's columns; results are new
    arrays of the given shapes. Raises ValueError naming the argument.
    """

    def __init__(self, function: ca.Function, shapes: Sequence[tuple[int, ...]]) -> None:
        self.function, self.shapes = function, tuple(shapes)
        self._buffer, self._run = function.buffer()
        self._sizes = [function.nnz_in(i) for i in range(function.n_in())]
        for i, shape in enumerate(self.shapes):
            if function.nnz_out(i) != int(np.prod(shape)):
                raise ValueError(
                    f"shapes[{i}] must hold {function.nnz_out(i)} numbers, got {shape}"
                )

    def __call__(self, *arguments: np.ndarray) -> list[np.ndarray]:
        held = []
        for i, (argument, size) in enumerate(zip(arguments, self._sizes, strict=True)):
            array = np.ascontiguousarray(argument, dtype=np.float64)
            if array.size != size:
                raise ValueError(f"argument {i} must hold {size} numbers, got {array.shape}")
            held.append(array)
            if size:
                self._buffer.set_arg(i, array.reshape(-1).data)  # pyright: ignore[reportCallIssue]
        results = [np.empty(shape) for shape in self.shapes]
        for i, result in enumerate(results):
            if result.size:
                self._buffer.set_res(i, result.reshape(-1).data)  # pyright: ignore[reportCallIssue]
        self._run()
        return results


def at_nodes(function: ca.Function, count: int, shared: Sequence[int] = ()) -> Buffered:
    """A Function of columns at N nodes: (N, size) in, but (size,) for the arguments `shared`.

    A column comes out as (N, size), a matrix as (N, columns, rows), full both of them.
    """
    form = _plain(function)
    shapes = []
    for i in range(form.n_out()):
        rows, columns = form.size_out(i)
        shapes.append((count, rows) if columns == 1 else (count, columns, rows))
    if count > 1:  # CasADi's map of one node would leave out a constant zero
        form = form.map(f"{form.name()}_{count}", "serial", count, list(shared), [])
    return Buffered(form, shapes)


def _plain(function: ca.Function) -> ca.Function:
    """With full outputs, in scalar instructions where these are few."""
    given = function.mx_in()
    found = [ca.densify(value) for value in function.call(given)]
    dense = ca.Function(function.name(), given, found)
    try:
        scalar = dense.expand()
    except RuntimeError:  # a matrix operation without scalar form, such as solve
        return dense
    return scalar if scalar.n_instructions() <= _LONGEST else dense
