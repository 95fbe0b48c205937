"""The input that `hybridmodel excite` wrote, as a policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hybridmodel.data import read_table
from hybridmodel.data.trajectory import Array, uneven_step
from physics import System


class Designed:
    """Commands the rows u (T, nu) of a file one after the other, each for its step.

    A .csv with a column `time` [s] and one for each input of the system, or a .npz with t (T,),
    u (T, nu) and the names `inputs`. Raises ValueError, naming the file, for other ones.
    """

    def __init__(self, path: Path, system: System) -> None:
        wanted = [s.name for s in system.inputs]
        if path.suffix.lower() == ".npz":
            table = read_table(path, time="t")
            with np.load(path, allow_pickle=False) as arrays:
                names = [str(n) for n in arrays["inputs"]] if "inputs" in arrays.files else []
            column = {name: f"u[{i}]" for i, name in enumerate(names)}
        else:
            table = read_table(path)
            names = [name for name in table.header if name != "time"]
            column = {name: name for name in names}
        if sorted(names) != sorted(wanted):
            raise ValueError(f"{path} holds the inputs {names}, the system's are {wanted}")
        t = table.stamps(column[wanted[0]])
        self.u: Array = np.stack([table.column(column[name]) for name in wanted], axis=1)
        if len(t) < 2 or not (np.diff(t) > 0).all() or uneven_step(t) is not None:
            raise ValueError(f"{path}: its stamps must be even and increase")
        if not np.isfinite(self.u).all():
            raise ValueError(f"{path}: a row of its inputs is not complete")
        self.dt = float(np.round((t[-1] - t[0]) / (len(t) - 1), 12))  # [s]

    def reset(self, seed: int | None = None) -> None:
        pass

    def __call__(self, t: float, y: Array) -> Array:
        return self.u[min(round(t / self.dt), len(self.u) - 1)].copy()
