"""The table of a study: one row for each cell, as Python data and as a Parquet file.

axes       system, effect, model, placement, data, planner, plant, seed
state      "done", "failed" with its error, "missing"
open loop  "error, K steps", scaled by the range of each signal; "covered" by 90 % intervals, of
           models that have some; "seconds of data" used
loop       cost, success, "promised" and "paid", see `cells.promises`; the task's own figures as
           "task NAME"; plans, "not fresh"
times      TIMES, which are no part of "the same table"
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hybridmodel.files import write_atomically
from hybridmodel.study.grid import AXES, Study
from hybridmodel.study.jobs import read_result
from hybridmodel.study.plants import MEASURED

Row = dict[str, Any]
TABLE = "table.parquet"
TIMES = ("ms per plan", "ms per plan, 99 %", "seconds to fit", "seconds to run")


def rows_of(study: Study, folder: Path) -> list[Row]:
    """One row for each cell of the grid, in its order."""
    found = []
    for cell in study.cells():
        row: Row = {**asdict(cell), "state": "missing", "error": ""}
        loop, fit = read_result(folder, cell.name), read_result(folder, cell.fit_name)
        if fit is not None and not fit["error"]:
            told = fit["numbers"]
            if cell.plant == MEASURED:  # errors are those on the real machine's logs
                told = {"seconds of data": told["seconds of data"]}
            row |= {**told, "seconds to fit": fit["seconds"]}
        if loop is not None:
            row |= {"state": "failed" if loop["error"] else "done", "error": loop["error"]}
            row |= {**loop["numbers"], "seconds to run": loop["seconds"]}
        found.append(row)
    return found


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write rows to a Parquet file, atomically.

    Truth values are written as numbers where a column has both. Raises ImportError without pyarrow,
    ValueError where a column has texts and numbers.
    """
    arrow, parquet = needed()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    data = {name: _column(name, [row.get(name) for row in rows]) for name in columns}
    buffer = io.BytesIO()
    parquet.write_table(arrow.table(data), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())


def read_table(path: Path) -> list[Row]:
    """The rows of a study's folder, or of its Parquet file; ValueError where there is none."""
    _, parquet = needed()
    file = path / TABLE if path.is_dir() else path
    try:
        rows = parquet.read_table(file).to_pylist()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} holds no table of a study: {error}") from None
    if rows and (missing := [name for name in AXES if name not in rows[0]]):
        raise ValueError(f"{path} is no table of a study: it has no column {missing[0]!r}")
    return [{k: v for k, v in row.items() if v is not None} for row in rows]


def same(first: Sequence[Row], second: Sequence[Row]) -> bool:
    """Whether two tables agree bit for bit, times apart."""
    return [_without_times(row) for row in first] == [_without_times(row) for row in second]


def _without_times(row: Row) -> Row:
    kept = {k: v for k, v in row.items() if k not in TIMES}
    return {k: "nan" if isinstance(v, float) and math.isnan(v) else v for k, v in kept.items()}


def _column(name: str, values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if str in kinds and len(kinds) > 1:
        raise ValueError(f"column {name!r} has texts and numbers, wanted one of them")
    if bool in kinds and len(kinds) > 1:
        return [None if value is None else float(value) for value in values]
    return values


def needed() -> tuple[Any, Any]:
    """pyarrow and its Parquet; ImportError without them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ImportError("tables need pyarrow: pip install hybridmodel[data]") from error
    return pyarrow, pyarrow.parquet
