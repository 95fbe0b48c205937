"""Datasets in one .npz file: plain arrays, never pickled objects.

format             (1,)     version of this layout
count              ()       number of trajectories
i/t, i/u, i/y, i/d, i/x     arrays of trajectory i; i/x only where it is known
i/context_names    (n,)     text
i/context_values   (n,)
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib

import numpy as np

from hybridmodel.data.dataset import Dataset
from hybridmodel.data.trajectory import Trajectory
from hybridmodel.files import write_atomically

FORMAT = 1


def save_npz(dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """Write all trajectories to one file, all or nothing."""
    arrays: dict[str, np.ndarray] = {"format": np.array([FORMAT]), "count": np.array(len(dataset))}
    for i, log in enumerate(dataset):
        for name in ("t", "u", "y", "d", "x"):
            if (value := getattr(log, name)) is not None:
                arrays[f"{i}/{name}"] = value
        arrays[f"{i}/context_names"] = np.array(list(log.context), dtype=np.str_)
        arrays[f"{i}/context_values"] = np.array(list(log.context.values()), dtype=np.float64)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def load_npz(path: str | os.PathLike[str]) -> Dataset:
    """Read what `save_npz` wrote, bit for bit.

    Raises ValueError where the file is damaged or is something else.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        if broken := archive.testzip():
            raise ValueError(f"entry {broken!r} does not match its checksum")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            if (version := int(arrays["format"][0])) != FORMAT:
                raise ValueError(f"it has format {version}, this version reads {FORMAT}")
            return Dataset(_trajectory(arrays, i) for i in range(int(arrays["count"])))
    except (ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{os.fspath(path)} is not a dataset that can be read: {error}") from error


def _trajectory(arrays: np.lib.npyio.NpzFile, i: int) -> Trajectory:
    names, values = arrays[f"{i}/context_names"], arrays[f"{i}/context_values"]
    return Trajectory(
        t=arrays[f"{i}/t"],
        u=arrays[f"{i}/u"],
        y=arrays[f"{i}/y"],
        d=arrays[f"{i}/d"],
        x=arrays.get(f"{i}/x"),
        context={str(name): float(v) for name, v in zip(names, values, strict=True)},
    )
