"""Verbs on small files, exit codes, and one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from hybridmodel.cli import run


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    path = tmp_path / "logs.npz"
    options = ["--logs", "4", "--seconds", "1.5", "--engine", "ode", "--dt", "0.05"]
    assert run(["collect", "pendulum", str(path), *options]) == 0
    return path


def test_collect_fit_and_validate(logs: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden.json"
    hidden.write_text('{"coulomb": [0.2], "input_gain": 0.7}', encoding="utf-8")
    rough = tmp_path / "rough.npz"
    options = ["--logs", "4", "--seconds", "2", "--engine", "ode", "--dt", "0.05"]
    assert run(["collect", "pendulum", str(rough), *options, "--hidden", str(hidden)]) == 0
    model = tmp_path / "model.safetensors"
    fit = ["fit", str(rough), "--system", "pendulum", "--out", str(model), "--hidden", "8"]
    assert run([*fit, "--epochs", "3", "--placement", "input", "--horizons", "1,5"]) == 0
    assert (tmp_path / "model.metrics.jsonl").read_text(encoding="utf-8").count("\n") == 6
    check = ["validate", str(model), "--engine", "ode", "--horizon", "10", "--logs", "2"]
    assert run(check) == 0
    assert run([*check, "--at-most", "1e-12"]) == 1


def test_a_csv_goes_in_and_out(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    options = ["--logs", "1", "--seconds", "1", "--engine", "ode"]
    assert run(["collect", "pendulum", str(path), *options]) == 0
    assert run(["inspect", str(path), "--system", "pendulum"]) == 0


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["nosuch"], "nosuch"),
        (["demo", "nosuch"], "nosuch"),
        (["demo", "--seeds", "0"], "--seeds"),
        (["fit"], "LOGS"),
        (["inspect", "missing.npz"], "missing.npz"),
        (["evaluate", "missing.safetensors", "logs.npz"], "missing.safetensors"),
        (["compare", ".", "."], "run folder"),
        (["report", "."], "demonstration"),
        (["collect", "nosuch", "x.npz"], "nosuch"),
        (["collect", "no.such:Thing", "x.npz"], "no.such:Thing"),
        (["collect", "pendulum", "x.npz", "--dt", "-1"], "--dt"),
        (["collect", "pendulum", "x.txt"], "x.txt"),
        (["collect", "pendulum", "x.npz", "--hidden", "missing.json"], "missing.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    names: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert names in error
    assert not list(tmp_path.iterdir()), "nothing is written on bad input"


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(tmp_path / "missing.npz"), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_bad_input_leaves_other_files_alone(logs: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "m.metrics.jsonl"
    metrics.write_text("precious", encoding="utf-8")
    fit = ["fit", str(logs), "--system", "pendulum", "--out", str(tmp_path / "m.safetensors")]
    assert run([*fit, "--epochs", "0"]) == 2
    assert metrics.read_text(encoding="utf-8") == "precious"


def test_a_corrupt_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not a model")
    assert run(["inspect", str(path)]) == 2
    assert "no hybridmodel checkpoint" in capsys.readouterr().err


def test_a_missing_extra_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import hybridmodel.envs

    def missing(*_: object, **__: object) -> None:
        raise ImportError("OdePlant needs gymnasium: pip install hybridmodel[sim]")

    monkeypatch.setattr(hybridmodel.envs, "make", missing)
    assert run(["collect", "pendulum", str(tmp_path / "x.npz"), "--engine", "ode"]) == 3
    assert "hybridmodel[sim]" in capsys.readouterr().err
