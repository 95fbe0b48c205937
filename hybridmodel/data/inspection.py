"""Look at a log before trusting it: `inspect_log`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hybridmodel.data.channels import check_frozen, check_values
from hybridmodel.data.dataset import Dataset
from hybridmodel.data.feedback import feedback_share
from hybridmodel.data.motion import check_excitation, check_rate
from hybridmodel.data.report import LogFinding, LogReport
from hybridmodel.data.resample import unwrap
from hybridmodel.data.stamps import check_stamps
from hybridmodel.data.table import Table
from hybridmodel.data.trajectory import Array, Trajectory, uneven_step
from hybridmodel.data.units import Unit, conversion
from physics import Signal, System

_FEEDBACK = 0.1  # share explained beyond chance


@dataclass(frozen=True, eq=False)
class _Channel:
    signal: Signal
    role: str  # u, y, d or "" where no system says
    values: Array
    t: Array


def inspect_log(
    log: Dataset | Trajectory | Table,
    system: System | None = None,
    *,
    columns: Mapping[str, str | float] | None = None,
    units: Mapping[str, Unit] | None = None,
) -> LogReport:
    """What is wrong, or worth knowing, about a log before a model is fitted to it.

    Stamps (jitter, gaps, order), missing samples, channels that are constant or freeze,
    saturation at a signal's bounds or at an own extreme, outliers, quantisation, rates that
    their positions contradict or that lag them, inputs that excite little, and feedback: an
    input that what was measured explains.

    A `system` names the channels and says their bounds, rates and angles; `columns` maps its
    signals to columns of a table where names differ, and columns of no signal are left out;
    `units` says in what they are, as for `read_log`. A table shows what a Dataset has no more,
    faults of the stamps, missing samples and turns of an angle that these leave open. Without a
    system, columns of a table are neither input nor output, and feedback is not looked for; a
    Dataset says itself which is which.

    A fault in several logs is told once, with the number of the worst.
    """
    if isinstance(log, Table):
        logs = [_of_table(log, system, columns or {}, units or {})]
        if not logs[0]:
            raise ValueError(f"{log.path} has no column of numbers to inspect")
        stamps = {id(channel.t): channel for channel in logs[0]}.values()
        several = len(stamps) > 1
        logs[0], turns = _unwrapped(logs[0])
        timing = [
            *turns,
            *(
                finding
                for channel in stamps
                for finding in check_stamps(
                    channel.t, f"time of {channel.signal.name}" if several else "time"
                )
            ),
        ]
    else:
        for argument, given in (("columns", columns), ("units", units)):
            if given is not None:
                raise ValueError(f"{argument} names those of a Table, but this log has none")
        trajectories = [log] if isinstance(log, Trajectory) else list(log)
        logs = [_of_trajectory(trajectory, system) for trajectory in trajectories]
        timing = []
    per_log = [
        [*_values(channels), *_rates(channels), *_excitation(channels, system)] for channels in logs
    ]
    findings = [*timing, *_merged(per_log), *_feedback(logs)]
    longest = [max((channel.t for channel in channels), key=len) for channels in logs]
    return LogReport(
        logs=len(logs),
        samples=sum(len(t) for t in longest),
        seconds=float(sum(np.nanmax(t) - np.nanmin(t) for t in longest)),
        findings=tuple(sorted(findings, key=lambda f: f.severity != "warning")),
    )


def _of_table(
    table: Table,
    system: System | None,
    columns: Mapping[str, str | float],
    units: Mapping[str, Unit],
) -> list[_Channel]:
    roles: dict[str, tuple[Signal, str]] = {}
    if system is not None:
        parts = {"u": system.inputs, "d": system.exogenous, "y": system.outputs}
        roles = {signal.name: (signal, role) for role, part in parts.items() for signal in part}
    known = [*roles, *(f"x:{s.name}" for s in (system.states if system is not None else ()))]
    for argument, given in (("columns", columns), ("units", units)):
        allowed = known if argument == "columns" else [*known, "time"]
        if unknown := [name for name in given if name not in allowed]:
            raise ValueError(f"{argument} names {unknown[0]!r}, but the signals are {allowed}")
    of_column = {columns.get(name, name): name for name in roles}
    for name, column in columns.items():
        if isinstance(column, str) and name in roles:
            table.column(column)  # says so where it is not there
    ticks = conversion("time", units["time"], "s")[0] if "time" in units else 1.0
    clocks: list[Array] = []
    channels = []
    used = [name for name in table.names if of_column.get(name, name) in roles]
    for column in used or table.names:
        if column.startswith("context:"):
            continue
        signal, role = roles.get(of_column.get(column, ""), (Signal(column), ""))
        t = table.stamps(column) * ticks
        # one object per clock
        same = next((c for c in clocks if np.array_equal(c, t, equal_nan=True)), None)
        if same is None:
            clocks.append(t)
        values = table.column(column)
        if signal.name in units:
            factor, offset = conversion(signal.name, units[signal.name], signal.unit)
            values = values * factor + offset
        channels.append(_Channel(signal, role, values, t if same is None else same))
    return channels


def _unwrapped(channels: list[_Channel]) -> tuple[list[_Channel], list[LogFinding]]:
    """Angles of encoders made continuous, and those whose turn is open after a gap."""
    rates = {c.signal.rate_of: (c.t, c.values) for c in channels if c.role in ("y", "")}
    continuous, found = [], []
    for channel in channels:
        signal = channel.signal
        if signal.angle:
            turned = unwrap(channel.values, channel.t, rates.get(signal.name))
            channel = replace(channel, values=turned.values)
            if turned.unsure is not None:
                text = (
                    f"may have turned by any number of turns in the gap before row {turned.unsure}"
                    f" (t = {channel.t[turned.unsure]:.6g} s)"
                )
                found.append(LogFinding(signal.name, "turn", turned.unsure, "", "warning", text))
        continuous.append(channel)
    return continuous, found


def _of_trajectory(log: Trajectory, system: System | None) -> list[_Channel]:
    channels = []
    held, sampled = log.t[:-1], log.t  # one object per clock
    for role, part in (("u", "inputs"), ("d", "exogenous"), ("y", "outputs")):
        values = getattr(log, role)
        signals: Sequence[Signal] = getattr(system, part) if system is not None else ()
        if system is not None and len(signals) != values.shape[1]:
            raise ValueError(
                f"the log has {values.shape[1]} columns of {role}, the system names "
                f"{[s.name for s in signals]}"
            )
        for i, column in enumerate(values.T):
            signal = signals[i] if system is not None else Signal(f"{role}[{i}]")
            channels.append(_Channel(signal, role, column, sampled if role == "y" else held))
    return channels


def _values(channels: list[_Channel]) -> list[LogFinding]:
    found = []
    for channel in channels:
        signal = channel.signal
        found += check_values(
            signal.name,
            channel.values,
            signal.unit,
            signal.low,
            signal.high,
            commanded=channel.role in ("u", "d"),
        )
    measured = [c for c in channels if c.role not in ("u", "d") and np.isfinite(c.values).all()]
    for clock in {id(c.t): c.t for c in measured}.values():
        group = [c for c in measured if c.t is clock]
        found += check_frozen(
            [c.signal.name for c in group],
            [c.values for c in group],
            [c.signal.unit for c in group],
        )
    return found


def _rates(channels: list[_Channel]) -> list[LogFinding]:
    """Each rate against its position, on the part where both are there and nearly even."""
    found = []
    by_name = {c.signal.name: c for c in channels if c.role in ("y", "")}
    for rate in by_name.values():
        position = by_name.get(rate.signal.rate_of or "")
        if position is None or position.t is not rate.t:
            continue
        there = np.isfinite(position.values) & np.isfinite(rate.values) & np.isfinite(rate.t)
        t, p, v = rate.t[there], position.values[there], rate.values[there]
        if len(t) < 12 or (np.diff(t) <= 0).any():
            continue
        angle = position.signal.angle
        p = unwrap(p, t).values if angle else p
        dt = float(np.median(np.diff(t)))
        if uneven_step(t) is not None:
            grid = np.arange(t[0], t[-1], dt)
            t, p, v = grid, np.interp(grid, t, p), np.interp(grid, t, v)
        names = rate.signal.name, position.signal.name
        found += check_rate(names[0], v, names[1], p, dt, angle=angle)
    return found


def _excitation(channels: list[_Channel], system: System | None) -> list[LogFinding]:
    order = system.nx if system is not None else 2
    found = []
    for channel in channels:
        u = channel.values[np.isfinite(channel.values)]
        if channel.role == "u" and len(u) >= 32 and np.ptp(u) > 0:
            s = channel.signal
            found += check_excitation(s.name, u, s.unit, s.low, s.high, order)
    return found


def _feedback(logs: list[list[_Channel]]) -> list[LogFinding]:
    pairs, inputs = [], [c.signal.name for c in logs[0] if c.role == "u"]
    for channels in logs:
        used = [c for c in channels if c.role in ("u", "y")]
        if not inputs or all(c.role == "u" for c in used):
            return []
        n = min(len(c.values) for c in used)
        if any(not np.array_equal(c.t[:n], used[0].t[:n]) for c in used):
            return []  # channels with clocks of their own have no common row
        u, y = (
            np.stack([c.values[:n] for c in used if c.role == role], axis=1) for role in ("u", "y")
        )
        there = np.isfinite(u).all(axis=1) & np.isfinite(y).all(axis=1)
        pairs.append((u[there], y[there]))
    found = []
    for name, (share, chance) in zip(inputs, feedback_share(pairs), strict=True):
        if share > chance + _FEEDBACK:
            text = (
                f"what is new in it is explained to {share:.0%} by y measured before it, by "
                f"chance {chance:.0%}: recorded in closed loop. It correlates with the noise in "
                "y, which biases one-step fits; add a reference signal of your own, or fit over "
                "long horizons with measured noise modelled"
            )
            found.append(LogFinding(name, "feedback", share, "", "warning", text))
    return found


def _merged(per_log: Iterable[list[LogFinding]]) -> list[LogFinding]:
    """One finding of each kind and channel, the one with the largest number, and in how many."""
    gathered: dict[tuple[str, str, str], list[LogFinding]] = {}
    count = 0
    for found in per_log:
        count += 1
        for finding in found:
            key = (finding.channel, finding.kind, finding.severity)
            gathered.setdefault(key, []).append(finding)
    merged = []
    weight: Callable[[LogFinding], float] = lambda f: (  # noqa: E731
        -f.number if f.kind == "excitation" else abs(f.number)
    )
    for same in gathered.values():
        worst = max(same, key=weight)
        if count > 1 and len(same) == 1:
            worst = replace(worst, text=f"{worst.text} (one of {count} logs)")
        elif count > 1:
            worst = replace(worst, text=f"{worst.text} (worst of {len(same)} in {count} logs)")
        merged.append(worst)
    return merged
