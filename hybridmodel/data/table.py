"""A CSV file as named columns that remember their lines."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hybridmodel.data.trajectory import Array


@dataclass(frozen=True)
class Table:
    """Cells as text, row by row; `lines[row]` is where the row stands in the file."""

    path: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def column(self, name: str) -> Array:
        """(n,) the numbers under `name`; nan where a cell is empty or says nan."""
        if name not in self.header:
            raise ValueError(
                f"{self.path} has no column {name!r}; it has {list(self.header)}: name it by "
                f"columns={{signal: column}} or time="
            )
        at = self.header.index(name)
        return np.array([self._number(row, at) for row in range(len(self.rows))])

    def columns(self, names: Sequence[str]) -> Array:
        """(n, len(names)) the numbers of several columns."""
        return np.array([self.column(name) for name in names]).reshape(len(names), -1).T

    def place(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.path}, line {self.lines[row]}"

    def _number(self, row: int, at: int) -> float:
        text = self.rows[row][at]
        try:
            number = float(text or "nan")
        except ValueError:
            number = math.inf
        if math.isinf(number):
            raise ValueError(
                f"{self.place(row)}: {text!r} in column {self.header[at]!r} is not a finite number"
            )
        return number


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read a comma-separated file with one header line.

    Raises ValueError for repeated column names and for rows of another length than the header.
    """
    name = os.fspath(path)
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for cells in reader:
                if cells:
                    rows.append(tuple(cell.strip() for cell in cells))
                    lines.append(reader.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{name}, line {reader.line_num + 1}: {error}") from None
    if len(rows) < 3:
        raise ValueError(f"{name} needs a header and at least 2 rows, it has {len(rows)} lines")
    header = rows[0]
    if repeated := {column for column in header if header.count(column) > 1}:
        raise ValueError(f"{name} has columns of the same name: {sorted(repeated)}")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise ValueError(
                f"{name}, line {line}: {len(row)} cells under {len(header)} column names"
            )
    return Table(name, header, tuple(rows[1:]), tuple(lines[1:]))
