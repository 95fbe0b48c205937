"""CasADi functions of numbers, called thousands of times a second."""

from __future__ import annotations

from typing import Any

import casadi as ca
import numpy as np


class Evaluated:
    """A Function (vectors ↦ one vector) evaluated in place, where an ordinary call would dominate.

    What it returns is overwritten by the next evaluation.
    """

    def __init__(self, function: ca.Function) -> None:
        self._arguments = [np.zeros(function.size1_in(i)) for i in range(function.n_in())]
        self._result = np.zeros(function.size1_out(0))
        buffer: Any
        buffer, self._evaluate = function.buffer()
        for i, argument in enumerate(self._arguments):
            buffer.set_arg(i, argument.data)
        buffer.set_res(0, self._result.data)
        self._buffer = buffer  # `_evaluate` works on it

    def __call__(self, *values: np.ndarray) -> np.ndarray:
        for argument, value in zip(self._arguments, values, strict=True):
            argument[:] = value
        self._evaluate()
        return self._result
