"""A Parquet file as a Table (extra `data`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.data.table import Keep, Table, load_extra
from hybridmodel.data.trajectory import Array

_TICKS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}  # s


def read(path: Path, time: str | None, keep: Keep) -> Table:
    """Read columns of numbers; those of time become seconds since their first row.

    Raises ValueError where the file is damaged or is something else.
    """
    arrow = load_extra("pyarrow", "data")
    parquet = load_extra("pyarrow.parquet", "data")
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            header = tuple(schema.names)
            if repeated := {name for name in header if header.count(name) > 1}:
                raise ValueError(f"{path} has columns of the same name: {sorted(repeated)}")
            values = {}
            for field in schema:
                if field.name == time or keep(field.name):
                    column = file.read(columns=[field.name]).column(0)
                    if (numbers := _numbers(arrow, column)) is not None:
                        values[field.name] = numbers
    except (arrow.ArrowInvalid, arrow.ArrowTypeError) as error:
        raise ValueError(f"{path} is no Parquet file that can be read: {error}") from error
    others = {name: (0, "") for name in header if name not in values}
    return Table(str(path), header, values, time=time or "", faults=others)


def _numbers(arrow: Any, column: Any) -> Array | None:
    """(n,) float64, nan for null; None where it holds no numbers."""
    kind = column.type
    if arrow.types.is_timestamp(kind) or arrow.types.is_duration(kind):
        if column.null_count:
            return None
        ticks = column.cast(arrow.int64()).to_numpy()
        return (ticks - ticks[:1]) * _TICKS[kind.unit]
    if arrow.types.is_boolean(kind):
        column = column.cast(arrow.uint8())
    elif not (
        arrow.types.is_integer(kind)
        or arrow.types.is_floating(kind)
        or arrow.types.is_decimal(kind)
    ):
        return None
    return np.array(column.cast(arrow.float64(), safe=False).to_numpy(), dtype=np.float64)
