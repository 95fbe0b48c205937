"""Turns of a wrapped encoder, and the units of what is constant."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel.data import Table, derive_rates, differentiate, inspect_log, read_log
from physics import Pendulum


def _table(speed: float, *, rows: int = 40, lost: tuple[int, ...] = (), rate: bool = True) -> Table:
    t = 0.1 * np.arange(rows)
    angle = np.mod(speed * t + np.pi, 2 * np.pi) - np.pi
    angle[list(lost)] = np.nan
    values = {"time": t, "torque": np.ones(rows), "angle": angle}
    if rate:
        values["rate"] = np.full(rows, speed)
    return Table("memory", tuple(values), values)


@pytest.mark.parametrize("speed", [1.0, 20.0, -25.0])
def test_the_rate_tells_the_turns_of_a_gap(speed: float) -> None:
    log = read_log(_table(speed, lost=(4, 5)), Pendulum(), resample=True)
    assert log.y[:, 0] == pytest.approx(speed * log.t, abs=1e-9)


def test_rows_that_are_not_there_are_a_gap_too() -> None:
    whole = _table(20.0)
    some = [k for k in range(40) if k not in (10, 11, 12)]
    table = Table("memory", whole.header, {n: v[some] for n, v in whole.values.items()})
    log = read_log(table, Pendulum(), resample=True)
    assert log.y[:, 0] == pytest.approx(20 * log.t, abs=1e-9)


def test_a_gap_without_a_rate_is_refused_only_where_a_turn_may_be_lost() -> None:
    slow = _table(4.0, lost=(4, 5), rate=False)
    log = read_log(slow, Pendulum(), columns={"rate": 4.0}, resample=True)
    assert log.y[:, 0] == pytest.approx(4 * log.t, abs=1e-9)
    fast = _table(20.0, lost=(4, 5), rate=False)
    with pytest.raises(ValueError, match=r"row 6.*'angle' leave open how far 'angle' has turned"):
        read_log(fast, Pendulum(), columns={"rate": 20.0}, resample=True)
    with pytest.raises(ValueError, match=r"row 6.*leave open"):
        derive_rates(fast, Pendulum())
    (found,) = inspect_log(fast, Pendulum()).of("turn")
    assert (found.channel, found.number) == ("angle", 6)


def test_a_rate_that_contradicts_the_angle_tells_no_turn() -> None:
    table = _table(20.0, lost=(4, 5))
    wrong = Table("memory", table.header, {**table.values, "rate": np.full(40, 7.0)})
    with pytest.raises(ValueError, match="leave open"):
        read_log(wrong, Pendulum(), resample=True)


def test_an_angle_over_many_turns_is_not_unwrapped_again() -> None:
    t = np.arange(0, 10, 0.05)
    angle = 80 * t + 0.3 * np.sin(t)  # 4 rad a sample
    assert differentiate(t, angle, angle=True).derivative == pytest.approx(
        80 + 0.3 * np.cos(t), abs=0.3
    )
    values = {"time": t, "torque": 0 * t, "angle": angle}
    derived = derive_rates(Table("memory", tuple(values), values), Pendulum())
    report = inspect_log(derived.table, Pendulum())
    assert not report.of("rate")
    assert not inspect_log(read_log(derived.table, Pendulum()), Pendulum()).of("rate")


def test_a_constant_has_the_unit_that_is_given() -> None:
    log = read_log(_table(1.0), Pendulum(), columns={"torque": 500}, units={"torque": "mN m"})
    assert log.u == pytest.approx(0.5)


def test_a_table_is_inspected_in_the_units_of_its_file() -> None:
    t = 0.02 * np.arange(500)
    angle = 0.8 * np.sin(2 * t + 0.3 * t**1.2)
    rate = np.gradient(angle, t)
    torque = 0.9 * np.sin(3 * t) + 0.3 * np.sin(7.7 * t)
    si = {"time": t, "torque": torque, "angle": angle, "rate": rate}
    file = {"ms": 1e3 * t, "M": 1e3 * torque, "angle": np.degrees(angle), "rate": rate}
    units = {"torque": "mN m", "angle": "deg", "time": "ms"}
    found = inspect_log(
        Table("memory", tuple(file), file, time="ms"),
        Pendulum(),
        columns={"torque": "M"},
        units=units,
    )
    wanted = inspect_log(Table("memory", tuple(si), si), Pendulum())
    assert found.seconds == pytest.approx(wanted.seconds)
    assert [(f.channel, f.kind) for f in found.findings] == [
        (f.channel, f.kind) for f in wanted.findings
    ]
    assert not found.warnings
    with pytest.raises(ValueError, match="units names 'nothing'"):
        inspect_log(Table("memory", tuple(si), si), Pendulum(), units={"nothing": "deg"})
