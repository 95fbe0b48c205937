"""A study from its first cell to its page, by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hybridmodel.cli import BAD_INPUT, OK, run
from hybridmodel.study import Inline, Study, read_study, read_table, run_study, same
from hybridmodel.study.dispatch import alone

GRID = """
systems = ["pendulum"]
effects = ["friction"]
models = ["physics", "oracle"]
planners = ["sqp"]
seeds = [100]
quick = true
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study."""
    home = tmp_path_factory.mktemp("study")
    (home / "study.toml").write_text(GRID)
    assert (
        run(["study", str(home / "study.toml"), "--out", str(home / "run"), "--workers", "1"]) == OK
    )
    return home


def test_it_leaves_a_table_and_a_page(folder: Path) -> None:
    rows = read_table(folder / "run")
    assert [row["model"] for row in rows] == ["physics", "oracle"]
    assert all(row["state"] == "done" for row in rows)
    assert rows[1]["cost"] < rows[0]["cost"]
    assert rows[1]["error, 10 steps"] < rows[0]["error, 10 steps"]
    broken = [abs(row["promised"] / row["paid"] - 1) for row in rows]
    assert broken[1] < 0.02
    assert broken[1] < broken[0]
    page = (folder / "run" / "study.html").read_text()
    assert "hybridmodel study" in page
    assert json.loads((folder / "run" / "study.json").read_text())["versions"]["torch"]


@pytest.mark.slow
def test_cells_are_the_same_in_this_process(folder: Path, tmp_path: Path) -> None:
    rows = run_study(read_study(folder / "study.toml"), tmp_path, engine=Inline, workers=1)
    assert same(rows, read_table(folder / "run"))


def test_it_is_not_begun_twice_by_mistake(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["study", str(folder / "study.toml"), "--out", str(folder / "run")]
    assert run(command) == BAD_INPUT
    assert "--resume" in capsys.readouterr().err
    assert run([*command, "--resume"]) == OK


def test_a_folder_of_other_versions_is_refused(folder: Path, tmp_path: Path) -> None:
    told = json.loads((folder / "run" / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps(told | {"versions": {"torch": "0.1"}}))
    with pytest.raises(ValueError, match="other versions"):
        run_study(read_study(folder / "study.toml"), tmp_path, resume=True)


def test_a_task_that_has_changed_is_refused(folder: Path, tmp_path: Path) -> None:
    told = json.loads((folder / "run" / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps(told | {"settings": {"pendulum": "0"}}))
    with pytest.raises(ValueError, match="pendulum was another one"):
        run_study(read_study(folder / "study.toml"), tmp_path, resume=True)


def test_a_refused_run_changes_nothing(folder: Path) -> None:
    before = {f: f.read_bytes() for f in (folder / "run").rglob("*") if f.is_file()}
    wider = Study(systems=("pendulum",), effects=("friction",), planners=("cem",), quick=True)
    with alone(folder / "run"), pytest.raises(ValueError, match="another run is at work"):
        run_study(wider, folder / "run", resume=True)
    assert before == {f: f.read_bytes() for f in (folder / "run").rglob("*") if f.is_file()}


def test_one_that_was_killed_as_it_began_is_begun_again(tmp_path: Path) -> None:
    asked = Study(systems=("pendulum",), effects=("friction",), quick=True)
    for name in (".lock", ".study.json.0123456789abcdef"):
        (tmp_path / name).touch()

    def engine() -> Inline:
        raise InterruptedError("as soon as it would begin")

    with pytest.raises(InterruptedError):
        run_study(asked, tmp_path, engine=engine)
    assert {row["state"] for row in read_table(tmp_path)} == {"missing"}


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        run_study(Study(systems=("pendulum",), effects=("lag",)), tmp_path)
