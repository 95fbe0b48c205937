"""Constant arrays of exported C, each set of numbers once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hybridmodel.export.c.pieces import BYTES, REAL, DType, literal


class Arrays:
    """`static const` arrays: `text` declares them, `bytes` is what they take."""

    def __init__(self, prefix: str, dtype: DType) -> None:
        self.prefix = prefix
        self.dtype: DType = dtype
        self.bytes = 0
        self._names: dict[tuple[str, bytes], str] = {}
        self._texts: list[str] = []

    def numbers(self, values: np.ndarray) -> str:
        """The name of an array of real numbers, flattened by rows."""
        values = np.ascontiguousarray(values, dtype=float)
        literals = [literal(v, self.dtype) for v in values.ravel().tolist()]
        return self._name(REAL[self.dtype], values.tobytes(), literals, BYTES[self.dtype])

    def indices(self, values: Sequence[int] | np.ndarray) -> str:
        """The name of an array of integers."""
        flat = np.asarray(values, dtype=np.int64).ravel()
        return self._name("int", flat.tobytes(), [str(v) for v in flat.tolist()], 4)

    @property
    def text(self) -> str:
        return "\n".join(self._texts)

    def _name(self, kind: str, key: bytes, literals: Sequence[str], size: int) -> str:
        if (kind, key) not in self._names:
            name = self._names[kind, key] = f"{self.prefix}_c{len(self._names)}"
            rows = [", ".join(literals[i : i + 4]) for i in range(0, len(literals), 4)]
            body = ",\n    ".join(rows)
            declared = f"static const {kind} {name}[{len(literals)}]"
            self._texts.append(f"{declared} = {{\n    {body}\n}};\n")
            self.bytes += size * len(literals)
        return self._names[kind, key]
