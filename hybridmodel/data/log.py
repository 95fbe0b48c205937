"""From a recorded file to a Trajectory: which column is which signal, in which unit, when.

    time, <inputs>, <exogenous>, <outputs>, x:<states>, context:<names>

are the columns a log has unless told otherwise: they bear the names of the System's signals,
`x:` marks the true or estimated state, `context:` a number that is the same in every row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybridmodel.data.resample import even_grid, hold, interpolate, longest_gap, span, unwrap
from hybridmodel.data.table import Table, read_table
from hybridmodel.data.trajectory import EVEN, Array, Trajectory, uneven_step
from hybridmodel.data.units import Unit, conversion
from physics import Signal, System

STATE, CONTEXT = "x:", "context:"


def held_names(system: System) -> list[str]:
    """Names of what is held over a step."""
    return [s.name for s in (*system.inputs, *system.exogenous)]


def sampled_names(system: System, *, state: bool) -> list[str]:
    """Names of what is sampled at an instant."""
    names = [s.name for s in system.outputs]
    return names + [STATE + s.name for s in system.states] if state else names


def read_log(
    source: str | os.PathLike[str] | Table,
    system: System,
    *,
    columns: Mapping[str, str | float] | None = None,
    units: Mapping[str, Unit] | None = None,
    time: str | None = "time",
    dt: float | None = None,
    resample: bool = False,
    max_gap: float | None = None,
    context: Mapping[str, float] | str | re.Pattern[str] | None = None,
) -> Trajectory:
    """Read one log of a system; the suffix of the file says its format (see `read_table`).

    `columns` maps signals to columns where their names differ ("x:rate" is the state "rate"),
    or to a number where the log has none and the signal was constant. `units` says in what the
    file is, where that is not what the signal is in: a factor, (factor, offset), or a name like
    "deg"; units={"time": "ms"} scales the stamps. `time` is the column of stamps [s], None
    means rows dt apart. `source` may be a table that was read, and mended, before. Angles of a
    wrapped encoder are unwrapped.

    `context` adds to the numbers found in the file. A regular expression finds them in the name
    of the file: each named group is one, as in r"kp(?P<gain>\\d+)_".

    A log that is uneven, misses samples or has several clocks is refused unless `resample`:
    then outputs are interpolated and inputs held on a grid of `dt` [s] (the median step unless
    given; several clocks need it). Gaps longer than `max_gap` [s] (5 dt, or 5 median steps of
    a slower channel, unless given) are refused still. Without `resample`, `dt` says what the
    log must have.

    Raises ValueError, naming the place in the file, for what cannot be read faithfully.
    """
    known = [*held_names(system), *sampled_names(system, state=True)]
    for argument, given in (("columns", columns), ("units", units)):
        allowed = known if argument == "columns" else [*known, "time"]
        if unknown := [name for name in given or {} if name not in allowed]:
            raise ValueError(
                f"{argument} names {unknown[0]!r}, but the system's signals are {allowed}"
            )
    for name, value in (("dt", dt), ("max_gap", max_gap)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    column: dict[str, str | float] = {name: name for name in known} | dict(columns or {})
    if isinstance(source, Table):
        table = source
    else:
        wanted = set(column.values())
        keep = lambda name: name in wanted or name.startswith(CONTEXT)  # noqa: E731
        table = read_table(source, time=time, dt=dt, keep=keep)
    states = [column[name] for name in known if name.startswith(STATE)]
    asked = any(name.startswith(STATE) for name in columns or {})
    has_state = asked or any(name in table.header for name in states)
    signals = (*system.inputs, *system.exogenous, *system.outputs)
    names = [*held_names(system), *sampled_names(system, state=has_state)]
    channels = [
        _channel(table, name, column[name], signal, units or {})
        for name, signal in zip(names, (*signals, *system.states), strict=False)
    ]
    t, held, samples = _on_one_grid(table, channels, system.nu + system.nd, dt, resample, max_gap)
    return Trajectory(
        t=t,
        u=held[:, : system.nu],
        d=held[:, system.nu :],
        y=samples[:, : system.ny],
        x=samples[:, system.ny :] if has_state else None,
        context=_context(table) | _named(table.path, context),
    )


@dataclass(frozen=True, eq=False)
class _Channel:
    column: str
    t: Array | None  # None: a constant, whatever the time
    values: Array


def _channel(
    table: Table, name: str, column: str | float, signal: Signal, units: Mapping[str, Unit]
) -> _Channel:
    if not isinstance(column, str):
        return _Channel(name, None, np.array([float(column)]))
    values = table.column(column)
    if name in units:
        factor, offset = conversion(name, units[name], signal.unit)
        values = values * factor + offset
    if signal.angle:
        values = unwrap(values)
    t = table.stamps(column)
    if "time" in units:
        factor, _ = conversion("time", units["time"], "s")
        t = t * factor
    return _Channel(column, t, values)


@dataclass(frozen=True, eq=False)
class _Clock:
    """Channels with the same stamps, and where they go: inputs first, then samples."""

    t: Array
    held: Array  # (n, ·)
    samples: Array  # (n, ·)
    held_at: list[int]
    samples_at: list[int]
    held_columns: list[str]
    sample_columns: list[str]


def _clocks(channels: list[_Channel], held: int) -> list[_Clock]:
    groups: list[tuple[Array, list[int]]] = []
    for i, channel in enumerate(channels):
        if channel.t is None:
            continue
        for t, members in groups:
            if t is channel.t or np.array_equal(t, channel.t):
                members.append(i)
                break
        else:
            groups.append((channel.t, [i]))
    clocks = []
    for t, members in groups:
        first, second = ([i for i in members if (i < held) is side] for side in (True, False))
        first_values, second_values = (
            np.array([channels[i].values for i in part]).reshape(len(part), -1).T
            if part
            else np.empty((len(t), 0))
            for part in (first, second)
        )
        clocks.append(
            _Clock(
                t,
                first_values,
                second_values,
                first,
                [i - held for i in second],
                [channels[i].column for i in first],
                [channels[i].column for i in second],
            )
        )
    return clocks


def _on_one_grid(
    table: Table,
    channels: list[_Channel],
    held_count: int,
    dt: float | None,
    resample: bool,
    max_gap: float | None,
) -> tuple[Array, Array, Array]:
    """t (T+1,), held (T, ·), samples (T+1, ·)."""
    clocks = _clocks(channels, held_count)
    if not any(clock.samples_at for clock in clocks):
        raise ValueError(f"{table.path}: no output has a column, columns are all constants")
    for clock in clocks:
        _check_stamps(table, clock.t)
    if len(clocks) > 1:
        rates = ", ".join(
            f"{(clock.held_columns + clock.sample_columns)[0]!r} every "
            f"{np.median(np.diff(clock.t)):.6g} s"
            for clock in clocks
        )
        fault = f"{table.path}: channels have clocks of their own ({rates})"
        if dt is None:
            raise ValueError(f"{fault}; give dt and resample=True to put them on one grid")
    else:
        (only,) = clocks
        fault = (
            _missing(table, only.held[:-1], only.held_columns)
            or _missing(table, only.samples, only.sample_columns)
            or _uneven(table, only.t, dt)
        )
    if fault and not resample:
        raise ValueError(f"{fault}; resample=True puts the log on an even grid")
    if fault:
        step = float(np.median(np.diff(clocks[0].t))) if dt is None else dt
        _check_gaps(table, clocks, step, max_gap)
        spans = [span(clock.t, clock.samples, clock.held) for clock in clocks]
        grid = even_grid(max(a for a, _ in spans), min(b for _, b in spans), step)
        if len(grid) < 2:
            raise ValueError(f"{table.path}: the channels have no two samples of {step} s together")
    else:
        grid = clocks[0].t
    held = np.empty((len(grid) - 1, held_count))
    samples = np.empty((len(grid), len(channels) - held_count))
    for i, channel in enumerate(channels):
        if channel.t is None:
            (held if i < held_count else samples)[:, i - held_count * (i >= held_count)] = (
                channel.values[0]
            )
    for clock in clocks:
        if fault:
            held[:, clock.held_at] = hold(clock.t, clock.held, grid)
            samples[:, clock.samples_at] = interpolate(clock.t, clock.samples, grid)
        else:
            held[:, clock.held_at] = clock.held[:-1]
            samples[:, clock.samples_at] = clock.samples
    return grid, held, samples


def _check_stamps(table: Table, t: Array) -> None:
    """Time must be there and increase; no resampling mends that."""
    if len(t) < 2:
        raise ValueError(f"{table.path}: a log needs at least 2 samples of a channel, got {len(t)}")
    if (blank := np.flatnonzero(np.isnan(t))).size:
        raise ValueError(f"{table.place(blank[0])}: no time stamp in column {table.time!r}")
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


def _check_gaps(table: Table, clocks: list[_Clock], dt: float, max_gap: float | None) -> None:
    ends = [clock.t[-1] for clock in clocks if clock.samples_at]
    for clock in clocks:
        limit = 5 * max(dt, float(np.median(np.diff(clock.t)))) if max_gap is None else max_gap
        # the last input only has to last as long as its clock's samples
        own = 1 if clock.samples_at else 0
        parts = [
            *(
                (name, clock.t[: len(clock.t) - own], column[: len(clock.t) - own])
                for name, column in zip(clock.held_columns, clock.held.T, strict=True)
            ),
            *(
                (name, clock.t, column)
                for name, column in zip(clock.sample_columns, clock.samples.T, strict=True)
            ),
        ]
        for name, t, column in parts:
            if not np.isfinite(column).any():
                raise ValueError(f"{table.path}: column {name!r} holds no sample")
            seconds, row = longest_gap(t, column)
            if not clock.samples_at and (late := min(ends) - t[-1]) > seconds:
                seconds, row = late, len(t) - 1
            if seconds > limit * (1 + EVEN):
                raise ValueError(
                    f"{table.place(row)}: {seconds:.6g} s without a sample in column {name!r}, "
                    f"more than max_gap = {limit:.6g} s; raise max_gap, or cut the log there"
                )


def _context(table: Table) -> dict[str, float]:
    found = {
        name.removeprefix(CONTEXT): value
        for name, value in table.scalars.items()
        if name.startswith(CONTEXT)
    }
    for name in table.header:
        if name.startswith(CONTEXT):
            values = table.column(name)
            if not (values == values[0]).all():
                row = int(np.flatnonzero(values != values[0])[0])
                raise ValueError(f"{table.place(row)}: {name!r} must be the same in every row")
            found[name.removeprefix(CONTEXT)] = float(values[0])
    return found


def _named(
    path: str, context: Mapping[str, float] | str | re.Pattern[str] | None
) -> dict[str, float]:
    """Numbers that the caller gives, or that a regular expression finds in the file's name."""
    if context is None or isinstance(context, Mapping):
        return dict(context or {})
    pattern = re.compile(context)
    if not pattern.groupindex:
        raise ValueError(f"context {pattern.pattern!r} needs named groups, like (?P<mass>[0-9.]+)")
    if (match := pattern.search(Path(path).name)) is None:
        raise ValueError(f"context {pattern.pattern!r} finds nothing in {Path(path).name!r}")
    numbers = {}
    for name, text in match.groupdict().items():
        try:
            numbers[name] = float(text)
        except (TypeError, ValueError):
            raise ValueError(
                f"context {pattern.pattern!r} finds {text!r} as {name!r} in {Path(path).name!r}, "
                "which is no number"
            ) from None
    return numbers
