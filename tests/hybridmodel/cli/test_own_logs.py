"""Logs with names and units of their own, and inputs from a file, on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hybridmodel.cli import run
from hybridmodel.cli.choices import named_values, read_logs
from hybridmodel.cli.designed import Designed
from hybridmodel.data import load_npz
from physics import Pendulum


@pytest.fixture
def own(tmp_path: Path) -> Path:
    t = np.arange(300) * 0.02
    angle, rate = 0.4 * np.sin(2 * t), 0.8 * np.cos(2 * t)
    rows = np.column_stack([1e3 * t, np.degrees(angle), rate, 1e3 * np.cos(5 * t)])
    path = tmp_path / "own.csv"
    np.savetxt(path, rows, delimiter=",", header="ms,q,qd,tau", comments="")
    return path


NAMES = ["--columns", "angle=q,rate=qd,torque=tau", "--units", "angle=deg,torque=0.001,time=ms"]


def test_a_log_with_names_and_units_of_its_own(own: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["inspect", str(own), "--system", "pendulum", "--time", "ms", *NAMES]) == 0
    said = capsys.readouterr().out
    assert "5.98 s at dt = 0.02 s" in said
    (log,) = read_logs((own,), Pendulum(), None, time="ms", columns=NAMES[1], units=NAMES[3])
    assert np.abs(log.y[:, 0]).max() == pytest.approx(0.4, rel=1e-3)
    assert log.u[0] == pytest.approx(1.0)


def test_what_is_wrong_is_told_for_the_stamps_first(
    own: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(["inspect", str(own), "--system", "pendulum"]) == 2
    assert "no column 'time'" in capsys.readouterr().err
    assert run(["inspect", str(own), "--system", "pendulum", "--time", "ms"]) == 2
    assert "no column 'torque'" in capsys.readouterr().err
    assert run(["inspect", str(own), "--time", "ms", *NAMES]) == 2
    assert "--system" in capsys.readouterr().err


def test_names_by_signal() -> None:
    assert named_values("--columns", "a=imu[0,1], b=0") == {"a": "imu[0,1]", "b": 0.0}
    for wrong in ("a", "a=", "=b", "a=b,a=c"):
        with pytest.raises(ValueError, match="--columns must be like"):
            named_values("--columns", wrong)


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_collect_commands_what_excite_designed(suffix: str, tmp_path: Path) -> None:
    design, out = tmp_path / f"design{suffix}", tmp_path / "out.npz"
    search = ["--seconds", "1", "--dt", "0.05", "--iterations", "1"]
    given = ["--parameters", "mass", "--noise", "0.01", *search]
    assert run(["excite", "pendulum", str(design), *given]) in (0, 1)
    plant = ["collect", "pendulum", str(out), "--engine", "ode", "--logs", "2"]
    assert run([*plant, "--excitation", str(design)]) == 0
    wanted = Designed(design, Pendulum()).u
    for log in load_npz(out):
        assert log.dt == pytest.approx(0.05)
        assert np.array_equal(log.u, wanted)
    assert run([*plant, "--excitation", str(design), "--dt", "0.04"]) == 2
    assert run([*plant, "--excitation", str(design), "--seconds", "2"]) == 2
    assert run([*plant, "--excitation", "nothing.csv"]) == 2
    assert run(["collect", "cartpole", *plant[2:], "--excitation", str(design)]) == 2
