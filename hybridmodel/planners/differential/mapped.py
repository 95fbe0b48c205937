"""A CasADi Function at many nodes, in and out of numpy arrays without copies on CasADi's side."""

from __future__ import annotations

from collections.abc import Sequence

import casadi as ca
import numpy as np

from physics.binding import scalar_form


class Mapped:
    """A Function of columns at N nodes: arrays (N, size) in and out.

    function   its inputs are columns; a matrix comes out column by column
    count      N
    shared     numbers of the inputs that are one for all nodes, (size,)
    """

    def __init__(self, function: ca.Function, count: int, shared: Sequence[int] = ()) -> None:
        function = _dense(function)
        mapped = function.map(f"{function.name()}_{count}", "serial", count, list(shared), [])
        self._buffer, self._run = mapped.buffer()
        self.given = []
        for i in range(function.n_in()):
            rows = 1 if i in shared else count
            self.given.append(np.zeros((rows, function.size1_in(i))))
            if self.given[-1].size:
                self._buffer.set_arg(i, memoryview(self.given[-1].reshape(-1)))
        self.found = []
        for i in range(function.n_out()):
            self.found.append(np.zeros((count, function.numel_out(i))))
            if self.found[-1].size:
                self._buffer.set_res(i, memoryview(self.found[-1].reshape(-1)))

    def __call__(self, *given: np.ndarray) -> list[np.ndarray]:
        """The outputs, which the next call overwrites."""
        for mine, yours in zip(self.given, given, strict=True):
            mine[:] = yours
        self._run()
        return self.found


def _dense(function: ca.Function) -> ca.Function:
    """The function with full outputs, in scalar instructions where it has such a form."""
    given = function.mx_in()
    found = [ca.densify(value) for value in function.call(given)]
    dense = ca.Function(function.name(), given, found)
    return scalar_form(dense) or dense
