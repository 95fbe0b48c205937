"""The verbs that check a model and a system, with their exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from hybridmodel import HybridModel, save
from hybridmodel.cli import run
from physics import Pendulum
from residuals import MLP

TANK = """
from dataclasses import dataclass
import casadi as ca
from physics import Parameter, Signal, System


@dataclass(frozen=True, kw_only=True)
class CheckedTank(System):
    outlet: float = Parameter(0.5, "m²", "positive")
    states: tuple = (Signal("level", "m", {low}),)
    inputs: tuple = (Signal("inflow", "m/s", 0.0, 2.0),)

    def dynamics(self, x, u, p, d):
        return u - {outlet} * ca.sqrt(x)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write(path: Path, *, low: float = 0.1, outlet: str = "p.outlet") -> None:
    path.write_text(TANK.format(low=low, outlet=outlet), encoding="utf-8")


def test_a_model_is_checked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "pendulum.safetensors"
    save(HybridModel(Pendulum(), MLP((4,)), dt=0.05), path)
    assert run(["check-agreement", str(path), "--points", "3"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("torch and CasADi agree at 3 points: value ")
    assert "step, torch.func" in told


def test_a_model_of_a_foreign_system_is_checked(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here / "tank_to_check.py")
    write(here / "tank_below_zero.py", low=-1e3)
    import tank_below_zero  # type: ignore[import-not-found]
    import tank_to_check  # type: ignore[import-not-found]

    for module, code in ((tank_to_check, 0), (tank_below_zero, 1)):
        path, name = here / "tank.safetensors", module.__name__
        save(HybridModel(module.CheckedTank(), dt=0.05), path)
        assert run(["check-agreement", str(path), "--system", f"{name}:CheckedTank"]) == code
    assert "CANNOT BE COMPARED" in capsys.readouterr().out
    assert run(["check-agreement", str(path)]) == 2
    assert "CheckedTank" in capsys.readouterr().err


NETWORK = """
import torch
from torch import nn


class OwnNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, z):
        return torch.tanh(self.layer(z))


def seven():
    return 7
"""


def test_a_model_with_a_residual_of_ones_own_is_checked_and_exported(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "own_network.py").write_text(NETWORK, encoding="utf-8")
    import own_network  # type: ignore[import-not-found]

    path = str(here / "m.safetensors")
    save(HybridModel(Pendulum(), own_network.OwnNetwork(), dt=0.05), path)
    own = ["--residual", "own_network:OwnNetwork"]
    assert run(["check-agreement", path, "--points", "2", *own]) == 0
    assert run(["export", path, str(here / "out"), "--target", "torch", *own]) == 0
    capsys.readouterr()
    for options, told in (
        ([], "on the command line --residual MODULE:FACTORY"),
        (["--residual", "own_network:seven"], "makes a int, wanted a torch.nn.Module"),
        (["--residual", "own_network:eight"], "has no attribute 'eight'; wanted a class or"),
        (["--residual", "own_network.py"], "--residual wants MODULE:CLASS or MODULE:FACTORY"),
    ):
        assert run(["check-agreement", path, *options]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("name", [":good", "./mysys.py:good", "mysys:", "my-sys:good"])
def test_what_names_no_factory_is_told_what_was_wanted(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = here / "m.safetensors"
    save(HybridModel(Pendulum(), dt=0.05), checkpoint)
    for command, option in (
        (["check-system", name], "argument system"),
        (["evaluate", str(checkpoint), "x.npz", "--system", name], "--system"),
    ):
        assert run(command) == 2
        told = capsys.readouterr().err
        assert f"{option} wants MODULE:CLASS or MODULE:FACTORY, a module as in `import`" in told
        assert f"no path and no .py) and a name in it; got {name!r}" in told


def test_bad_models_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check-agreement", "missing.safetensors"]) == 2
    assert "missing.safetensors" in capsys.readouterr().err
    path = here / "single.safetensors"
    save(HybridModel(Pendulum(), dt=0.05).to(torch.float32), path)
    assert run(["check-agreement", str(path)]) == 2
    assert "float64" in capsys.readouterr().err
    save(HybridModel(Pendulum(), dt=0.05), path)
    assert run(["check-agreement", str(path), "--points", "0"]) == 2
    assert "points" in capsys.readouterr().err


def test_a_system_is_checked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check-system", "cartpole", "--points", "2"]) == 0
    assert capsys.readouterr().out.startswith("CartPole: all laws hold")
    write(here / "tank_with_a_slip.py", outlet="self.outlet")
    assert run(["check-system", "tank_with_a_slip:CheckedTank"]) == 1
    told = capsys.readouterr().out
    assert re.match(r"CheckedTank: 1 of \d+ laws FAIL", told)
    assert "outlet: no effect on dynamics or output" in told
    assert run(["check-system", "nosuch"]) == 2
    assert "nosuch" in capsys.readouterr().err
