"""Every target takes every model that it can, and each file stands without the model."""

from __future__ import annotations

import importlib
import math
import sys
import textwrap
import types
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np
import onnxruntime
import pytest
import torch

from hybridmodel import HybridModel, load
from hybridmodel.export import export
from hybridmodel.export.acados import README, _bounds
from physics import CartPole, Signal, System


@dataclass(frozen=True, kw_only=True)
class Scaled(System):
    """A state whose rate is one given function of it."""

    law: str = "erfinv"
    states: tuple[Signal, ...] = (Signal("level", "", -0.9, 0.9),)
    inputs: tuple[Signal, ...] = (Signal("command", "", 0.2, 0.9),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        laws = {"erfinv": ca.erfinv, "atan": ca.atan, "atan2": lambda v: ca.atan2(v, u)}
        return laws[self.law](x) + u


@dataclass(frozen=True, kw_only=True)
class Driven(System):
    """ẋ is the sum of all inputs."""

    states: tuple[Signal, ...] = (Signal("level"),)
    inputs: tuple[Signal, ...] = (Signal("command"),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.sum1(u)


@dataclass(frozen=True, kw_only=True)
class Solved(System):
    """M ẍ = f through a solver, which has no scalar form."""

    states: tuple[Signal, ...] = (Signal("level"), Signal("other"))
    inputs: tuple[Signal, ...] = (Signal("command"),)

    @property
    def symbols(self):
        return ca.MX

    def dynamics(self, x: ca.MX, u: ca.MX, p: SimpleNamespace, d: ca.MX) -> ca.MX:
        mass = ca.MX.eye(2) + 0.1 * x @ x.T
        return ca.solve(mass, ca.vertcat(x[1], u - x[0]))


@pytest.mark.parametrize("target", ["casadi", "acados", "torch", "onnx"])
def test_the_round_trip_holds(model: HybridModel, target: str, tmp_path: Path) -> None:
    dtype = "float32" if target == "onnx" else "float64"
    done = export(model, tmp_path / "out", target=target, name="plant", dtype=dtype)
    assert done.check.holds, str(done)
    assert {p.name for p in done.files} == {p.name for p in done.directory.iterdir()} - {
        "export.json"
    }
    assert str(done).startswith(f"{tmp_path / 'out'}: ")
    assert "agrees with the model at 8 points" in str(done.check)


def test_casadi_files_are_functions_of_numbers_and_symbols(made, tmp_path: Path) -> None:
    model = made("sensed")
    export(model, tmp_path / "out", target="casadi", name="arm")
    names = {p.name for p in (tmp_path / "out").glob("*.casadi")}
    assert names == {"arm_step.casadi", "arm_ode.casadi", "arm_output.casadi"}
    step = ca.Function.load(str(tmp_path / "out" / "arm_step.casadi"))
    x, u, p, d = [0.3, -0.2], [0.5], model.physical().tolist(), [0.1, 0.2]
    own = model.step_function()(x, u, p, d)
    assert np.array_equal(step(x, u, p, d).full(), own.full())
    symbol = ca.MX.sym("x", 2)
    again = ca.Function("again", [symbol], [ca.jacobian(step(symbol, u, p, d), symbol)])
    assert np.isfinite(again(x).full()).all()


@pytest.mark.parametrize("kind", ["step", "ode", "output"])
def test_a_forgotten_argument_is_nan_in_every_casadi_file(made, kind: str, tmp_path: Path) -> None:
    export(made("sensed"), tmp_path / "out", target="casadi", name="arm")
    function = ca.Function.load(str(tmp_path / "out" / f"arm_{kind}.casadi"))
    assert function.name_in() == ["x", "u", "p", "d"]
    assert function.name_out() == [{"step": "x_next", "ode": "xdot", "output": "y"}[kind]]
    y = function(x=[0.1, 0.2], u=[0.3], d=[0.4, 0.5])[function.name_out()[0]]
    assert np.isnan(y.full()).any()


def test_a_discrete_model_has_no_ode_file(made, tmp_path: Path) -> None:
    for name in ("held", "next_state", "memory", "discrete"):
        export(made(name), tmp_path / name, target="casadi", name="m")
        assert not (tmp_path / name / "m_ode.casadi").exists()


def test_torch_is_the_checkpoint(made, tmp_path: Path) -> None:
    model = made("acceleration")
    done = export(model, tmp_path / "out", target="torch", name="cart")
    assert [p.name for p in done.files] == ["cart.safetensors"]
    assert done.check.tolerance == 0.0
    again = load(tmp_path / "out" / "cart.safetensors")
    assert all(torch.equal(t, again.state_dict()[k]) for k, t in model.state_dict().items())


@pytest.fixture
def acados(monkeypatch):
    """A package acados_template with an AcadosModel that keeps what it is given."""
    stub = types.ModuleType("acados_template")

    class AcadosModel:
        def __init__(self) -> None:
            self.p = []

    vars(stub)["AcadosModel"] = AcadosModel
    monkeypatch.setitem(sys.modules, "acados_template", stub)
    return stub


@pytest.mark.parametrize("name", ["sensed", "acceleration", "physics"])
@pytest.mark.usefixtures("acados")
def test_an_acados_model_has_the_models_ode(made, name: str, tmp_path: Path, monkeypatch) -> None:
    model = made(name)
    export(model, tmp_path / "out", target="acados", name="arm")
    monkeypatch.syspath_prepend(tmp_path / "out")
    monkeypatch.delitem(sys.modules, "arm_model", raising=False)
    module = importlib.import_module("arm_model")
    ours = module.export_model()
    assert ours.name == "arm"
    system = model.system
    f = ca.Function("f", [ours.x, ours.u, ours.p], [ours.f_expl_expr])
    x, u = np.linspace(-0.5, 0.7, system.nx), np.linspace(0.2, 0.4, system.nu)
    p, d = np.array(module.P[: len(model.fit_parameters)]), np.linspace(0.1, 0.3, system.nd)
    assert p.tolist() == model.physical().tolist()
    wanted = model.ode_function()(x, u, p, d).full()
    assert np.array_equal(f(x, u, np.r_[p, d]).full(), wanted)
    implicit = ca.Function("g", [ours.x, ours.xdot, ours.u, ours.p], [ours.f_impl_expr])
    assert np.abs(implicit(x, wanted, u, np.r_[p, d]).full()).max() == 0
    told = vars(module)
    assert told["DT"] == model.dt
    assert told["STATES"] == [s.name for s in system.states]
    assert told["U_LOW"] == [s.low for s in system.inputs]
    assert told["U_HIGH"] == [s.high for s in system.inputs]
    source = (tmp_path / "out" / "arm_model.py").read_text(encoding="utf-8")
    assert "hybridmodel" not in source
    sys.modules.pop("arm_model")


def test_the_acados_recipe_keeps_bounds_on_one_side(tmp_path: Path) -> None:
    signals = (
        ("low", 0.0, math.inf),
        ("high", -math.inf, 3.0),
        ("both", -1.0, 1.0),
        ("free", -math.inf, math.inf),
    )
    system = Driven(inputs=tuple(Signal(n, "N", low, high) for n, low, high in signals))
    recipe, model = README, HybridModel(system, dt=0.1)
    lines = recipe[recipe.index("    bounded = ") : recipe.index("    ocp.constraints.x0")]
    names = {"np": np, "ocp": types.SimpleNamespace(constraints=types.SimpleNamespace())}
    names |= {"U_LOW": [s.low for s in system.inputs], "U_HIGH": [s.high for s in system.inputs]}
    exec(textwrap.dedent(lines), names)
    limits = vars(names["ocp"].constraints)
    assert limits["idxbu"].tolist() == [0, 1, 2]
    assert limits["lbu"].tolist() == [0.0, -1e10, -1.0]
    assert limits["ubu"].tolist() == [1e10, 3.0, 1.0]
    export(model, tmp_path / "out", target="acados", name="m")
    written = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert lines in written
    assert "±1e10, which acados takes for none" in written


def test_bounds_of_numpy_are_written_as_numbers() -> None:
    signals: Any = [types.SimpleNamespace(low=low) for low in np.array([-2.0, -np.inf])]
    assert _bounds(signals, "low") == "[-2.0, -inf]"


@pytest.mark.parametrize("name", ["held", "next_state", "memory", "discrete"])
@pytest.mark.usefixtures("acados")
def test_a_discrete_acados_model_has_the_step(made, name: str, tmp_path: Path, monkeypatch) -> None:
    model = made(name)
    export(model, tmp_path / "out", target="acados", name="arm")
    monkeypatch.syspath_prepend(tmp_path / "out")
    monkeypatch.delitem(sys.modules, "arm_model", raising=False)
    ours = importlib.import_module("arm_model").export_model()
    sys.modules.pop("arm_model")
    step = ca.Function("F", [ours.x, ours.u, ours.p], [ours.disc_dyn_expr])
    x, u = np.linspace(-0.5, 0.7, model.system.nx), np.full(model.system.nu, 0.3)
    p = np.array(model.physical().tolist())
    wanted = model.step_function()(x, u, p, []).full()
    assert np.array_equal(step(x, u, p).full(), wanted)
    assert not hasattr(ours, "f_expl_expr")
    assert '"DISCRETE"' in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["acceleration", "substeps", "one_row", "memory", "sensed"])
def test_onnx_runs_in_float64_over_any_batch(made, name: str, tmp_path: Path) -> None:
    model = made(name)
    done = export(model, tmp_path / "out", target="onnx", name="m")
    assert done.check.holds, str(done)
    session = onnxruntime.InferenceSession(str(done.files[0]), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    assert names == [n for n in "xupd" if n != "d" or model.system.nd]
    generator = torch.Generator().manual_seed(3)
    for batch in (1, 33):
        sizes = (model.system.nx, model.system.nu, model.system.nd)
        x, u, d = (torch.randn(batch, n, generator=generator).double() for n in sizes)
        p = model.physical().detach().expand(batch, -1)
        given = {n: v.numpy() for n, v in zip("xupd", (x, u, p, d), strict=True) if n in names}
        with torch.no_grad():
            gap = session.run(["x_next"], given)[0] - model(x, u, d).numpy()
        assert np.abs(gap).max() <= 1e-12


def test_where_onnxruntime_lacks_a_float64_kernel_the_check_says_so(tmp_path: Path) -> None:
    model = HybridModel(Scaled(law="atan"), dt=0.1)
    check = export(model, tmp_path / "wide", target="onnx").check
    assert check.holds
    assert "run by onnx.reference; onnxruntime does not run it (it has more operations in" in str(
        check
    )
    assert "Atan" in str(check)
    narrow = export(model, tmp_path / "narrow", target="onnx", dtype="float32").check
    assert narrow.holds
    assert "run by onnxruntime" in narrow.how


def test_without_its_extra_onnx_is_refused(made, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install hybridmodel\[onnx\]"):
        export(made("affine"), tmp_path / "out", target="onnx")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    check = export(made("affine"), tmp_path / "out", target="onnx").check
    assert check.holds
    assert "run by onnx.reference; onnxruntime is not installed: pip install" in str(check)


def test_what_has_no_form_is_refused_by_name(tmp_path: Path) -> None:
    for target, law, message in (
        ("onnx", "erfinv", "operation ERFINV in 'derivative' has no form in ONNX; known are"),
        ("onnx", "atan2", "operation ATAN2 in 'derivative' has no form in ONNX; known are"),
        ("c", "erfinv", "operation ERFINV in 'derivative' has no form in C99; known are"),
    ):
        with pytest.raises(ValueError, match=message):
            export(HybridModel(Scaled(law=law), dt=0.1), tmp_path / "out", target=target)
    solved = HybridModel(Solved(), dt=0.1)
    for target in ("c", "onnx"):
        with pytest.raises(ValueError, match=r"'derivative' has no scalar .* target='casadi' does"):
            export(solved, tmp_path / "out", target=target)
    assert export(solved, tmp_path / "out", target="casadi").check.holds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "matlab"}, "target must be one of .*'c', 'casadi', 'onnx'.*got 'matlab'"),
        ({"target": "c", "dtype": "float16"}, "dtype must be one of .*got 'float16'"),
        ({"target": "casadi", "dtype": "float32"}, "'casadi' has its own"),
        ({"target": "c", "name": "my model"}, "name must be an identifier .*got 'my model'"),
        ({"target": "c", "name": "2d"}, "name must be an identifier"),
        ({"target": "c", "name": "math"}, "hides the header <math.h> of C; give another, such as"),
        ({"target": "c", "name": "Stdio"}, "would make Stdio.h, which hides the header <stdio.h>"),
    ],
)
def test_bad_arguments_are_named(made, options, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        export(made("affine"), tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_the_method_and_the_command_line_are_the_same_call(tmp_path: Path, capsys) -> None:
    from hybridmodel import save
    from hybridmodel.cli import run

    model = HybridModel(CartPole(), None, dt=0.1)
    done = model.export(tmp_path / "a", target="casadi")
    save(model, tmp_path / "m.safetensors")
    command = ["export", str(tmp_path / "m.safetensors"), str(tmp_path / "b")]
    assert run([*command, "--target", "casadi"]) == 0
    assert "agrees with the model at 8 points" in capsys.readouterr().out
    for path in done.files:
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()
    assert run([*command, "--target", "nosuch"]) == 2
