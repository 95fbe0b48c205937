"""The page of a study: what it says is what its table says, however little that is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hybridmodel.data import Dataset, Trajectory, save_npz
from hybridmodel.report import write_matrix, write_study
from hybridmodel.report.study import page, verdict
from hybridmodel.report.study_drawing import shown
from hybridmodel.report.study_effects import attribution
from hybridmodel.report.study_errors import rank_correlation
from hybridmodel.report.study_findings import middle, read_findings
from hybridmodel.report.study_matrix import FACES, bands, face_of
from hybridmodel.report.study_tables import failures, measured, name_of, transfer
from hybridmodel.report.study_worst import worst_cells
from hybridmodel.study.measures import recovered
from hybridmodel.study.table import TABLE, write_table

Row = dict[str, Any]
SYSTEMS = ("pendulum", "cartpole", "double-pendulum", "quadrotor", "car", "kuka")
EFFECTS = ("parameters", "friction", "actuator", "lag", "all")
FITTED = {"identified": (60.0,), "network": (15.0, 30.0, 60.0), "hybrid": (15.0, 30.0, 60.0)}
SECTIONS = (
    *("verdict", "matrix", "learning", "pareto", "effects", "prediction", "promises"),
    *("transfer", "worst", "failed", "settings"),
)
STEPS = (1, 10, 50)


def table(
    *,
    systems: Sequence[str] = SYSTEMS,
    effects: Sequence[str] = EFFECTS,
    models: Sequence[str] = ("physics", "identified", "network", "hybrid", "oracle"),
    planners: Sequence[str] = ("cem", "sqp"),
    plants: Sequence[str] = ("logged",),
    seeds: Sequence[int] = (0, 1, 2),
    gap: float | None = None,
) -> list[Row]:
    """A study as it might come out: hybrids recover most, memories little, a few loops fail."""
    random = np.random.default_rng(0)
    rows = []
    for system in systems:
        scale, easy = 10 ** random.uniform(0, 2.5), random.uniform(0.8, 1.1)
        slow = 10 ** random.uniform(0.7, 1.8)
        for effect in effects:
            size = random.choice([0.03, 0.3, 0.8, 2.5, 6.0], p=[0.1, 0.25, 0.3, 0.25, 0.1])
            if (system, effect) == (systems[-1], effects[0]):
                size = -0.2  # the oracle is worse
            size = size if gap is None else gap
            known = {"parameters": 0.95, "friction": 0.3, "actuator": 0.25, "lag": 0.05, "all": 0.5}
            for planner in planners:
                for model in models:
                    for data in FITTED.get(model, (0.0,)):
                        reached = {
                            "physics": 0.0,
                            "oracle": 1.0,
                            "identified": known[effect],
                            "network": 0.75 - 1.6 * (15 / max(data, 1)) ** 0.7 * random.random(),
                            "hybrid": easy * (0.4 if effect == "lag" else 0.95)
                            - 0.25 * 15 / max(data, 1),
                        }[model]
                        error = 0.02 * (1.1 - min(reached, 1.05))
                        for plant in plants:
                            away = 0.7 if plant != "logged" and model in FITTED else 1.0
                            for s in seeds:
                                share = away * reached + 0.06 * random.standard_normal()
                                cost = scale * (1 + size * (1 - share))
                                rows.append(
                                    row(system, effect, model, data, planner, plant, s, cost)
                                    | {f"error, {k} steps": error * k**0.7 for k in STEPS}
                                    | {
                                        "promised": cost / (1 + 2 * abs(1 - share)),
                                        "ms per plan": slow * (1.5 if planner == "sqp" else 1.0),
                                    }
                                )
    for i in range(7, len(rows), max(20, len(rows) // 8)):
        kept = {k: v for k, v in rows[i].items() if k in AXES}
        rows[i] = kept | {"state": "failed", "error": "RuntimeError: the plan is no number"}
    return rows


AXES = ("system", "effect", "model", "placement", "data", "planner", "plant", "seed")


def row(
    system: str,
    effect: str,
    model: str,
    data: float,
    planner: str,
    plant: str,
    seed: int,
    cost: float,
) -> Row:
    placement = "own" if model == "hybrid" else ""
    axes = (system, effect, model, placement, data, planner, plant, seed)
    return dict(zip(AXES, axes, strict=True)) | {
        "state": "done",
        "error": "",
        "cost": cost,
        "success": cost < 100,
        "paid": cost,
    }


def loop(decay: float) -> Trajectory:
    """A swing that dies away."""
    t = np.arange(201) * 0.02
    x = np.stack([np.pi * np.exp(-decay * t) * np.cos(3 * t), np.sin(3 * t) * np.exp(-t)], axis=1)
    return Trajectory(t=t, u=np.zeros((200, 1)), y=x, x=x)


def folder_of(path: Path, rows: Sequence[Row], **told: object) -> Path:
    path.mkdir(exist_ok=True)
    write_table(rows, path / TABLE)
    if told:
        (path / "study.json").write_text(json.dumps(told), encoding="utf-8")
    return path


def with_loops(folder: Path, rows: Sequence[Row]) -> None:
    for r in rows:
        home = folder / name_of(r)
        home.mkdir(parents=True, exist_ok=True)
        decay = {"oracle": 2.0, "physics": 0.2}.get(r["model"], 0.5)
        save_npz(Dataset([loop(decay)]), home / "loop.npz")


class Page(HTMLParser):
    """Reads a page and holds it to what a page must keep: all tags closed, nothing from outside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sections: list[str] = []
        self.words: list[str] = []
        self.pictures = 0
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)
        if tag in ("section", "header"):
            self.sections.append(given["id"] or "")
        self.pictures += tag == "svg"
        assert not any(given.get(name, "").startswith("http") for name in ("src", "href"))
        assert tag not in ("script", "link")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def small(**changes: Any) -> list[Row]:
    return table(
        **{"systems": ("pendulum", "car"), "effects": ("friction", "lag"), "gap": 0.8} | changes
    )


def test_a_page_says_what_its_table_says(tmp_path: Path) -> None:
    told = {"command": "hybridmodel study mine.toml", "machine": "m", "versions": {"torch": "2.10"}}
    rows = small()
    folder = folder_of(tmp_path, rows, **told, seconds=660.0, quick=True)
    text = write_study(folder).read_text(encoding="utf-8")
    there = Page(text)
    assert tuple(there.sections) == SECTIONS
    assert there.pictures >= 6
    kind = ("hybrid", "own", 60.0)
    medians = [r.median for r in recovered(rows) if r.kind == kind]
    assert f"with 60 s of data recovers {shown(float(np.median(medians)))} of" in there.text
    failed = sum(row["state"] == "failed" for row in rows)
    assert f"{failed} of {len(rows)} cells failed" in there.text
    assert "hybridmodel study mine.toml --resume" in there.text
    assert "11 min" in there.text
    assert "quick study" in there.text
    assert "torch 2.10" in there.text


def test_a_study_without_a_memory_is_said_to_be_one(tmp_path: Path) -> None:
    said = "none of the effects has a memory"
    for number, (effects, there) in enumerate((([], True), (["lag"], False))):
        folder = folder_of(tmp_path / str(number), tiny(), **{"effects with memory": effects})
        assert (said in Page(page(read_findings(folder))).text) is there


def test_a_failed_cell_is_no_win(tmp_path: Path) -> None:
    rows = [row for row in tiny() if row["state"] == "done"]
    for each in rows:
        if each["model"] == "hybrid":
            each.update(state="failed", error="no plan")
            del each["cost"]
    there = Page(page(read_findings(folder_of(tmp_path, rows))))
    assert "recovers −∞ of the gap" in there.text
    assert "hybrid beats network in 0 % of places (0 of 1" in there.text


def test_coverage_stands_beside_errors_where_there_is_some(tmp_path: Path) -> None:
    rows = tiny()
    plain = Page(page(read_findings(folder_of(tmp_path / "a", rows))))
    assert "inside its" not in plain.text
    sure = [r | ({"covered": 0.875} if r["model"] == "hybrid" else {}) for r in rows]
    there = Page(page(read_findings(folder_of(tmp_path / "b", sure))))
    assert "inside its" in there.text
    assert "88 %" in there.text


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (folder_of(tmp_path / name, tiny()) for name in "ab")
    assert write_study(first).read_bytes() == write_study(second).read_bytes()


def tiny(**changes: Any) -> list[Row]:
    alone = {"systems": ("car",), "effects": ("friction",), "planners": ("cem",), "gap": 0.8}
    return table(**alone | changes)


def no_gap() -> list[Row]:
    return [row | {"cost": 5.0} for row in tiny() if row["state"] == "done"]


PARTS: dict[str, tuple[list[Row], str]] = {
    "empty": ([], "the table is empty"),
    "no gap": (no_gap(), "no place has a gap"),
    "one seed": (tiny(seeds=(4,)), "cells failed"),
    "no oracle": (tiny(models=("physics", "hybrid")), "one of the two is missing: 1"),
    "ends alone": (tiny(models=("physics", "oracle")), "Nothing was compared"),
    "hybrid alone": (tiny(models=("hybrid",)), "cannot be judged"),
    "one model": (tiny(models=("physics", "hybrid", "oracle")), "there is nothing to rank"),
    "failed alone": (
        [{k: r[k] for k in AXES} | {"state": "failed", "error": "<b>no</b>"} for r in tiny()],
        "<b>no</b>",
    ),
    "missing alone": (
        [{k: r[k] for k in AXES} | {"state": "missing", "error": ""} for r in tiny()],
        "have not run yet",
    ),
    "no numbers": ([r | {"cost": float("nan")} for r in no_gap()], "no place has a gap"),
    "costs alone": (
        [{k: v for k, v in r.items() if k in (*AXES, "state", "cost")} for r in tiny()],
        "No open-loop errors",
    ),
    "run away": (
        [r | ({"cost": float("inf")} if r["model"] == "network" else {}) for r in tiny()],
        "hybrid beats network in 100 %",
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_table_is_said_to_be_one(tmp_path: Path, name: str) -> None:
    rows, words = PARTS[name]
    there = Page(page(read_findings(folder_of(tmp_path, rows))))
    assert tuple(there.sections) == SECTIONS
    assert words in there.text
    assert "nan" not in there.text.split()


def test_the_verdict_holds_where_the_hybrid_recovers_enough(tmp_path: Path) -> None:
    for reached, good in ((0.79, False), (0.81, True)):
        rows = []
        for model, share in (
            ("physics", 0.0),
            ("network", 0.5),
            ("hybrid", reached),
            ("oracle", 1.0),
        ):
            data = 60.0 if model in FITTED else 0.0
            rows += [
                row("car", "lag", model, data, "cem", "logged", seed, 10.0 - 5.0 * share)
                for seed in range(3)
            ]
        first, places, beats, failed = verdict(read_findings(folder_of(tmp_path, rows)))
        assert first.holds is good
        assert "with a gap: 1 of 1;" in places.text
        assert beats.holds
        assert "100 % of places (1 of 1" in beats.text
        assert failed.holds


def test_the_heat_map_is_a_picture_of_its_own(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, small())
    first = write_matrix(folder, tmp_path / "one.png").read_bytes()
    assert write_matrix(folder, tmp_path / "two.png").read_bytes() == first
    with Image.open(tmp_path / "one.png") as image:
        assert image.width == 1600
        colours = {c for _, c in image.convert("RGB").getcolors(1 << 24) or ()}
        for face in FACES:  # all of them are in its legend
            wanted = [int(face[i : i + 2], 16) for i in (1, 3, 5)]
            assert min(np.abs(np.subtract(c, wanted)).max() for c in colours) <= 6
    with pytest.raises(ValueError, match="no closed loop of a model"):
        write_matrix(folder_of(tmp_path, small(models=("physics",))), tmp_path / "three.png")


def test_colours_go_from_bad_to_good_with_what_is_shown() -> None:
    order = [face_of(f)[0] for f in (-2.0, -0.7, -0.1, 0.1, 0.5, 0.9)]
    assert tuple(order) == FACES
    assert face_of(0.796) == face_of(0.8)  # both read 0.80
    assert face_of(0.794) != face_of(0.8)
    assert face_of(-np.inf) == face_of(-2.0)


def test_planners_stand_below_each_other_where_there_are_many_models(tmp_path: Path) -> None:
    rows = tiny(planners=("cem", "sqp", "mppi"))
    assert bands(read_findings(folder_of(tmp_path, rows))) == [["cem", "sqp", "mppi"]]
    hybrids = [row for row in rows if row["model"] == "hybrid"]
    more = [row | {"placement": name} for row in hybrids for name in ("force", "input", "output")]
    assert bands(read_findings(folder_of(tmp_path, [*rows, *more]))) == [["cem", "sqp"], ["mppi"]]


def test_the_worst_cells_are_the_lowest_fractions(tmp_path: Path) -> None:
    rows = tiny()
    folder = folder_of(tmp_path, rows)
    found = read_findings(folder)
    kinds = [kind[0] for kind in found.compared]
    assert kinds == ["identified", "network", "hybrid"]
    lowest = sorted(f for r in recovered(rows) if r.kind[2] == 60 for f in r.fractions.values())
    told = [dict(each.numbers)["recovered"] for each in worst_cells(found, count=4)]
    assert told == [shown(f) for f in lowest[:4]]
    assert all("hybrid" in each.title for each in worst_cells(found, "hybrid", 3))
    assert not any(each.picture.image for each in worst_cells(found, count=2))
    with_loops(folder, [row for row in rows if row["seed"] == 0 and row["data"] in (0, 60)])
    drawn = [each for each in worst_cells(found, count=4) if "seed 0" in each.title]
    assert drawn
    assert all(each.picture.image.startswith("<svg") for each in drawn)
    assert all({k for k, _ in each.picture.key} >= {"physics", "oracle"} for each in drawn)
    damaged = next(folder.glob("cells/**/loop.npz"))
    damaged.write_bytes(b"no archive")
    worst_cells(found, count=4)


def test_other_plants_have_a_table_of_their_own(tmp_path: Path) -> None:
    rows = small(plants=("mujoco", "logged"), models=("physics", "hybrid", "oracle"))
    found = read_findings(folder_of(tmp_path, rows))
    assert found.plant == "logged"
    assert [row.name for row in transfer(found)] == ["logged", "mujoco"]
    at_home, away = (float(row.numbers[1][0]) for row in transfer(found))
    assert at_home > away
    alone = [row for row in rows if row["plant"] == "logged"]
    rest = read_findings(folder_of(tmp_path, alone))
    assert not transfer(rest)
    assert [r.text for r in verdict(found)[:-1]] == [r.text for r in verdict(rest)[:-1]]


def test_real_logs_and_known_parts_are_told_apart_from_loops(tmp_path: Path) -> None:
    rows = [row for row in tiny(seeds=(0, 1)) if row["state"] == "done"]
    real = [
        row("car", "lag", model, data, "", "measured", 0, 0.0) | {"error, 10 steps": error}
        for model, data, error in (("physics", 0.0, 0.5), ("hybrid", 60.0, 0.125))
    ]
    for each in real:
        del each["cost"]
    parts = [
        row("car", "friction", f"true {part}", 0.0, r["planner"], "logged", r["seed"], r["cost"])
        for part, as_good in (("dead_zone", "identified"), ("coulomb", "oracle"))
        for r in rows
        if (r["system"], r["effect"], r["model"]) == ("car", "friction", as_good)
    ]
    found = read_findings(folder_of(tmp_path, [*rows, *real, *parts]))
    plain = read_findings(folder_of(tmp_path, rows))
    assert [r.text for r in verdict(found)[:2]] == [r.text for r in verdict(plain)[:2]]
    assert found.kinds == plain.kinds
    ((system, lines),) = measured(found, [10])
    assert system == "car"
    assert [(line.name, line.numbers[0][0]) for line in lines] == [
        ("physics", "50"),
        ("hybrid", "12.5"),
    ]
    ((_, effect, regained),) = attribution(found)
    assert effect == "friction"
    assert [name for name, _ in regained] == ["coulomb", "dead zone"]
    assert regained[0][1] == pytest.approx(1.0)
    assert "dead zone" in Page(page(found)).text


def test_failures_are_told_by_what_went_wrong(tmp_path: Path) -> None:
    rows = small(seeds=(0,))
    for i, each in enumerate(rows[:5]):
        each.update(state="failed", error="rare" if i == 0 else "frequent")
    found = dict(failures(read_findings(folder_of(tmp_path, rows))))
    assert next(iter(found)) == "frequent"
    assert len(found["frequent"]) == 4
    assert found["rare"] == [name_of(rows[0])]
    assert name_of(rows[0]) == "cells/pendulum/friction/seed 0/physics/cem, logged"


def test_medians_and_rank_correlations_keep_their_laws() -> None:
    values = np.random.default_rng(0).standard_normal(31)
    median, low, high = middle(values.tolist())
    assert low <= median <= high
    assert median == np.median(values)
    np.testing.assert_allclose(
        middle((3 * values + 1).tolist()), 3 * np.array([median, low, high]) + 1
    )
    assert middle([2.0, 2.0]) == (2.0, 2.0, 2.0)
    assert middle([-np.inf, 1.0, 1.0])[0] == 1.0
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
    assert rank_correlation(values, -(values**3)) == pytest.approx(-1)
    assert rank_correlation(values, np.ones_like(values)) == 0
    assert rank_correlation(np.array([1.0, 1.0, 2.0]), np.array([0.0, 0.0, 5.0])) == 1


def test_a_folder_that_holds_no_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)):
        write_study(tmp_path)
    folder_of(tmp_path, small(seeds=(0,)))
    (tmp_path / "study.json").write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match=r"study\.json is no JSON"):
        write_study(tmp_path)
    (tmp_path / "study.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="must hold an object"):
        write_study(tmp_path)
