"""The command line tells the whole story, and leaves it on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hybridmodel.cli import run
from hybridmodel.demo.record import read_record
from hybridmodel.tasks.cartpole import CARTPOLE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The short cart-pole demonstration, run once by its command."""
    folder = tmp_path_factory.mktemp("runs") / "cartpole"
    assert run(["demo", "cartpole", "--quick", "--out", str(folder)]) == 0, "the hybrid must win"
    return folder


def test_the_summary_holds_what_it_promises(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["wall_seconds"] > 0
    rows = ("physics", "identified", "network", "hybrid")
    for row in rows:
        assert set(summary["prediction"][row]) == {"1", "20", "50"}
        for planner in CARTPOLE.control.planners:
            found = summary["control"][planner][row]
            assert {"cost", "success", "ms_per_plan_median", "ms_per_plan_p99"} <= set(found)
    assert summary["command"] == f"hybridmodel demo cartpole --quick --out {folder}"


def test_the_record_reads_back_what_was_run(folder: Path) -> None:
    record = read_record(folder)
    summary = record.summary["control"]["cem"]["hybrid"]
    assert record.runs["cem", "hybrid"].score.cost == summary["cost"]
    assert record.errors["hybrid"].at(50) == record.summary["prediction"]["hybrid"]["50"]


def test_actions_stayed_inside_their_bounds(folder: Path) -> None:
    record = read_record(folder)
    (force,) = record.task.system.inputs
    for run_ in record.runs.values():
        assert (run_.trajectory.u >= force.low).all()
        assert (run_.trajectory.u <= force.high).all()


def test_the_report_is_one_small_file_that_opens_offline(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert len(page) < 1_000_000
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_the_other_verbs_read_the_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, test = folder / "models" / "hybrid.safetensors", folder / "logs" / "test.npz"
    assert run(["inspect", str(folder)]) == 0
    assert run(["inspect", str(model)]) == 0
    assert run(["inspect", str(test), "--system", "cartpole"]) == 0
    assert run(["evaluate", str(model), str(test)]) == 0
    assert run(["evaluate", str(model), str(test), "--at-most", "1e-9"]) == 1
    assert run(["compare", str(folder), str(folder)]) == 0
    assert run(["report", str(folder)]) == 0
    target = ["--target", "angle=3.14", "--state", "angle=1", "--horizon", "10"]
    assert run(["plan", str(model), "--start", "0,3,0,0", *target]) == 0
    assert run(["doctor"]) == 0
    assert "equal" in capsys.readouterr().out
