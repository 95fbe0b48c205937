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

import numpy as np

from hybridmodel.data.resample import even_grid, hold, interpolate, longest_gap, unwrap
from hybridmodel.data.table import Table, read_table
from hybridmodel.data.trajectory import EVEN, Array, Trajectory, uneven_step
from hybridmodel.files import write_atomically
from physics import System

STATE, CONTEXT = "x:", "context:"


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
    header = ["time", *_held(system), *_sampled(system, state=trajectory.x is not None)]
    header += [CONTEXT + name for name in trajectory.context]
    if repeated := {name for name in header if header.count(name) > 1}:
        raise ValueError(f"signals need different names to share a file, {repeated} repeat")
    sampled = trajectory.y if trajectory.x is None else np.hstack([trajectory.y, trajectory.x])
    numbers = [repr(value) for value in trajectory.context.values()]
    held = [[repr(v) for v in row] for row in np.hstack([trajectory.u, trajectory.d]).tolist()]
    held.append([""] * len(_held(system)))
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
    columns: Mapping[str, str] | None = None,
    time: str = "time",
    dt: float | None = None,
    resample: bool = False,
    max_gap: float | None = None,
    context: Mapping[str, float] | None = None,
) -> Trajectory:
    """Read one log by column name.

    `columns` maps signals to columns where their names differ ("x:rate" is the state "rate"),
    `time` is the column of stamps [s]. Angles of a wrapped encoder are unwrapped. `context`
    adds to the numbers found in the file.

    A log that is uneven or misses samples is refused unless `resample`: then outputs are
    interpolated and inputs held on a grid of `dt` [s] (the median step unless given), and gaps
    longer than `max_gap` [s] (5 dt unless given) are refused still. Without `resample`, `dt`
    says what the log must have.

    Raises ValueError, naming the line of the file, for what cannot be read faithfully.
    """
    table = read_table(path)
    known = [*_held(system), *_sampled(system, state=True)]
    if unknown := [name for name in columns or {} if name not in known]:
        raise ValueError(f"columns names {unknown[0]!r}, but the system's signals are {known}")
    for name, value in (("dt", dt), ("max_gap", max_gap)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    column = {name: name for name in known} | dict(columns or {})
    states = [column[name] for name in known if name.startswith(STATE)]
    wanted = any(name.startswith(STATE) for name in columns or {})
    has_state = wanted or any(name in table.header for name in states)
    held_names = [column[name] for name in _held(system)]
    sample_names = [column[name] for name in _sampled(system, state=has_state)]

    t = table.column(time)
    _check_stamps(table, t, time)
    held, samples = table.columns(held_names), table.columns(sample_names)
    for i, signal in enumerate((*system.outputs, *(system.states if has_state else ()))):
        if signal.angle:
            samples[:, i] = unwrap(samples[:, i])

    fault = _missing(table, held[:-1], held_names) or _missing(table, samples, sample_names)
    fault = fault or _uneven(table, t, dt)
    if fault and not resample:
        raise ValueError(f"{fault}; resample=True puts the log on an even grid")
    if fault:
        dt = float(np.median(np.diff(t))) if dt is None else dt
        limit = 5 * dt if max_gap is None else max_gap
        _check_gaps(table, t[:-1], held[:-1], held_names, limit)
        _check_gaps(table, t, samples, sample_names, limit)
        grid = even_grid(t, samples, held, dt)
        t, held, samples = grid, hold(t, held, grid), interpolate(t, samples, grid)
    else:
        held = held[:-1]
    return Trajectory(
        t=t,
        u=held[:, : system.nu],
        d=held[:, system.nu :],
        y=samples[:, : system.ny],
        x=samples[:, system.ny :] if has_state else None,
        context=_context(table) | dict(context or {}),
    )


def _held(system: System) -> list[str]:
    """Names of what is held over a step."""
    return [s.name for s in (*system.inputs, *system.exogenous)]


def _sampled(system: System, *, state: bool) -> list[str]:
    """Names of what is sampled at an instant."""
    names = [s.name for s in system.outputs]
    return names + [STATE + s.name for s in system.states] if state else names


def _check_stamps(table: Table, t: Array, time: str) -> None:
    """Time must be there and increase; no resampling mends that."""
    if (blank := np.flatnonzero(np.isnan(t))).size:
        raise ValueError(f"{table.place(blank[0])}: no time stamp in column {time!r}")
    if (falling := np.flatnonzero(np.diff(t) <= 0)).size:
        row = falling[0] + 1
        raise ValueError(f"{table.place(row)}: time {t[row]} does not come after {t[row - 1]}")


def _missing(table: Table, values: Array, names: list[str]) -> str | None:
    if not (holes := np.argwhere(np.isnan(values))).size:
        return None
    row, at = holes[0]
    return f"{table.place(row)}: no sample in column {names[at]!r}"


def _uneven(table: Table, t: Array, dt: float | None) -> str | None:
    if (k := uneven_step(t)) is not None:
        step, usual = t[k + 1] - t[k], np.median(np.diff(t))
        return f"{table.place(k + 1)}: a step of {step:.9g} s, where the median is {usual:.9g} s"
    mean = (t[-1] - t[0]) / (len(t) - 1)
    if dt is not None and abs(mean - dt) > EVEN * dt:
        return f"{table.path} is sampled every {mean:.9g} s, not every dt = {dt:.9g} s"
    return None


def _check_gaps(table: Table, t: Array, values: Array, names: list[str], limit: float) -> None:
    for name, column in zip(names, values.T, strict=True):
        if not np.isfinite(column).any():
            raise ValueError(f"{table.path}: column {name!r} holds no sample")
        seconds, row = longest_gap(t, column)
        if seconds > limit * (1 + EVEN):
            raise ValueError(
                f"{table.place(row)}: {seconds:.6g} s without a sample in column {name!r}, more "
                f"than max_gap = {limit:.6g} s; raise max_gap, or cut the log there"
            )


def _context(table: Table) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in table.header:
        if name.startswith(CONTEXT):
            values = table.column(name)
            if not (values == values[0]).all():
                row = int(np.flatnonzero(values != values[0])[0])
                raise ValueError(f"{table.place(row)}: {name!r} must be the same in every row")
            found[name.removeprefix(CONTEXT)] = float(values[0])
    return found
