"""Channels with clocks of their own put on one time grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hybridmodel.data.resample import even_grid, hold, interpolate, longest_gap, span
from hybridmodel.data.table import Table
from hybridmodel.data.trajectory import EVEN, Array, uneven_step


@dataclass(frozen=True, eq=False)
class Channel:
    column: str
    t: Array | None  # None: a constant, whatever the time
    values: Array


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


def _clocks(channels: list[Channel], held: int) -> list[_Clock]:
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


def on_one_grid(
    table: Table,
    channels: list[Channel],
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
