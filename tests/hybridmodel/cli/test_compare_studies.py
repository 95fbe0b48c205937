"""Two studies beside each other: what they share is tested, all else is refused or left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hybridmodel.cli import run
from hybridmodel.cli.compare_studies import MARKS, is_study
from hybridmodel.study.running import STUDY
from hybridmodel.study.table import TABLE, write_table

Row = dict[str, Any]
SEEDS = range(8)


def rows(
    cost: Callable[[str, str, int], float],
    *,
    seeds: range = SEEDS,
    models: tuple[str, ...] = ("physics", "hybrid"),
    systems: tuple[str, ...] = ("pendulum", "car"),
) -> list[Row]:
    """cost(system, model, seed) in a grid."""
    return [
        {
            "system": system,
            "effect": "friction",
            "model": model,
            "placement": "own" if model == "hybrid" else "",
            "data": 60.0 if model == "hybrid" else 0.0,
            "planner": "cem",
            "plant": "logged",
            "seed": seed,
            "state": "done",
            "error": "",
            "cost": cost(system, model, seed),
            "ms per plan": 3.0,
        }
        for seed in seeds
        for system in systems
        for model in models
    ]


def plain(system: str, model: str, seed: int) -> float:
    return (1000.0 if system == "car" else 1.0) * (2.0 + 0.01 * seed)


def better_hybrid(system: str, model: str, seed: int) -> float:
    """A tenth less, in both systems, whatever the scale of their costs."""
    return plain(system, model, seed) * (0.9 if model == "hybrid" else 1.0)


@pytest.fixture
def told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Exit code and words of comparing two tables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def compared(first: list[Row], second: list[Row], *options: str) -> tuple[int, str]:
        for name, table in (("a", first), ("b", second)):
            Path(name).mkdir(exist_ok=True)
            write_table(table, Path(name) / TABLE)
        code = run(["compare", "a", "b", *options])
        printed = capsys.readouterr()
        return code, " ".join((printed.out + printed.err).split())

    return compared


def test_a_study_is_told_by_its_files(tmp_path: Path) -> None:
    assert (TABLE, STUDY) == MARKS
    assert not is_study(tmp_path)
    (tmp_path / STUDY).write_text("{}", encoding="utf-8")
    assert is_study(tmp_path)


def test_the_same_table_is_said_to_be_the_same(told: Callable[..., tuple[int, str]]) -> None:
    later = [row | {"ms per plan": 5.0, "seconds to run": 9.0} for row in rows(plain)]
    code, words = told(rows(plain), later)
    assert code == 0
    assert "the same table, times apart" in words
    assert "equal, bit for bit: 4 of 4" in words
    assert "different" not in words


def test_a_model_that_is_better_everywhere_is_found(told: Callable[..., tuple[int, str]]) -> None:
    code, words = told(rows(plain), rows(better_hybrid))
    assert code == 0
    assert "the same table" not in words
    pooled, places = words.split("each place B", 1)[0], words.rsplit("verdict", 1)[1]
    assert "hybrid, 60 s 2 places" in pooled
    assert "-10.0 % < 0.001 different" in pooled
    assert "hybrid, 60 s pendulum, friction, cem 2.035 1.832 -10.0 % 0.008 different" in places
    assert "hybrid, 60 s car, friction, cem 2035 1832 -10.0 % 0.008 different" in places
    assert "physics" not in places
    assert "equal, bit for bit: 2 of 4" in words
    assert "test: paired sign-flip permutation, 8, 16 costs on either side" in words


def test_pooled_costs_do_not_depend_on_their_scale(told: Callable[..., tuple[int, str]]) -> None:
    def opposed(system: str, model: str, seed: int) -> float:
        return plain(system, model, seed) * (1.1 if system == "car" else 0.9)

    _, words = told(rows(plain), rows(opposed), "--row", "hybrid")
    pooled, places = words.split("equal, bit for bit")[0].split("different", 1)[0], words
    assert "not shown to differ" in pooled  # one system's gain is as large as the other's loss
    assert places.count("0.008 different") == 2


def test_one_row_alone(told: Callable[..., tuple[int, str]]) -> None:
    _, words = told(rows(plain), rows(better_hybrid), "--row", "physics")
    assert "hybrid" not in words
    assert "equal, bit for bit: 2 of 2" in words
    code, words = told(rows(plain), rows(plain), "--row", "oracle")
    assert code == 2
    assert "--row is one of ['physics', 'hybrid']" in words


def test_only_what_both_have_run_is_compared(told: Callable[..., tuple[int, str]]) -> None:
    first = rows(plain, systems=("pendulum",))
    first[0] |= {"state": "failed"}
    first[3]["cost"] = float("inf")
    second = rows(better_hybrid, seeds=range(20), models=("physics", "hybrid", "network"))
    code, words = told(first, second)
    assert code == 0
    assert "network" not in words
    assert "car" not in words
    assert "permutation, 7 costs" in words
    assert "left out: 1 cells" in words
    code, words = told(rows(plain, systems=("car",)), rows(plain, systems=("pendulum",)))
    assert code == 2
    assert "share no cell" in words


def test_other_seeds_are_compared_without_pairs(told: Callable[..., tuple[int, str]]) -> None:
    _, words = told(rows(plain), rows(better_hybrid, seeds=range(100, 108)))
    assert "Mann–Whitney U" in words


def test_few_seeds_tell_nothing_of_one_place(told: Callable[..., tuple[int, str]]) -> None:
    few = {"seeds": range(3)}
    _, words = told(rows(plain, **few), rows(better_hybrid, **few))
    assert words.count("too few seeds to tell") == 2
    assert "-10.0 % 0.031 different" in words  # six pairs of two places


def test_a_study_against_anything_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, run_folder, begun = (tmp_path / name for name in ("study", "run", "begun"))
    for folder in (study, run_folder, begun):
        folder.mkdir()
    write_table(rows(plain), study / TABLE)
    (run_folder / "summary.json").write_text("{}", encoding="utf-8")
    (begun / STUDY).write_text("{}", encoding="utf-8")
    for pair in ((study, run_folder), (run_folder, study)):
        assert run(["compare", *map(str, pair)]) == 2
        words = " ".join(capsys.readouterr().err.split())
        assert f"{study} holds a study and {run_folder} does not" in words
    assert run(["compare", str(study), str(begun)]) == 2
    assert "holds no table" in capsys.readouterr().err


def test_what_only_one_of_them_has_is_told(told: Callable[..., tuple[int, str]]) -> None:
    lost = [*rows(plain)[:-1], rows(plain)[-1] | {"state": "failed"}]
    _, words = told(rows(plain), lost)
    assert "only in A: 1 cell, as hybrid, 60 s, car, friction, cem, seed 7" in words
    assert "only in B" not in words
    _, words = told(rows(plain), lost, "--row", "physics")
    assert "only in" not in words


def test_planners_of_one_fit_are_no_more_evidence(told: Callable[..., tuple[int, str]]) -> None:
    def twice(cost: Callable[[str, str, int], float]) -> list[Row]:
        once = rows(cost, systems=("car",))
        return [*once, *(row | {"planner": "sqp"} for row in once)]

    _, words = told(twice(plain), twice(better_hybrid))
    assert "hybrid, 60 s 2 places" in words.split("each place B", 1)[0]
    assert "test: paired sign-flip permutation, 8 costs on either side" in words
