"""What a check says is what it saw: nothing agrees by being NaN, nothing differs by it either."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import casadi as ca
import numpy as np
import pytest
import torch
from torch import nn

from hybridmodel import HybridModel, check_agreement
from hybridmodel.cli import run
from hybridmodel.export import export
from hybridmodel.export.c import vectors
from hybridmodel.export.round_trip import evaluate
from hybridmodel.paths import draw, draw_finite
from physics import Parameter, Pendulum, Signal, System
from residuals import MLP

TARGETS = ("c", "casadi", "onnx", "acados", "torch")


@dataclass(frozen=True, kw_only=True)
class Rooted(System):
    """ẋ = u − √(x − threshold), of which nothing says that x must be above the threshold."""

    threshold: float = Parameter(273.15, "K")
    states: tuple[Signal, ...] = (Signal("temperature", "K"),)
    inputs: tuple[Signal, ...] = (Signal("heat", "K/s", -1.0, 1.0),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return u - ca.sqrt(x - p.threshold)


@pytest.mark.parametrize("target", TARGETS)
def test_a_model_that_is_finite_nowhere_is_not_checked(target: str, tmp_path: Path) -> None:
    check = export(HybridModel(Rooted(), dt=0.1), tmp_path / "out", target=target).check
    assert check.finite == 0
    assert check.holds is None
    assert "NOT CHECKED: the model is finite at no point that was drawn; bounds of" in str(check)


@pytest.mark.parametrize("target", TARGETS)
def test_a_model_that_is_finite_at_some_points_is_checked_there(target: str, tmp_path) -> None:
    for threshold, points in ((1.0, 8), (1.9, None)):
        model = HybridModel(Rooted().with_parameters(threshold=threshold), dt=0.01)
        check = export(model, tmp_path / f"{threshold}", target=target).check
        assert check.holds, str(check)
        assert 0 < check.finite < 0.3
        assert "of the points drawn are finite" in str(check)
        assert 1 <= check.points <= 8
        assert points is None or check.points == points


def test_points_are_finite_in_value_and_slopes() -> None:
    model = HybridModel(Rooted().with_parameters(threshold=0.9), dt=0.01)
    points = evaluate(model, "float64")
    assert len(points) == 8
    assert all(np.isfinite(v).all() for v in (points.x_next, points.A, points.B, points.y))
    v, count, share = draw_finite(model, 8)
    assert count == 8
    assert share == pytest.approx(0.18, abs=0.1)  # of a normal deviate above 0.9
    first = draw(model, 8)
    assert torch.equal(v[:1], first[first[:, 0] > 1][:1])
    plain = HybridModel(Pendulum(), dt=0.1)
    assert torch.equal(draw_finite(plain, 5, seed=3)[0], draw(plain, 5, seed=3))


def test_a_point_that_torch_alone_has_no_number_for_is_not_left_out() -> None:
    class Half(HybridModel):
        def forward(self, x, u, d=None, *, p=None):
            return torch.where(x > 0, super().forward(x, u, d, p=p), torch.nan)

    model = Half(Pendulum(), dt=0.1)
    assert torch.equal(draw_finite(model, 8)[0], draw(model, 8))
    assert not check_agreement(model, points=4).holds


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_not_finite_is_refused_by_name(target: str, tmp_path: Path) -> None:
    model = HybridModel(Pendulum(), MLP((4,)), dt=0.1, fit_parameters=("mass",))
    with torch.no_grad():
        model.residual.chain[1].bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"model: its weight 'residual\..*bias' is not finite"):
        export(model, tmp_path / "out", target=target)
    with torch.no_grad():
        model.residual.chain[1].bias[0] = 0.0
        model.theta.fill_(torch.inf)
    with pytest.raises(ValueError, match="model: its parameter 'mass' is not finite"):
        export(model, tmp_path / "out", target=target)
    assert not list(tmp_path.iterdir())


def test_a_buffer_that_holds_nan_is_no_difference_of_a_checkpoint(tmp_path: Path) -> None:
    class Noted(nn.Linear):
        def __init__(self, *sizes: int) -> None:
            super().__init__(*sizes)
            self.register_buffer("unused", torch.tensor([torch.nan, -torch.inf]))

    model = HybridModel(Pendulum(), Noted(4, 1), dt=0.1)
    check = export(model, tmp_path / "out", target="torch").check
    assert check.holds, str(check)


@pytest.mark.parametrize("target", ["casadi", "acados"])
def test_the_derivative_is_compared_with_torch(target: str, tmp_path: Path, monkeypatch) -> None:
    model, own = HybridModel(Pendulum(), dt=0.1), HybridModel.ode_function

    def tampered(self: HybridModel) -> ca.Function:
        f = own(self)
        arguments = [ca.MX.sym(n, f.size1_in(k)) for k, n in enumerate(f.name_in())]
        return ca.Function("ode", arguments, [f(*arguments) + 1e-9], f.name_in(), f.name_out())

    monkeypatch.setattr(HybridModel, "ode_function", tampered)
    check = export(model, tmp_path / "out", target=target).check
    assert check.holds is False
    assert max(check.differences.values()) > 1e-10


def test_a_source_that_does_not_compile_is_a_failed_check(tmp_path: Path, monkeypatch) -> None:
    from hybridmodel import save

    def broken(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "m.c:1: no such thing\n")

    monkeypatch.setattr(vectors.shutil, "which", lambda _: "/usr/bin/cc")
    monkeypatch.setattr(vectors, "_run", broken)
    model = HybridModel(Pendulum(), dt=0.1)
    check = export(model, tmp_path / "out", target="c").check
    assert check.holds is False
    assert "DISAGREES" not in str(check)
    assert "FAILED: /usr/bin/cc does not compile it: m.c:1: no such thing" in str(check)
    save(model, tmp_path / "m.safetensors")
    command = ["export", str(tmp_path / "m.safetensors"), str(tmp_path / "again")]
    assert run([*command, "--target", "c"]) == 1


def test_an_operation_that_onnxruntime_lacks_is_run_by_the_reference(tmp_path: Path) -> None:
    residual = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 1))
    model = HybridModel(Pendulum(), residual, dt=0.1)
    with torch.no_grad():
        model.residual.gate.fill_(1.0)
    check = export(model, tmp_path / "wide", target="onnx").check
    assert check.holds, str(check)
    assert "run by onnx.reference; onnxruntime does not run it" in check.how
    assert "Erf" in check.how
