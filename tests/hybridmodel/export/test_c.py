"""Exported C compiles without a warning, equals the model, and keeps what its header says."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import casadi as ca
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hybridmodel import HybridModel, save
from hybridmodel import placement as placements
from hybridmodel.checkpoint import describe
from hybridmodel.export import export
from hybridmodel.export.c import vectors
from hybridmodel.export.c.pieces import OPERATIONS
from physics import CartPole, InputDelay, Parameter, Pendulum, Signal, System
from residuals import MLP

COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler on this machine")


def compiled(folder: Path, name: str, *options: str) -> ctypes.CDLL:
    library = folder.parent / f"{name}.so"
    command = [str(COMPILER), "-std=c99", "-shared", "-fPIC", *options, str(folder / f"{name}.c")]
    subprocess.run([*command, "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def pointer(values: np.ndarray) -> ctypes.c_void_p:
    return values.ctypes.data_as(ctypes.c_void_p)


@needs_compiler
def test_it_equals_the_model_without_a_warning(model: HybridModel, tmp_path: Path) -> None:
    check = export(model, tmp_path / "c", target="c").check
    assert check.holds, str(check)
    assert set(check.differences) == {"step", "A", "B", "output", "residual", "monitor"}
    assert "-Wall -Wextra -pedantic" in check.how
    assert "warnings" not in check.how


@needs_compiler
@pytest.mark.parametrize("name", ["acceleration", "substeps", "sensed"])
def test_in_float32_it_equals_the_model_and_has_no_double(made, name: str, tmp_path: Path) -> None:
    done = export(made(name), tmp_path / "c", target="c", dtype="float32", name="m")
    assert done.check.holds, str(done.check)
    text = (tmp_path / "c" / "m.c").read_text(encoding="utf-8")
    assert "double" not in text
    for function in re.findall(r"\b(sin|cos|tanh|exp|log1p|sqrt|fabs)\w*\(", text):
        assert f"{function}(" not in text.replace(f"{function}f(", "")


@needs_compiler
def test_a_step_in_place_and_at_other_points(made, tmp_path: Path) -> None:
    model = made("memory")
    export(model, tmp_path / "c", target="c", name="m")
    library = compiled(tmp_path / "c", "m", "-O3")
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(6, generator=generator, dtype=torch.float64)
    u = torch.randn(1, generator=generator, dtype=torch.float64)
    p = model.physical().detach().numpy().copy()
    ours, empty = x.numpy().copy(), np.zeros(1)
    with torch.no_grad():
        for _ in range(3):
            x = model(x, u)
            pieces = (ours, u.numpy(), p, empty, ours)
            library.m_step(*(pointer(v) for v in pieces))
    np.testing.assert_allclose(ours, x.numpy(), rtol=1e-12, atol=1e-12)


def test_nothing_is_allocated_and_nothing_static_is_written(made, tmp_path: Path) -> None:
    export(made("mixer"), tmp_path / "c", target="c", name="m")
    text = (tmp_path / "c" / "m.c").read_text(encoding="utf-8")
    assert re.findall(r"#include (\S+)", text) == ['"m.h"', "<math.h>"]
    assert not re.search(r"\b(malloc|calloc|realloc|alloca|free|goto)\b", text)
    static = re.findall(r"^static (\w+)", text, flags=re.MULTILINE)
    assert set(static) == {"const", "void"}
    assert not re.findall(r"^[ \t]+static", text, flags=re.MULTILINE)


def frames(folder: Path, name: str, *options: str) -> dict[str, int]:
    """The stack of each public function with the deepest chain of what it calls."""
    command = [
        str(COMPILER),
        "-std=c99",
        *options,
        "-fstack-usage",
        "-c",
        str(folder / f"{name}.c"),
    ]
    subprocess.run([*command, "-o", "m.o"], check=True, cwd=folder.parent)
    [report] = folder.parent.glob("*.su")
    own: dict[str, int] = {}
    for line in report.read_text().splitlines():
        place, size, kind = line.split("\t")
        assert kind in ("static", "dynamic,bounded"), line
        function = place.rpartition(":")[2].partition(".")[0]
        own[function] = max(own.get(function, 0), int(size))
    report.unlink()
    text = (folder / f"{name}.c").read_text(encoding="utf-8")
    called = {
        match[1]: set(re.findall(rf"\b({name}_\w+)\(", match[2]))
        for match in re.finditer(r"void (\w+)\(.*?\)\n\{(.*?)\n\}", text, flags=re.DOTALL)
    }

    def deepest(function: str) -> int:
        below = max((deepest(f) for f in called.get(function, ())), default=0)
        return own.get(function, 0) + below

    return {f: deepest(f) for f in called if f"static void {f}(" not in text}


class Committee(nn.Module):
    """The mean of four networks."""

    def __init__(self, nz: int, nr: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            nn.Sequential(nn.Linear(nz, 6), nn.Tanh(), nn.Linear(6, nr)) for _ in range(4)
        )

    def forward(self, z: Tensor) -> Tensor:
        return torch.stack([member(z) for member in self.members]).mean(0)


@dataclass(frozen=True, kw_only=True)
class Winded(System):
    """A mass on a spring with a stop in known wind, which measures force and bearing."""

    stiffness: float = Parameter(1.5, "N/m", "positive")
    states: tuple[Signal, ...] = (Signal("pos", "m"), Signal("vel", "m/s", rate_of="pos"))
    inputs: tuple[Signal, ...] = (Signal("force", "N", -3.0, 3.0),)
    exogenous: tuple[Signal, ...] = (Signal("wind", "N"),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        stop = ca.if_else(x[0] > 0.5, -((x[0] - 0.5) ** 2), 0)
        pull = u[0] + d[0] - p.stiffness * x[0] - 0.2 * ca.fmax(x[1], 0)
        return ca.vertcat(x[1], pull + stop)


STACKS = {
    "bare, delayed": lambda: HybridModel(InputDelay(system=Winded(), steps=2), dt=0.05),
    "committee": lambda: HybridModel(CartPole(), Committee(6, 2), dt=0.02),
    "committee, input": lambda: HybridModel(
        CartPole(), Committee(6, 1), dt=0.02, placement=placements.input
    ),
}


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("options", [("-O1",), ("-O3", "-march=native")], ids=["O1", "O3"])
@pytest.mark.parametrize("name", STACKS)
def test_no_model_needs_more_stack_than_stated(name: str, options, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        model = STACKS[name]()
    export(model, tmp_path / "c", target="c", name="m")
    header = (tmp_path / "c" / "m.h").read_text(encoding="utf-8")
    measured = frames(tmp_path / "c", "m", *options)
    for short, size in re.findall(r"#define M_(\w+)_STACK (\d+)", header):
        assert measured[f"m_{short.lower()}"] <= int(size), (short, size)


@needs_compiler
@pytest.mark.parametrize("options", [("-O1",), ("-O3", "-march=native")], ids=["O1", "O3"])
def test_the_stack_is_as_stated(made, options: tuple[str, ...], tmp_path: Path) -> None:
    export(made("acceleration"), tmp_path / "c", target="c", name="m")
    header = (tmp_path / "c" / "m.h").read_text(encoding="utf-8")
    stated = dict(re.findall(r"#define M_(\w+)_STACK (\d+)", header))
    measured = frames(tmp_path / "c", "m", *options)
    assert {f"m_{short.lower()}" for short in stated} == measured.keys()
    for short, size in stated.items():
        assert measured[f"m_{short.lower()}"] <= int(size)
    assert int(stated["STEP_JACOBIAN"]) < 1.6 * measured["m_step_jacobian"]


def test_the_flops_of_a_network_are_those_of_its_products(tmp_path: Path) -> None:
    counts = []
    for width in (16, 32):
        model = HybridModel(Pendulum(), MLP((width, width)), dt=0.02)
        export(model, tmp_path / str(width), target="c", name="m")
        header = (tmp_path / str(width) / "m.h").read_text(encoding="utf-8")
        [(flops, calls)] = re.findall(r"monitor +(\d+) +(\d+)", header)
        products = 2 * (4 * width + width * width + width)
        assert products < int(flops) < products + 6 * width + 40
        counts.append(int(calls))
    assert counts[1] - counts[0] == 2 * 16  # one tanh for each unit more


def test_the_header_names_the_model_that_it_was_made_of(made, tmp_path: Path) -> None:
    model = made("sensed")
    save(model, tmp_path / "model.safetensors")
    export(model, tmp_path / "c", target="c", name="arm")
    header = (tmp_path / "c" / "arm.h").read_text(encoding="utf-8")
    digest = describe(tmp_path / "model.safetensors")["sha256"]
    assert f'#define ARM_HASH "{digest}"' in header
    values = re.findall(r"#define ARM_P \{(.*?)\}", header)[0].split(", ")
    assert [float(v) for v in values] == model.physical().tolist()
    sizes = {k: int(v) for k, v in re.findall(r"#define ARM_(N\w) (\d+)", header)}
    assert sizes == {"NX": 2, "NU": 1, "NP": 2, "ND": 2, "NY": 2, "NR": 1, "NZ": 6}


@needs_compiler
def test_the_monitor_is_zero_where_the_data_were_and_one_at_the_limit(tmp_path: Path) -> None:
    model = HybridModel(Pendulum(), MLP((4,), limit=0.5), dt=0.02, features=("rate", "torque"))
    with torch.no_grad():
        model.residual.standardize(
            *(torch.tensor(v).double() for v in ([0.25, -1.0], [2.0, 0.5], [4.0]))
        )
        model.residual.chain[3].bias.fill_(100.0)  # into the limit
    export(model, tmp_path / "c", target="c", name="m")
    library = compiled(tmp_path / "c", "m")
    r, size, support = np.zeros(1), np.zeros(1), np.zeros(1)

    def monitor(rate: float, torque: float) -> tuple[float, float, float]:
        given = (np.array([0.1, rate]), np.array([torque]), np.zeros(1), np.zeros(1))
        library.m_monitor(*(pointer(v) for v in (*given, r, size, support)))
        return float(r[0]), float(size[0]), float(support[0])

    assert monitor(0.25, -1.0) == pytest.approx((0.5, 1.0, 0.0))
    assert monitor(2.25, -1.25) == pytest.approx((0.5, 1.0, 1.0))
    assert monitor(0.25, 1.0)[2] == pytest.approx(4.0)
    assert np.isnan(monitor(np.nan, -1.0)[2])


@dataclass(frozen=True, kw_only=True)
class Everything(System):
    """One state for each operation of CasADi that C has a form for."""

    gain: float = Parameter(0.7)
    inputs: tuple[Signal, ...] = (Signal("u", "", -0.9, 0.9),)

    states: tuple[Signal, ...] = tuple(Signal(f"x{k}", "", 0.1, 0.9) for k in range(53))

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        single = "exp log expm1 log1p sqrt sin cos tan asin acos atan sinh cosh tanh asinh atanh"
        names = [*single.split(), "erf", "fabs", "sign", "floor", "ceil"]
        rows = [getattr(ca, name)(x[k]) for k, name in enumerate(names)]
        a, b, c = x[21], x[22], u[0]
        rows += [ca.acosh(1 + a), -a, 1 / a, a + b, a - b, a * b, a / (2 + c), 2 * a, a * a]
        rows += [a**b, a**3.5, ca.atan2(a, c), ca.hypot(a, c), ca.fmin(a, b), ca.fmax(a, b)]
        rows += [ca.fmod(a, b), ca.remainder(a, b), ca.copysign(a, c), ca.logic_not(a)]
        rows += [a < b, a <= b, ca.eq(a, b), ca.ne(a, b), ca.logic_and(a, b), ca.logic_or(a, b)]
        rows += [ca.if_else(a < b, a, b)]
        rows += [x[k] for k in range(len(rows), 53)]
        return p.gain * ca.vertcat(*rows)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_operation_equals_casadis(dtype: str, tmp_path: Path) -> None:
    model = HybridModel(Everything(), dt=0.01, fit_parameters=("gain",))
    function = model.equations.derivative
    names = {getattr(ca, n): n[3:] for n in dir(ca) if n.startswith("OP_")}
    met = {names[function.instruction_id(k)] for k in range(function.n_instructions())}
    assert set(OPERATIONS) - met <= {"ASSIGN", "LIFT", "TWICE", "CONSTPOW", "POW", "NEG", "INV"}
    done = export(model, tmp_path / "c", target="c", dtype=dtype)
    assert done.check.holds, str(done.check)


def test_what_has_no_form_in_c_is_named(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Odd(System):
        states: tuple[Signal, ...] = (Signal("level"),)
        inputs: tuple[Signal, ...] = (Signal("command"),)

        def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
            return ca.erfinv(x) + u

    with pytest.raises(
        ValueError, match="ERFINV in 'derivative' has no form in C99; known are ACOS"
    ):
        export(HybridModel(Odd(), dt=0.1), tmp_path / "c", target="c")
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_the_check_says_so(made, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(vectors.shutil, "which", lambda _: None)
    check = export(made("affine"), tmp_path / "c", target="c").check
    assert check.holds is None
    assert str(check).startswith("NOT CHECKED: no C compiler found (looked for cc, gcc, clang)")
