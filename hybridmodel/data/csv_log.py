"""CSV logs: one row per sample, one named column per signal.

    time, <inputs>, <exogenous>, <outputs>, x:<states>, context:<names>

Columns bear the names of the System's signals; `x:` marks the true or estimated state,
`context:` a number that is the same in every row. T steps make T + 1 rows, and inputs and
exogenous signals of the last row are empty.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hybridmodel.data import csv_table
from hybridmodel.data.log import CONTEXT, held_names, read_log, sampled_names
from hybridmodel.data.trajectory import Trajectory
from hybridmodel.files import write_atomically
from physics import System


def write_csv(trajectory: Trajectory, path: str | os.PathLike[str], system: System) -> None:
    """Write one log, all or nothing; `read_csv` gives back the same bits.

    Raises ValueError where the system's signals do not fit the trajectory's columns.
    """
    fits = {"u": system.inputs, "d": system.exogenous, "y": system.outputs, "x": system.states}
    for name, signals in fits.items():
        array = getattr(trajectory, name)
        if array is not None and array.shape[1] != len(signals):
            raise ValueError(
                f"trajectory.{name} has {array.shape[1]} columns, but the system names "
                f"{[s.name for s in signals]}"
            )
    header = ["time", *held_names(system), *sampled_names(system, state=trajectory.x is not None)]
    header += [CONTEXT + name for name in trajectory.context]
    if repeated := {name for name in header if header.count(name) > 1}:
        raise ValueError(f"signals need different names to share a file, {repeated} repeat")
    sampled = trajectory.y if trajectory.x is None else np.hstack([trajectory.y, trajectory.x])
    numbers = [repr(value) for value in trajectory.context.values()]
    held = [[repr(v) for v in row] for row in np.hstack([trajectory.u, trajectory.d]).tolist()]
    held.append([""] * len(held_names(system)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for time, before, row in zip(trajectory.t.tolist(), held, sampled.tolist(), strict=True):
        writer.writerow([repr(time), *before, *(repr(v) for v in row), *numbers])
    write_atomically(path, text.getvalue().encode())


def read_csv(
    path: str | os.PathLike[str],
    system: System,
    *,
    columns: Mapping[str, str | float] | None = None,
    time: str = "time",
    dt: float | None = None,
    resample: bool = False,
    max_gap: float | None = None,
    context: Mapping[str, float] | None = None,
) -> Trajectory:
    """`read_log` of a comma-separated file, whatever its suffix."""
    return read_log(
        csv_table.read(Path(path), time, lambda name: True),
        system,
        columns=columns,
        dt=dt,
        resample=resample,
        max_gap=max_gap,
        context=context,
    )
