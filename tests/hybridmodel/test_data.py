"""Trajectories, datasets, windows and their files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel.data import (
    Dataset,
    Trajectory,
    load_npz,
    read_csv,
    save_npz,
    write_csv,
)
from physics import CartPole, InputDelay, Pendulum, Signal, Trivial

LAWS = settings(derandomize=True, deadline=None, max_examples=30)


def log(steps: int = 20, *, seed: int = 0, dt: float = 0.02, **changes: Any) -> Trajectory:
    """A pendulum-shaped log of random numbers."""
    rng = np.random.default_rng(seed)
    parts: dict[str, Any] = {
        "t": dt * np.arange(steps + 1),
        "u": rng.normal(size=(steps, 1)),
        "y": rng.normal(size=(steps + 1, 2)),
        "x": rng.normal(size=(steps + 1, 2)),
        "context": {"payload": 0.1 * seed},
    }
    return Trajectory(**parts | changes)


# -- Trajectory ------------------------------------------------------------------------------


def test_a_trajectory_owns_read_only_float64() -> None:
    u = np.ones((3, 1), dtype=np.float32)
    made = Trajectory(t=[0, 1, 2, 3], u=u, y=np.zeros((4, 2)))  # type: ignore[arg-type]
    u[:] = 7
    assert made.u.dtype == np.float64
    assert (made.u == 1).all()
    assert (made.d.shape, made.x) == ((3, 0), None)
    assert (made.steps, made.dt, made.seconds) == (3, 1.0, 3.0)
    with pytest.raises(ValueError, match="read-only"):
        made.y[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"u": np.zeros((21, 1))},
            r"u must have 20 rows \(T = len\(t\) − 1\), got shape \(21, 1\)",
        ),
        ({"u": np.zeros(20)}, r"u must have 2 axes, got shape \(20,\); write u\[:, None\]"),
        ({"y": np.zeros((20, 2))}, r"y must have 21 rows"),
        ({"x": np.zeros((20, 2))}, r"x must have 21 rows"),
        ({"d": np.zeros((21, 1))}, r"d must have 20 rows"),
        ({"y": np.full((21, 2), np.nan)}, r"y\[0, 0\] is nan: row 0"),
        ({"u": np.where(np.arange(20) == 7, np.inf, 0)[:, None]}, r"u\[7, 0\] is inf: row 7"),
        ({"t": np.zeros(21)}, r"t must increase: t\[1\] = 0.0 follows t\[0\]"),
        ({"t": -np.arange(21.0)}, r"t must increase"),
        ({"t": np.arange(21.0) + 0.1 * (np.arange(21) == 9)}, r"t must be even: t\[9\] − t\[8\]"),
        ({"t": [0.0]}, r"t must hold at least 2 samples, got 1"),
        ({"u": "text"}, r"u must be an array of real numbers"),
        ({"context": {"payload": "heavy"}}, r"context\['payload'\] must be a number"),
        ({"context": {"payload": np.nan}}, r"finite numbers, got 'payload'"),
    ],
)
def test_errors_name_the_argument_and_the_row(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        log(**changes)


def test_stamps_rounded_to_float_count_as_even() -> None:
    assert log(t=np.cumsum(np.full(21, 0.1))).dt == pytest.approx(0.1)
    assert log(t=1.7e9 + 0.02 * np.arange(21)).dt == pytest.approx(0.02, rel=1e-5)


def test_slices_keep_inputs_between_their_samples() -> None:
    whole = log(d=np.arange(20.0)[:, None])
    part = whole[5:-5]
    assert part.steps == 10
    assert np.array_equal(part.t, whole.t[5:16])
    assert np.array_equal(part.d, whole.d[5:15])
    assert np.array_equal(part.y, whole.y[5:16])
    assert part.context == whole.context
    assert whole[:] == whole
    with pytest.raises(TypeError, match="slice of steps"):
        whole[::2]
    with pytest.raises(TypeError, match="slice of steps"):
        whole[3]  # type: ignore[index]
    with pytest.raises(ValueError, match="holds no step; there are 20"):
        whole[7:7]


def test_equality_is_of_numbers_and_survives_pickling() -> None:
    assert log() == log()
    assert log() != log(seed=1)
    assert log() != log(x=None)
    assert log() != "log"
    assert pickle.loads(pickle.dumps(log())) == log()
    assert repr(log()) == "Trajectory(20 steps of 0.02 s, nu=1, ny=2, nd=0)"


# -- Dataset ---------------------------------------------------------------------------------


@LAWS
@given(count=st.integers(3, 40), seed=st.integers(0, 99))
def test_a_split_deals_every_trajectory_once(count: int, seed: int) -> None:
    dataset = Dataset(log(4, seed=i) for i in range(count))
    parts = dataset.split((0.5, 0.3, 0.2), seed=seed)
    dealt = sorted(trajectory.context["payload"] for part in parts for trajectory in part)
    assert dealt == [trajectory.context["payload"] for trajectory in dataset]
    for part, share in zip(parts, (0.5, 0.3, 0.2), strict=True):
        assert len(part) >= 1
        assert abs(len(part) - share * count) <= 1
    assert parts == dataset.split((0.5, 0.3, 0.2), seed=seed)


def test_a_split_depends_on_its_seed() -> None:
    dataset = Dataset(log(4, seed=i) for i in range(20))
    assert dataset.split(seed=0) != dataset.split(seed=1)


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (1.2, -0.2), (), (np.nan, 1.0)])
def test_fractions_are_checked(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="fractions must be positive with sum 1"):
        Dataset([log()] * 5).split(fractions)


def test_a_split_never_cuts_a_trajectory() -> None:
    with pytest.raises(ValueError, match="2 trajectories cannot fill 3 parts"):
        Dataset([log(), log()]).split()


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (log(dt=0.03), r"trajectories\[1\] has dt = 0.03 s, trajectories\[0\] has 0.02 s"),
        (log(u=np.zeros((20, 2))), r"u of trajectories\[1\] has 2 columns"),
        (log(x=None), r"x of trajectories\[1\] has None columns"),
        (log(context={}), r"context of trajectories\[1\] names \[\]"),
    ],
)
def test_trajectories_of_another_kind_are_named(odd: Trajectory, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dataset([log(), odd])


def test_a_dataset_is_a_sequence_of_trajectories() -> None:
    dataset = Dataset([log(10), log(30, seed=1)])
    assert (len(dataset), dataset.steps, dataset.dt) == (2, 40, pytest.approx(0.02))
    assert dataset.seconds == pytest.approx(0.8)
    assert dataset[1] == log(30, seed=1)
    assert dataset[:1] == Dataset([log(10)])
    assert len(Dataset((*dataset, *dataset))) == 4
    with pytest.raises(ValueError, match="needs at least one"):
        Dataset([])
    with pytest.raises(TypeError, match=r"trajectories\[0\] is a int"):
        Dataset([1])  # type: ignore[list-item]


# -- windows ---------------------------------------------------------------------------------


@LAWS
@given(
    horizon=st.integers(1, 6),
    stride=st.integers(1, 4),
    history=st.integers(0, 3),
    lengths=st.lists(st.integers(9, 15), min_size=1, max_size=3),
)
def test_windows_are_pieces_of_their_trajectory(
    horizon: int, stride: int, history: int, lengths: list[int]
) -> None:
    dataset = Dataset(
        log(n, seed=i, d=np.random.default_rng(i).normal(size=(n, 2)))
        for i, n in enumerate(lengths)
    )
    windows = dataset.windows(horizon, stride=stride, history=history)
    assert len(windows) == sum(len(range(history, n - horizon + 1, stride)) for n in lengths)
    assert windows.horizon == horizon
    assert windows.x is not None
    for i in range(len(windows)):
        source, k = dataset[windows.trajectory[i]], windows.start[i]
        piece = source[k : k + horizon]
        assert np.array_equal(windows.y[i], piece.y)
        assert np.array_equal(windows.u[i], piece.u)
        assert np.array_equal(windows.d[i], piece.d)
        assert np.array_equal(windows.x[i], piece.x)
        assert np.array_equal(windows.past_u[i], source.u[k - history : k])
        assert windows.context["payload"][i] == source.context["payload"]


def test_windows_without_state_or_exogenous_signals() -> None:
    windows = Dataset([log(x=None)]).windows(5)
    assert windows.x is None
    assert windows.d.shape == (16, 5, 0)
    assert windows.past_u.shape == (16, 0, 1)


def test_a_window_never_crosses_trajectories() -> None:
    dataset = Dataset([log(40), log(20), log(30)])
    assert len(dataset.windows(20)) == 21 + 1 + 11
    with pytest.raises(ValueError, match=r"horizon 25 does .* trajectories\[1\].* 20 .*has 40"):
        dataset.windows(25)
    with pytest.raises(ValueError, match="horizon 20 after 1 steps of history does not fit"):
        dataset.windows(20, history=1)
    for name in ("horizon", "stride"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            dataset.windows(**{"horizon": 5} | {name: 0})


# -- npz -------------------------------------------------------------------------------------


def test_npz_gives_back_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "logs.npz"
    for dataset in (
        Dataset([log(5), log(7, seed=3)]),
        Dataset([log(5, x=None, context={}, d=np.ones((5, 2)))]),
    ):
        save_npz(dataset, path)
        assert load_npz(path) == dataset


def test_a_damaged_or_foreign_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "logs.npz"
    save_npz(Dataset([log(5)]), path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(flipped))
        try:
            loaded = load_npz(path)
        except ValueError:
            refused += 1
        else:  # a flip in a date or a padding
            assert loaded == Dataset([log(5)])
    assert refused > 20
    for content in (data[:100], b"", b"time,angle\n0,1\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"logs\.npz is not a dataset"):
            load_npz(path)
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(ValueError, match="format"):
        load_npz(path)
    np.savez(path, format=np.array([{}], dtype=object), count=1)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_npz(path)
    with pytest.raises(FileNotFoundError):
        load_npz(tmp_path / "nowhere.npz")


# -- CSV -------------------------------------------------------------------------------------


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def pendulum_rows(t: list[float], cells: dict[tuple[int, str], str] | None = None) -> str:
    """A log with torque k, angle t and rate 2t in row k; `cells` replaces some of them."""
    lines = ["time,torque,angle,rate"]
    for k, time in enumerate(t):
        row = {"time": time, "torque": k, "angle": time, "rate": 2 * time}
        row |= {name: text for (at, name), text in (cells or {}).items() if at == k}
        lines.append(",".join(str(v) for v in row.values()))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "made",
    [
        log(),
        log(x=None, context={}),
        log(y=np.cumsum(np.full((21, 2), 4.0), axis=0)),  # turns by more than π a sample
        log(y=np.full((21, 2), 5e-324), u=np.full((20, 1), -1 / 3)),
        log(t=1.7e9 + 0.02 * np.arange(21)),
    ],
)
def test_csv_gives_back_the_same_bits(tmp_path: Path, made: Trajectory) -> None:
    write_csv(made, tmp_path / "log.csv", Pendulum())
    assert read_csv(tmp_path / "log.csv", Pendulum()) == made
    assert read_csv(tmp_path / "log.csv", Pendulum(), resample=True) == made


def test_csv_with_exogenous_signals_and_memory(tmp_path: Path) -> None:
    wind = Trivial(
        states=Pendulum().states, inputs=Pendulum().inputs, exogenous=(Signal("wind", "m/s"),)
    )
    system = InputDelay(system=wind, steps=2)
    made = log(d=np.linspace(0, 1, 20)[:, None])
    write_csv(made, tmp_path / "log.csv", system)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "time,torque,wind,angle,rate,x:angle,x:rate,context:payload"
    assert lines[-1].split(",")[1:3] == ["", ""]
    assert read_csv(tmp_path / "log.csv", system) == made


def test_csv_of_another_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trajectory.y has 2 columns, but the system names"):
        write_csv(log(), tmp_path / "log.csv", CartPole())
    write_csv(log(), tmp_path / "log.csv", Pendulum())
    with pytest.raises(ValueError, match=r"no column 'force'; it has \['time', 'torque'"):
        read_csv(tmp_path / "log.csv", CartPole())


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "s,w,tau,phi\n0,1,2,3\n0.1,4,5,6\n\n0.2,7,,9\n")
    names = {"torque": "tau", "angle": "phi", "rate": "w", "x:angle": "phi", "x:rate": "w"}
    made = read_csv(path, Pendulum(), columns=names, time="s", context={"payload": 3})
    assert made.u.tolist() == [[2], [5]]
    assert made.y.tolist() == [[3, 1], [6, 4], [9, 7]]
    assert made.x is not None
    assert np.array_equal(made.x, made.y)
    assert made.context == {"payload": 3.0}
    with pytest.raises(ValueError, match=r"columns names 'speed', but .* are \['torque'"):
        read_csv(path, Pendulum(), columns={"speed": "w"})
    with pytest.raises(ValueError, match="has no column 'x:rate'"):
        read_csv(path, Pendulum(), columns=names | {"x:rate": "x:rate"}, time="s")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,torque,angle,rate\n0,0,0,0\n", "needs a header and at least 2 rows"),
        ("time,angle,angle\n0,0,0\n1,0,0\n", r"columns of the same name: \['angle'\]"),
        ("time,torque,angle,rate\n0,0,0,0\n1,0,0\n", r"line 3: 3 cells under 4"),
        (pendulum_rows([0, 1, 2], {(1, "angle"): "fast"}), r"line 3: 'fast' in column 'angle'"),
        (pendulum_rows([0, 1, 2], {(1, "angle"): "inf"}), r"line 3: 'inf' in column 'angle'"),
        (pendulum_rows([0, 1, 2], {(1, "time"): ""}), r"line 3: no time stamp"),
        (pendulum_rows([0, 1, 1]), r"line 4: time 1.0 does not come after 1.0"),
        (pendulum_rows([0, 1, 3, 4]), r"line 4: a step of 2 s, .*resample=True"),
        (pendulum_rows([0, 1, 2], {(1, "rate"): ""}), r"line 3: no sample in column 'rate'"),
        (pendulum_rows([0, 1, 2], {(0, "torque"): "NaN"}), r"line 2: no sample in column 'torque'"),
        ('time,torque,angle,rate\n0,0,0,"0\n', "line"),
    ],
)
def test_what_cannot_be_read_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_csv(write(tmp_path / "log.csv", text), Pendulum())


def test_dt_states_what_the_log_must_have(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", pendulum_rows([0, 0.5, 1]))
    assert read_csv(path, Pendulum(), dt=0.5).dt == 0.5
    with pytest.raises(ValueError, match=r"every 0.5 s, not every dt = 0.1 s; resample=True"):
        read_csv(path, Pendulum(), dt=0.1)
    with pytest.raises(ValueError, match="dt must be positive, got 0"):
        read_csv(path, Pendulum(), dt=0)


def test_resampling_interpolates_outputs_and_holds_inputs(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", pendulum_rows([0, 1, 2, 4, 5]))
    made = read_csv(path, Pendulum(), resample=True)
    assert made.t.tolist() == [0, 1, 2, 3, 4, 5]
    assert made.y[:, 0] == pytest.approx(made.t)
    assert made.y[:, 1] == pytest.approx(2 * made.t)
    assert made.u[:, 0].tolist() == [0, 1, 2, 2, 3]
    fine = read_csv(path, Pendulum(), resample=True, dt=0.5)
    assert fine.u[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 2, 2, 3, 3]


@LAWS
@given(seed=st.integers(0, 10**6))
def test_jitter_delays_no_input(seed: int) -> None:
    from hybridmodel.data.resample import hold

    rng = np.random.default_rng(seed)
    grid = 0.1 * np.arange(30)
    stamps = grid + rng.uniform(-0.04, 0.04, 30)
    u = rng.normal(size=(30, 2))
    assert np.array_equal(hold(stamps, u, grid), u[:-1])


def test_missing_samples_are_filled_on_request(tmp_path: Path) -> None:
    cells = {(2, "angle"): "", (3, "torque"): "nan", (6, "torque"): ""}
    path = write(tmp_path / "log.csv", pendulum_rows([0, 1, 2, 3, 4, 5, 6], cells))
    made = read_csv(path, Pendulum(), resample=True)
    assert made.y[:, 0] == pytest.approx(made.t)
    assert made.u[:, 0].tolist() == [0, 1, 2, 2, 4, 5]


def test_samples_missing_at_the_ends_shorten_the_log(tmp_path: Path) -> None:
    cells = {(0, "torque"): "", (6, "rate"): ""}
    path = write(tmp_path / "log.csv", pendulum_rows([0, 1, 2, 3, 4, 5, 6], cells))
    made = read_csv(path, Pendulum(), resample=True)
    assert made.t.tolist() == [1, 2, 3, 4, 5]
    assert made.u[:, 0].tolist() == [1, 2, 3, 4]


def test_long_gaps_are_refused_even_then(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", pendulum_rows([0, 1, 2, 9, 10, 11, 12, 13]))
    with pytest.raises(ValueError, match=r"line 5: 7 s without .*max_gap = 5 s"):
        read_csv(path, Pendulum(), resample=True)
    assert read_csv(path, Pendulum(), resample=True, max_gap=7).steps == 13
    cells = {(k, "rate"): "" for k in (2, 3)}
    path = write(tmp_path / "log.csv", pendulum_rows([0, 1, 2, 3, 4, 5], cells))
    with pytest.raises(ValueError, match=r"line 6: 3 s without .* 'rate'.*max_gap = 2 s"):
        read_csv(path, Pendulum(), resample=True, max_gap=2)
    cells = {(k, "rate"): "" for k in range(6)}
    path = write(tmp_path / "log.csv", pendulum_rows([0, 1, 2, 3, 4, 5], cells))
    with pytest.raises(ValueError, match="column 'rate' holds no sample"):
        read_csv(path, Pendulum(), resample=True, max_gap=100)


@pytest.mark.parametrize("low", [-np.pi, 0.0])
def test_a_wrapped_encoder_is_unwrapped(tmp_path: Path, low: float) -> None:
    t = 0.1 * np.arange(60)
    angle = low + 1 + 5 * t
    wrapped = low + np.mod(angle - low, 2 * np.pi)
    made = log(59, t=t, y=np.stack([wrapped, np.full(60, 5.0)], axis=1), x=None)
    write_csv(made, tmp_path / "log.csv", Pendulum())
    read = read_csv(tmp_path / "log.csv", Pendulum())
    assert read.y[:, 0] == pytest.approx(angle)
    assert np.array_equal(read.y[:, 1], made.y[:, 1])


def test_context_in_a_file_is_one_number(tmp_path: Path) -> None:
    text = "time,torque,angle,rate,context:load\n0,0,0,0,1\n1,0,0,0,1\n2,0,0,0,2\n"
    with pytest.raises(ValueError, match=r"line 4: 'context:load' must be the same in every row"):
        read_csv(write(tmp_path / "log.csv", text), Pendulum())
