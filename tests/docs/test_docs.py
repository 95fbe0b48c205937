"""The pages' code runs, block after block, and the files they name are there."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import HybridModel, physics, placement

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
CHOICES = [p for p in PAGES if p.parent.name in ("placements", "residuals")]


def _name(page: Path) -> str:
    return str(page.relative_to(DOCS).with_suffix(""))


def cart() -> tuple[ca.SX, ca.SX, ca.SX, ca.SX]:
    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("p")
    return x, u, p, ca.vertcat(x[1], u / p)


def of_dompc() -> SimpleNamespace:
    """What a do-mpc model is after `setup()`, as far as the page reads it."""
    x, u, p, xdot = cart()
    none = [ca.SX.sym(name, 0, 0) for name in ("z", "tvp", "w")]
    rhs = ca.Function("rhs_fun", [x, u, none[0], none[1], p, none[2]], [xdot],
                      ["_x", "_u", "_z", "_tvp", "_p", "_w"], ["_rhs"])  # fmt: skip
    return SimpleNamespace(
        _rhs_fun=rhs,
        x=SimpleNamespace(labels=lambda: ["[s,0]", "[v,0]"]),
        u=SimpleNamespace(labels=lambda: ["[force,0]"]),
    )


def of_acados() -> SimpleNamespace:
    """An AcadosModel, as far as the page reads it."""
    x, u, p, xdot = cart()
    return SimpleNamespace(name="cart", x=x, u=u, p=p, f_expl_expr=xdot)


def run(page: str, known: dict, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The names of a page after its blocks have run in a folder."""
    monkeypatch.chdir(folder)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    scope = vars(module)
    scope |= known
    text = (DOCS / page).read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(block, page, "exec"), scope)
    return scope


def test_robots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = run("robots.md", {}, tmp_path, monkeypatch)
    model, log = scope["model"], scope["log"]
    start, u = torch.zeros(14, dtype=torch.float64), torch.zeros(20, 7, dtype=torch.float64)
    assert torch.isfinite(model.rollout(start + 0.1, u)).all()
    assert log.steps == 50


def test_learning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = run("learning.md", {}, tmp_path, monkeypatch)
    assert scope["about"].unidentifiable
    assert scope["result"].validation < scope["result"].physics
    assert scope["own"].parameter_values() != {"mass": 1.0}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = run("studies.md", {}, tmp_path, monkeypatch)
    assert [row["state"] for row in scope["table"]] == 4 * ["done"]
    measured = {
        r["model"]: r["error, 10 steps"] for r in scope["table"] if r["plant"] == "measured"
    }
    assert measured["oracle"] < measured["physics"]


def test_planning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = run("planning.md", {}, tmp_path, monkeypatch)
    assert scope["policy"].links["plan"] == 20
    assert np.cos(scope["log"].x[-1, 0]) < -0.99
    assert (tmp_path / "plans.png").exists()
    assert (tmp_path / "plan.webp").exists()


@pytest.mark.slow
def test_reinforcement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = run("reinforcement.md", {}, tmp_path, monkeypatch)
    assert scope["found"].history[-1]["steps"] == 200
    assert (tmp_path / "runs" / "loop" / "episode_001.json").exists()
    assert scope["taught"].history[-1]["imagined"] > 160
    assert scope["observation"].shape == (3,)


def test_corrected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = run("corrected.md", {}, tmp_path, monkeypatch)
    nominal, corrected = (
        scope["error"](scope[name], scope["unseen"]) for name in ("nominal", "corrected")
    )
    assert (corrected < nominal / 3).all()
    assert scope["agent"].num_timesteps == 200
    assert scope["observations"].shape == (4096, 3)
    assert scope["told"][0].d.shape == (50, 1)


def test_bring_your_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"dompc_model": of_dompc(), "acados_model": of_acados()}
    scope = run("bring_your_model.md", known, tmp_path, monkeypatch)
    assert isinstance(scope["system"], physics.System)
    tank = scope["tank"]
    assert tank.parameters == {"area": 2.0}
    fill = HybridModel(tank, dt=0.1, fit_parameters=("area",)).ode_function()
    assert float(fill(1, 1, 2, [])) == 0.25
    assert float(fill(1, 1, 4, [])) == 0.125
    assert (tmp_path / "out_c" / "export.json").exists()
    if shutil.which("cc"):
        assert scope["exported"].check.holds


@pytest.mark.parametrize("page", [DOCS / "choosing.md", *CHOICES], ids=_name)
def test_choosing(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = run(str(page.relative_to(DOCS)), {}, tmp_path, monkeypatch)
    assert isinstance(scope["model"], HybridModel)


def test_every_placement_and_family_has_a_page() -> None:
    known = {p.relative_to(DOCS).with_suffix("").as_posix() for p in CHOICES}
    assert {f"placements/{each.name}" for each in placement.ALL} <= known
    index = (DOCS / "choosing.md").read_text(encoding="utf-8")
    assert [page for page in sorted(known) if f"({page}.md)" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_the_files_it_names_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^):#]+)[)#]", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
