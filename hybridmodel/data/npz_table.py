"""Plain arrays in a .npz file as a Table; `load_npz` reads what `save_npz` wrote."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from hybridmodel.data.table import Keep, Table, flatten
from hybridmodel.data.trajectory import Array


def read(path: Path, time: str | None, keep: Keep) -> Table:
    """Read arrays by name; a scalar `dt` [s] stands for an even time where no `time` is.

    Raises ValueError where the file is damaged, is something else, or holds objects.
    """
    header: list[str] = []
    values: dict[str, Array] = {}
    scalars: dict[str, float] = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array, not several by name")
            if "format" in arrays.files and "count" in arrays.files:
                raise ValueError("save_npz wrote it: load_npz reads it")
            for name in arrays.files:
                array = arrays[name]
                if array.ndim == 0 and array.dtype.kind in "biuf":
                    scalars[name] = float(array)
                columns = flatten(name, array)
                header += columns
                values |= {n: v for n, v in columns.items() if n == time or keep(n)}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} holds no arrays that can be read: {error}") from error
    dt = scalars.get("dt")
    return Table(str(path), tuple(header), values, time=time or "", dt=dt, scalars=scalars)
