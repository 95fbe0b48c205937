"""Verbs on small files, exit codes, and one-line errors."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from hybridmodel import HybridModel, save
from hybridmodel.cli import run
from hybridmodel.cli.choices import system_named
from hybridmodel.cli.plan import PlannerName
from hybridmodel.data import load_npz
from physics import Pendulum

_LINK = """<link name="link{i}"><inertial><origin xyz="0 0 0.2"/><mass value="1"/>
<inertia ixx="0.02" iyy="0.02" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial></link>
<joint name="joint{i}" type="revolute"><parent link="link{j}"/><child link="link{i}"/>
<origin xyz="0 0 0.3"/><axis xyz="{axis}"/>
<limit lower="-2" upper="2" effort="40" velocity="5"/></joint>"""
_AXES = ("0 0 1", "0 1 0", "0 1 0", "1 0 0")
_LINKS = "".join(_LINK.format(i=i + 1, j=i, axis=axis) for i, axis in enumerate(_AXES))
ARM = f'<robot name="arm"><link name="link0"/>{_LINKS}</robot>'


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
        (["demo", "--seed", "-1"], "--seed"),
        (["collect", "pendulum", "x.npz", "--seed", "-1"], "--seed"),
        (["collect", "acrobot", "x.npz", "--excitation", "motion"], "--excitation"),
        (["collect", "quadrotor", "x.npz", "--amplitude", "0"], "--amplitude"),
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


@pytest.mark.parametrize(
    ("system", "text", "names"),
    [
        ("quadrotor", '{"payload": "heavy"}', "payload must be"),
        ("quadrotor", '{"payload": true}', "payload must be"),
        ("quadrotor", '{"payload_at": 0.1}', "payload_at must be"),
        ("quadrotor", '{"linear_drag": 0.3}', "linear_drag must be"),
        ("quadrotor", '{"tyre_friction": 0.3}', "AerialEffects"),
        ("dynamic-bicycle", '{"tyre_friction": "icy"}', "tyre_friction must be"),
        ("dynamic-bicycle", '{"payload": 1}', "VehicleEffects"),
        ("pendulum", '{"coulomb": "dry"}', "coulomb must be"),
        ("pendulum", '{"wind": [1]}', "wind must be"),
        ("pendulum", '{"payload": 1}', "HiddenEffects"),
        ("pendulum", "[1]", "HiddenEffects"),
        ("{arm}", '{"table": [1]}', "table must be"),
        ("{arm}", '{"payload_link": 7}', "payload_link must be"),
        ("{arm}", '{"ground_effect": 0.1}', "RobotEffects"),
    ],
)
def test_wrong_hidden_effects_name_the_field(
    system: str, text: str, names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden, arm = tmp_path / "hidden.json", tmp_path / "arm.urdf"
    hidden.write_text(text, encoding="utf-8")
    arm.write_text(ARM, encoding="utf-8")
    out = str(tmp_path / "x.npz")
    assert run(["collect", system.format(arm=arm), out, "--hidden", str(hidden)]) == 2
    error = capsys.readouterr().err
    assert "hidden.json" in error
    assert names in error


@pytest.mark.parametrize("kind", ["arm", "quadrotor"])
def test_a_robot_and_a_quadrotor_are_led_inside_their_limits(kind: str, tmp_path: Path) -> None:
    hidden, arm, out = tmp_path / "hidden.json", tmp_path / "arm.urdf", tmp_path / "x.npz"
    hidden.write_text('{"payload": 0.1}', encoding="utf-8")
    arm.write_text(ARM, encoding="utf-8")
    name = str(arm) if kind == "arm" else kind
    options = ["--engine", "ode", "--logs", "2", "--seconds", "3", "--hidden", str(hidden)]
    assert run(["collect", name, str(out), *options]) == 0
    for log in load_npz(out):
        assert log.seconds == pytest.approx(3.0)
        assert np.ptp(log.y[:, 0]) > 0.1, "it moves"
        assert abs(log.y).max() < 10
    assert run(["collect", name, str(out), *options, "--excitation", "steps"]) in (0, 1)


def test_collect_tells_where_no_log_has_its_length(tmp_path: Path) -> None:
    arm, out = tmp_path / "arm.urdf", str(tmp_path / "x.npz")
    arm.write_text(ARM.replace('velocity="5"', 'velocity="0.01"'), encoding="utf-8")
    options = ["--engine", "ode", "--logs", "2", "--seconds", "1", "--excitation", "multisine"]
    assert run(["collect", str(arm), out, *options]) == 1


@pytest.mark.parametrize("name", ["quadrotor", "{arm}"])
def test_tables_of_many_signals_fit_80_columns(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "arm.urdf").write_text(ARM, encoding="utf-8")
    system = system_named(name.format(arm=tmp_path / "arm.urdf"))
    model, log = tmp_path / "m.safetensors", tmp_path / "x.npz"
    save(HybridModel(system, dt=0.04), model)
    collect = ["collect", name.format(arm=tmp_path / "arm.urdf"), str(log), "--engine", "ode"]
    assert run([*collect, "--logs", "1", "--seconds", "3"]) == 0
    assert run(["evaluate", str(model), str(log)]) == 0
    start = ",".join(map(str, system.neutral))
    rate = system.states[-1].name
    plan = ["plan", str(model), "--start", start, "--state", f"{rate}=1", "--horizon", "5"]
    assert run([*plan, "--planner", "cem"]) in (0, 1)
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(signal.name in shown for signal in (*system.inputs, *system.states[-3:]))


def test_plan_by_every_planner_within_rates_and_drawn(tmp_path: Path) -> None:
    model, picture = tmp_path / "m.safetensors", tmp_path / "plan.svg"
    save(HybridModel(Pendulum(), dt=0.05), model)
    plan = ["plan", str(model), "--start", "0.5,0", "--state", "angle=1", "--horizon", "6"]
    plan += ["--input", "torque=0.1", "--input-rate", "torque=4"]
    names = get_args(PlannerName)
    for name in names:
        refused = name == "collocation"  # rates are memory, which has no ODE
        given = [*plan, "--planner", name, "--out", str(tmp_path / f"{name}.npz")]
        assert run(given) == (2 if refused else 0)
    for name in set(names) - {"collocation"}:
        u = np.load(tmp_path / f"{name}.npz")["u"][:, 0]
        assert np.abs(np.diff(u, prepend=0.0)).max() <= 4 * 0.05 + 1e-4
    assert run([*plan, "--balance", "--picture", str(picture)]) == 0
    assert picture.read_text(encoding="utf-8").lstrip().startswith("<?xml")
    assert run([*plan, "--input-rate", "force=1"]) == 2
    assert run([*plan, "--picture", "plan.txt"]) == 2
    assert run([*plan, "--balance", "--terminal", "angle=1"]) == 2


def test_validate_leads_a_robot(tmp_path: Path) -> None:
    (tmp_path / "arm.urdf").write_text(ARM, encoding="utf-8")
    model = tmp_path / "m.safetensors"
    save(HybridModel(system_named(str(tmp_path / "arm.urdf")), dt=0.02), model)
    check = ["validate", str(model), "--engine", "ode", "--logs", "1", "--horizon", "20"]
    assert run([*check, "--seconds", "2", "--at-most", "0.01"]) == 0


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
