"""From a recorded file to a Trajectory: which column is which signal, in which unit, when.

    time, <inputs>, <exogenous>, <outputs>, x:<states>, context:<names>

are the columns a log has unless told otherwise: they bear the names of the System's signals,
`x:` marks the true or estimated state, `context:` a number that is the same in every row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from hybridmodel.data.clocks import Channel, on_one_grid
from hybridmodel.data.resample import unwrap
from hybridmodel.data.table import Table, read_table
from hybridmodel.data.trajectory import Trajectory
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
    file, or that number, is, where that is not what the signal is in: a factor, (factor, offset),
    or a name like "deg"; units={"time": "ms"} scales the stamps. `time` is the column of stamps
    [s], None means rows dt apart. `source` may be a table that was read, and mended, before.
    Angles of a wrapped encoder are unwrapped; where samples are missing, its rate says how far
    it turned.

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
    wanted_signals = [
        (name, column[name], signal)
        for name, signal in zip(names, (*signals, *system.states), strict=False)
    ]
    channels = _channels(table, wanted_signals, units or {}, resample)
    t, held, samples = on_one_grid(table, channels, system.nu + system.nd, dt, resample, max_gap)
    return Trajectory(
        t=t,
        u=held[:, : system.nu],
        d=held[:, system.nu :],
        y=samples[:, : system.ny],
        x=samples[:, system.ny :] if has_state else None,
        context=_context(table) | _named(table.path, context),
    )


def _channels(
    table: Table,
    wanted: list[tuple[str, str | float, Signal]],
    units: Mapping[str, Unit],
    resample: bool,
) -> list[Channel]:
    channels = [_channel(table, name, column, signal, units) for name, column, signal in wanted]
    rate_of = {
        name[: len(name) - len(signal.name)] + signal.rate_of: channel
        for (name, _, signal), channel in zip(wanted, channels, strict=True)
        if signal.rate_of is not None and channel.t is not None
    }
    for i, ((name, _, signal), channel) in enumerate(zip(wanted, channels, strict=True)):
        if not signal.angle or channel.t is None:
            continue
        rate = rate_of.get(name)
        turned = unwrap(
            channel.values,
            channel.t,
            None if rate is None or rate.t is None else (rate.t, rate.values),
        )
        if resample and turned.unsure is not None:
            row = turned.unsure
            raise ValueError(
                f"{table.place(row)}: the samples missing before it in column {channel.column!r} "
                f"leave open how far {name!r} has turned; give a column of its rate, or cut the "
                "log there"
            )
        channels[i] = replace(channel, values=turned.values)
    return channels


def _channel(
    table: Table, name: str, column: str | float, signal: Signal, units: Mapping[str, Unit]
) -> Channel:
    factor, offset = conversion(name, units[name], signal.unit) if name in units else (1.0, 0.0)
    if not isinstance(column, str):
        return Channel(name, None, np.array([float(column) * factor + offset]))
    values = table.column(column) * factor + offset
    t = table.stamps(column)
    if "time" in units:
        t = t * conversion("time", units["time"], "s")[0]
    return Channel(column, t, values)


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
