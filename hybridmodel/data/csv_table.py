"""A comma-separated file with one header line as a Table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hybridmodel.data.table import Keep, Table
from hybridmodel.data.trajectory import Array

_ROWS = 20_000  # at once as text, which takes ten times the memory of numbers


def read(path: Path, time: str | None, keep: Keep) -> Table:
    """Read a comma-separated file with one header line.

    Raises ValueError, naming the line, for repeated column names and for rows of another length
    than the header.
    """
    name = str(path)
    chunks: list[list[Array]] = []
    lines: list[NDArray[np.int64]] = []
    faults: dict[str, tuple[int, str]] = {}
    header: tuple[str, ...] = ()
    kept: list[int] = []
    count = 0
    for line_numbers, rows in _chunks(path):
        if not header:
            header, rows, line_numbers = tuple(rows[0]), rows[1:], line_numbers[1:]
            if repeated := {column for column in header if header.count(column) > 1}:
                raise ValueError(f"{name} has columns of the same name: {sorted(repeated)}")
            kept = [i for i, column in enumerate(header) if column == time or keep(column)]
        for row, line in zip(rows, line_numbers, strict=True):
            if len(row) != len(header):
                raise ValueError(
                    f"{name}, line {line}: {len(row)} cells under {len(header)} column names"
                )
        columns = []
        for i in kept:
            numbers, fault = _numbers([row[i] for row in rows])
            columns.append(numbers)
            if fault is not None:
                faults.setdefault(header[i], (count + fault, rows[fault][i]))
        chunks.append(columns)
        lines.append(np.array(line_numbers, dtype=np.int64))
        count += len(rows)
    if count < 2:
        rows_found = count + bool(header)
        raise ValueError(f"{name} needs a header and at least 2 rows, it has {rows_found} lines")
    values = {
        header[i]: np.concatenate([columns[k] for columns in chunks]) for k, i in enumerate(kept)
    }
    return Table(name, header, values, time=time or "", lines=np.concatenate(lines), faults=faults)


def _chunks(path: Path) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Line numbers and stripped cells, some thousand rows at a time; blank lines left out."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        lines: list[int] = []
        rows: list[list[str]] = []
        try:
            for cells in reader:
                if cells:
                    rows.append([cell.strip() for cell in cells])
                    lines.append(reader.line_num)
                if len(rows) == _ROWS:
                    yield lines, rows
                    lines, rows = [], []
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, line {reader.line_num + 1}: {error}") from None
    if rows:
        yield lines, rows


def _numbers(cells: list[str]) -> tuple[Array, int | None]:
    """(n,) numbers, nan where a cell is empty or none; and the first that is not finite."""
    try:
        numbers = np.array([float(cell or "nan") for cell in cells], dtype=np.float64)
        wrong = np.flatnonzero(np.isinf(numbers))
        return numbers, int(wrong[0]) if wrong.size else None
    except ValueError:
        found = [_number(cell) for cell in cells]
        first = next(i for i, number in enumerate(found) if math.isinf(number))
        return np.where(np.isinf(found), np.nan, found), first


def _number(cell: str) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return math.inf
