"""One recorded file as named columns of numbers, whatever its format.

    .csv            one header line; cells that are empty are missing
    .parquet        columns of numbers and of time (extra `data`)
    .h5, .hdf5      datasets by their path, "imu/gyro[2]" is a column of one (extra `data`)
    .npz            plain arrays, "state[2]" is a column of one
    .bag, .mcap, a folder with .db3 or .mcap
                    ROS 1 and 2, "/topic.field.sub[0]" (extra `ros`)

A column is sampled by the table's column of time, or has a clock of its own.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridmodel.data.trajectory import Array

Keep = Callable[[str], bool]

_READERS = {
    ".csv": "csv_table",
    ".parquet": "parquet_table",
    ".h5": "hdf5_table",
    ".hdf5": "hdf5_table",
    ".npz": "npz_table",
    ".bag": "bag_table",
    ".db3": "bag_table",
    ".mcap": "bag_table",
    "": "bag_table",
}
SUFFIXES = tuple(filter(None, _READERS))


@dataclass(frozen=True, eq=False)
class Table:
    """Columns by name; nan marks what is missing.

    header          all names in the file, read or not
    values[name]    (n,) numbers
    clocks[name]    (n,) stamps [s] of a column with a clock of its own
    time            name of the column of stamps [s] of all others
    dt              their step [s] where there is no such column
    scalars         single numbers of the file
    lines           (n,) where a row stands in a text file
    faults[name]    row and text of the first cell that is no finite number
    """

    path: str
    header: tuple[str, ...]
    values: Mapping[str, Array]
    clocks: Mapping[str, Array] = field(default_factory=dict)
    time: str = "time"
    dt: float | None = None
    scalars: Mapping[str, float] = field(default_factory=dict)
    lines: NDArray[np.int64] | None = None
    faults: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that hold numbers only, those of time left out."""
        stamps = (f"/{self.time}", ".header.stamp")
        return tuple(
            name
            for name in self.values
            if name != self.time and name not in self.faults and not name.endswith(stamps)
        )

    def column(self, name: str) -> Array:
        """(n,) the numbers under `name`; nan where there is none."""
        if name not in self.header:
            raise ValueError(
                f"{self.path} has no column {name!r}; it has {list(self.header)}: say by "
                "columns which one is a signal's (signal=column), by time which holds the stamps"
            )
        if name in self.faults:
            row, text = self.faults[name]
            raise ValueError(
                f"{self.place(row)}: {text!r} in column {name!r} is not a finite number"
            )
        values = self.values[name]
        if (infinite := np.flatnonzero(np.isinf(values))).size:
            row = int(infinite[0])
            raise ValueError(f"{self.place(row)}: {values[row]} in column {name!r} is not finite")
        return values

    def stamps(self, name: str) -> Array:
        """(n,) when the samples of a column were taken [s]; the same object for one clock."""
        if name in self.clocks:
            return self.clocks[name]
        if self.time in self.header or self.dt is None:
            stamps = self.column(self.time)
            if name in self.values and len(self.values[name]) != len(stamps):
                raise ValueError(
                    f"{self.path}: column {name!r} has {len(self.values[name])} samples, time "
                    f"{self.time!r} has {len(stamps)}"
                )
            return stamps
        return self.dt * np.arange(len(self.values[name]), dtype=np.float64)

    def place(self, row: int) -> str:
        """Where a row stands, for messages."""
        if self.lines is None:
            return f"{self.path}, row {row}"
        return f"{self.path}, line {self.lines[row]}"


def read_table(
    path: str | os.PathLike[str],
    *,
    time: str | None = "time",
    dt: float | None = None,
    keep: Keep | None = None,
) -> Table:
    """Read the columns of a file, those that `keep(name)` says, else all.

    `time` is the column of stamps [s]; None stands for samples every `dt` [s]. In HDF5 it is
    looked for in the group of a dataset, then in those around it. In ROS bags each topic has
    the stamps of its recording; time="header.stamp" takes those of its messages.

    Raises ValueError for another suffix and for what cannot be read, ImportError for a missing
    extra.
    """
    if dt is not None and not dt > 0:
        raise ValueError(f"dt must be positive, got {dt}")
    if time is None and dt is None:
        raise ValueError("time=None means that samples are dt apart: give dt [s]")
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS or (suffix == "" and not Path(path).is_dir()):
        raise ValueError(
            f"{os.fspath(path)}: a log is one of {list(SUFFIXES)}, or the folder of a ROS 2 bag"
        )
    reader = importlib.import_module(f"hybridmodel.data.{_READERS[suffix]}").read
    table = reader(Path(path), time, keep or (lambda name: True))
    if time is None:
        table = replace(table, time="", dt=dt)
    elif not table.clocks and table.dt is None:
        table.column(time)  # a wrong one is told before any signal's
    return table


def align(table: Table, delays: Mapping[str, float]) -> Table:
    """The same samples, those of each named column stamped `delays[column]` [s] earlier.

    A channel that lags τ behind the others shows at t what was at t − τ. `estimate_delay` finds
    τ; `read_log(align(…), …, resample=True, dt=…)` puts all on one grid again.
    Raises ValueError for a column that is not there and a delay that is no finite number.
    """
    clocks = dict(table.clocks)
    for name, delay in delays.items():
        if not np.isfinite(delay):
            raise ValueError(f"delays[{name!r}] must be seconds, got {delay!r}")
        table.column(name)
        clocks[name] = table.stamps(name) - delay
    return replace(table, clocks=clocks)


def load_extra(module: str, extra: str) -> Any:
    """A package that only some files need."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise
        hint = f"this file needs {module}: pip install hybridmodel[{extra}]"
        raise ImportError(hint, name=module) from error


def flatten(name: str, array: Any) -> dict[str, Array]:
    """Columns of an array: (n,) is one, (n, …) is `name[i]`, `name[i,j]`; others have none."""
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        return {}
    if array.ndim == 1:
        return {name: np.asarray(array, dtype=np.float64)}
    return {
        column: np.asarray(array[(slice(None), *at)], dtype=np.float64)
        for column, at in zip(
            columns_of(name, array.shape), np.ndindex(*array.shape[1:]), strict=True
        )
    }


def columns_of(name: str, shape: Sequence[int]) -> list[str]:
    """Names of the columns of an array of this shape."""
    if len(shape) < 2:
        return [name]
    return [f"{name}[{','.join(map(str, at))}]" for at in np.ndindex(*shape[1:])]
