"""Every format gives the log that was written into it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybridmodel.data import Trajectory, align, derive_rates, read_log, read_table, save_npz
from hybridmodel.data.dataset import Dataset
from physics import Pendulum

DT, STEPS = 0.01, 300
NAMES = ("time", "torque", "angle", "rate")


def made() -> dict[str, np.ndarray]:
    """A pendulum-shaped record in SI units."""
    t = DT * np.arange(STEPS + 1)
    u = np.random.default_rng(0).normal(size=STEPS + 1)
    return {"time": t, "torque": u, "angle": 2 * np.sin(3 * t), "rate": 6 * np.cos(3 * t)}


def wanted() -> Trajectory:
    record = made()
    y = np.stack([record["angle"], record["rate"]], axis=1)
    return Trajectory(t=record["time"], u=record["torque"][:-1, None], y=y)


def write_csv_file(path: Path) -> None:
    rows = zip(*made().values(), strict=True)
    lines = [",".join(NAMES), *(",".join(repr(float(v)) for v in row) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_parquet(path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({**made(), "note": ["x"] * (STEPS + 1)}), path)


def write_hdf5(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, values in made().items():
            file[name] = values


def write_plain_npz(path: Path) -> None:
    np.savez(path, **made())  # type: ignore[arg-type]


WRITERS = {
    "log.csv": write_csv_file,
    "log.parquet": write_parquet,
    "log.h5": write_hdf5,
    "log.npz": write_plain_npz,
}


@pytest.mark.parametrize("name", WRITERS)
def test_each_format_gives_back_the_same_bits(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    assert read_log(tmp_path / name, Pendulum()) == wanted()
    table = read_table(tmp_path / name)
    assert set(table.names) == {"torque", "angle", "rate"}
    with pytest.raises(ValueError, match=r"no column 'w'; it has \['"):
        read_log(tmp_path / name, Pendulum(), columns={"rate": "w"})


@pytest.mark.parametrize("name", [*WRITERS, "log.bag", "log.mcap", "log.db3"])
def test_a_file_of_something_else_is_refused(name: str, tmp_path: Path) -> None:
    pytest.importorskip("rosbags")
    (tmp_path / name).write_bytes(b"PK\x05 this is no log\n" * 40)
    with pytest.raises(ValueError, match=r"log\.|line"):
        read_log(tmp_path / name, Pendulum())


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("a.parquet", "pyarrow", "data"),
        ("a.h5", "h5py", "data"),
        ("a.mcap", "rosbags.highlevel", "ros"),
    ],
)
def test_a_missing_extra_is_named(
    name: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ImportError, match=rf"pip install hybridmodel\[{extra}\]"):
        read_table(tmp_path / name)


def test_unknown_suffixes_and_datasets_are_named(tmp_path: Path) -> None:
    (tmp_path / "log.xlsx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"log\.xlsx: a log is one of \['\.csv'"):
        read_table(tmp_path / "log.xlsx")
    save_npz(Dataset([wanted()]), tmp_path / "data.npz")
    with pytest.raises(ValueError, match="load_npz reads it"):
        read_table(tmp_path / "data.npz")


def test_units_columns_and_context_of_the_file_name(tmp_path: Path) -> None:
    record = made()
    np.savez(
        tmp_path / "kp120_run3.npz",
        ms=1e3 * record["time"],
        deg=np.rad2deg(record["angle"]),
        rpm=record["rate"] * 60 / (2 * np.pi),
    )
    log = read_log(
        tmp_path / "kp120_run3.npz",
        Pendulum(),
        columns={"angle": "deg", "rate": "rpm", "torque": 0.5},
        units={"angle": "deg", "rate": "rpm", "time": "ms"},
        time="ms",
        context=r"kp(?P<gain>[0-9.]+)_run(?P<run>\d+)",
    )
    assert log.y == pytest.approx(wanted().y, abs=1e-12)
    assert log.t == pytest.approx(record["time"], abs=1e-12)
    assert (log.u == 0.5).all()
    assert log.context == {"gain": 120.0, "run": 3.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": {"angle": "furlong"}}, r"units\['angle'\] is 'furlong'; known are \['deg'"),
        ({"units": {"angle": "rpm"}}, r"'rpm', which becomes rad/s, but the signal is in rad"),
        ({"units": {"angle": 0.0}}, "factor not 0"),
        ({"units": {"speed": 2.0}}, "units names 'speed'"),
        ({"columns": {"speed": "w"}}, "columns names 'speed'"),
        ({"context": r"\d+"}, "needs named groups"),
        ({"context": r"kp(?P<gain>\d+)"}, "finds nothing in 'log.npz'"),
        ({"context": r"(?P<word>log)"}, "finds 'log' as 'word'"),
        ({"time": None}, "give dt"),
        ({"columns": {"angle": 0.0, "rate": 1.0, "torque": 0.0}}, "no output has a column"),
    ],
)
def test_what_does_not_fit_is_named(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_plain_npz(tmp_path / "log.npz")
    with pytest.raises(ValueError, match=message):
        read_log(tmp_path / "log.npz", Pendulum(), **options)


def test_arrays_of_two_axes_and_a_scalar_step(tmp_path: Path) -> None:
    record = made()
    state = np.stack([record["angle"], record["rate"]], axis=1)
    np.savez(
        tmp_path / "log.npz", dt=DT, state=state, torque=record["torque"], **{"context:mass": 2.0}
    )
    names = {"angle": "state[0]", "rate": "state[1]"}
    log = read_log(tmp_path / "log.npz", Pendulum(), columns=names)
    assert np.array_equal(log.y, wanted().y)
    assert log.dt == pytest.approx(DT)
    assert log.context == {"mass": 2.0}
    same = read_log(tmp_path / "log.npz", Pendulum(), columns=names, time=None, dt=DT)
    assert same == log


def test_groups_with_clocks_of_their_own_meet_on_one_grid(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    slow, fast = 0.05 * np.arange(80) + 0.013, 0.004 * np.arange(1000)
    commands = 0.02 * np.arange(200)
    with h5py.File(tmp_path / "log.h5", "w") as file:
        file["encoder/time"], file["encoder/angle"] = slow, 2 * slow
        file["gyro/time"], file["gyro/rate"] = fast, 2 + 0 * fast
        file["time"], file["torque"] = commands, np.arange(200.0)
    names = {"angle": "encoder/angle", "rate": "gyro/rate"}
    with pytest.raises(ValueError, match=r"clocks of their own .*'torque' every 0.02 s.* give dt"):
        read_log(tmp_path / "log.h5", Pendulum(), columns=names)
    with pytest.raises(ValueError, match="resample=True"):
        read_log(tmp_path / "log.h5", Pendulum(), columns=names, dt=0.01)
    log = read_log(tmp_path / "log.h5", Pendulum(), columns=names, dt=0.01, resample=True)
    assert log.t[0] == pytest.approx(0.013)
    assert log.y[:, 0] == pytest.approx(2 * log.t)
    assert log.u[:, 0] == pytest.approx(np.floor((log.t[:-1] + 0.005) / 0.02 + 1e-9))


def test_align_takes_a_delay_out(tmp_path: Path) -> None:
    t = DT * np.arange(STEPS + 1)
    late = 0.023
    np.savez(tmp_path / "log.npz", time=t, torque=0 * t, angle=np.sin(t), rate=np.cos(t - late))
    table = align(read_table(tmp_path / "log.npz"), {"rate": late})
    log = read_log(table, Pendulum(), dt=DT, resample=True)
    assert log.y[:, 0] == pytest.approx(np.sin(log.t), abs=1e-4)
    assert log.y[:, 1] == pytest.approx(np.cos(log.t), abs=1e-4)
    with pytest.raises(ValueError, match=r"delays\['rate'\] must be seconds"):
        align(table, {"rate": np.nan})


def test_a_table_gets_the_rates_it_lacks(tmp_path: Path) -> None:
    record = made()
    turned = np.mod(record["angle"] + 3, 2 * np.pi) - 3  # of a wrapped encoder
    np.savez(tmp_path / "log.npz", time=record["time"], torque=record["torque"], angle=turned)
    with pytest.raises(ValueError, match="no column 'rate'"):
        read_log(tmp_path / "log.npz", Pendulum())
    derived = derive_rates(read_table(tmp_path / "log.npz"), Pendulum())
    assert set(derived.rates) == {"rate"}
    assert "Savitzky–Golay" in str(derived)
    log = read_log(derived.table, Pendulum())
    assert log.y[:, 1] == pytest.approx(record["rate"], abs=0.02)
    whole = derive_rates(derived.table, Pendulum())
    assert not whole.rates
