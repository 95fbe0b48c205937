"""An HDF5 file, flat or grouped, as a Table (extra `data`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.data.table import Keep, Table, columns_of, flatten, load_extra
from hybridmodel.data.trajectory import Array


def read(path: Path, time: str | None, keep: Keep) -> Table:
    """Read datasets by their path; each has the time of its group, or of those around it.

    A scalar `dt` [s] stands for an even time. Scalars and attributes of the root are scalars.
    Raises ValueError where the file is damaged or is something else.
    """
    h5py = load_extra("h5py", "data")
    header: list[str] = []
    values: dict[str, Array] = {}
    clocks: dict[str, Array] = {}
    scalars: dict[str, float] = {}
    stamps: dict[str, Array] = {}

    def visit(name: str, dataset: Any) -> None:
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "biuf":
            return
        if dataset.shape == ():
            scalars[name] = float(dataset[()])
            return
        names = columns_of(name, dataset.shape)
        header.extend(names)
        if not any(n == time or keep(n) for n in names):
            return
        columns = flatten(name, dataset[()])
        values.update({n: v for n, v in columns.items() if n == time or keep(n)})
        if time is not None and (base := _time_of(file, name, time)) not in (None, time, name):
            if base not in stamps:
                stamps[base] = np.array(file[base][()], dtype=np.float64)
            clocks.update(dict.fromkeys(columns, stamps[base]))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
            for key, value in file.attrs.items():
                if np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf":
                    scalars.setdefault(key, float(value))
    except OSError as error:
        raise ValueError(f"{path} is no HDF5 file that can be read: {error}") from error
    dt = scalars.get("dt")
    return Table(str(path), tuple(header), values, clocks, time=time or "", dt=dt, scalars=scalars)


def _time_of(file: Any, name: str, time: str) -> str | None:
    """The dataset `time` nearest to a dataset, upwards."""
    *groups, _ = name.split("/")
    for depth in range(len(groups), -1, -1):
        if (candidate := "/".join([*groups[:depth], time])) in file:
            return candidate
    return None
