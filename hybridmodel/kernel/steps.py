"""A model's step for a few candidates, again and again, with nothing to do between the calls."""

from __future__ import annotations

from array import array

import numpy as np
from torch import Tensor

from hybridmodel.kernel.derivatives import node_code, shape
from hybridmodel.kernel.node_kernel import FIELDS
from hybridmodel.kernel.program import Program

_NEXT = FIELDS.index("next_group")


class Steps:
    """x⁺ of `side` candidates under one program, with the numbers that `take` was last given."""

    def __init__(self, program: Program, side: int) -> None:
        sizes, known = program.sizes, shape()
        self._compiled = node_code(known, program, 0)
        self._scratch = self._compiled.rows * known.lanes * known.bytes
        self.program, self._nx, self._np = program, sizes["x"], sizes["p"]
        self._z = np.zeros((side, sizes["x"] + sizes["u"]))
        self._q = np.zeros((side, sizes["p"] + sizes["d"]))
        self._after = np.empty((side, self._nx))
        words = {"nodes": side, "groups": -(-side // known.lanes)}
        memory = {"v": self._z, "q": self._q, "x": self._after}
        words |= {name: rows.ctypes.data for name, rows in memory.items()}
        self._fields = array("q", [words.get(name, 0) for name in FIELDS])
        self._address, _ = self._fields.buffer_info()

    def take(self, p: np.ndarray, weights: Tensor) -> None:
        """p (np,), and the leaves of the network in one row as `Served.kernel` gives them."""
        self._q[:, : self._np] = p
        self._weights = weights  # known by its address, so it must stay
        self._fields[FIELDS.index("weights")] = weights.data_ptr()

    def __call__(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> np.ndarray:
        """x⁺ (side, nx) from x (side, nx), u (side, nu), d (nd,); the next call overwrites it."""
        self._z[:, : self._nx], self._z[:, self._nx :], self._q[:, self._np :] = x, u, d
        self._fields[_NEXT] = 0
        self._compiled.run(self._address, self._scratch, 1)
        return self._after
