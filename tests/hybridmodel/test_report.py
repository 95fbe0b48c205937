"""The report of a demonstration: one file that says what the record says."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hybridmodel import placement
from hybridmodel.baselines import ROWS, physics_row
from hybridmodel.collection import collect
from hybridmodel.data import Dataset, Trajectory
from hybridmodel.demo.pipeline import Outcome, Run
from hybridmodel.demo.record import Record, read_record, summarize, write_record
from hybridmodel.envs import HiddenEffects, OdePlant
from hybridmodel.evaluation import evaluate
from hybridmodel.fitting import FitResult
from hybridmodel.model import HybridModel
from hybridmodel.planners import Plan, Status
from hybridmodel.report import effects, errors, motion, page, write_picture, write_report
from hybridmodel.report.drawing import spread
from hybridmodel.tasks.pendulum import PENDULUM
from hybridmodel.tasks.swing_up import Attempts
from hybridmodel.tasks.task import Score, Task
from physics import Trivial
from residuals import MLP

TASK = PENDULUM.quick()
SECTIONS = ("verdict", "prediction", "learning", "residual", "plans", "time", "motion", "settings")


def logs(task: Task, count: int, *, steps: int, seed: int) -> list[Trajectory]:
    plant = OdePlant(task.system, dt=task.dt, hidden=task.hidden, substeps=8)
    assert isinstance(task.logging, Attempts)
    logging = task.logging
    return [
        collect(plant, logging.excitation(task.system, k), steps=steps, seed=seed + k)
        for k in range(count)
    ]


def rows(task: Task) -> dict[str, HybridModel]:
    """Four models that differ, none of them fitted."""
    recipe, system = task.recipe, task.system.with_parameters(mass=1.1)
    fitted = {"dt": task.dt, "fit_parameters": recipe.fit_parameters}
    hybrid = HybridModel(system, MLP((4,), seed=0), placement=placement.input, hold=True, **fitted)
    torch.nn.init.constant_(hybrid.theta, 0.05)
    network = HybridModel(
        Trivial.like(task.system), MLP((4,), seed=0), dt=task.dt, placement=placement.next_state
    )
    return {
        "physics": physics_row(task.system, task.dt, recipe),
        "identified": HybridModel(system, **fitted),
        "network": network,
        "hybrid": hybrid,
    }


def closed_loop(task: Task, model: HybridModel, seed: int) -> Run:
    """An excited log with what the model says about its future as plans."""
    steps, H = round(task.control.seconds / task.dt), 10
    (log,) = logs(task, 1, steps=steps, seed=seed)
    plans = []
    for k in range(0, steps - H, task.control.every):
        u = log.u[k : k + H]
        with torch.no_grad():
            x = model.rollout(torch.tensor(log.x[k]), torch.tensor(u)).numpy()
        plan = Plan(u=u, x=x, cost=1.0, status=Status.BUDGET, seconds=0.01 * (1 + k + seed))
        plans.append((float(log.t[k]), plan))
    return Run(log, Score(3.0 + seed, seed % 2 == 1), tuple(plans), {})


def history(fits: int) -> tuple[dict[str, float], ...]:
    lines = []
    for fit in range(fits):
        best = 1.0 + fit
        for epoch in range(24):
            best *= 0.9
            stage = epoch // 8
            lines.append(
                {
                    "stage": stage,
                    "horizon": (1, 5, 20)[stage],
                    "epoch": epoch % 8,
                    "loss": best,
                    "validation": 1.1 * best,
                    "best": best,
                    "physics": 0.8,
                    "seconds": 0.1 * epoch,
                }
            )
    return tuple(lines)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    models = rows(TASK)
    data = [Dataset(logs(TASK, n, steps=60, seed=10 * n)) for n in (3, 1, 2)]
    return Outcome(
        task=TASK,
        engine="ode",
        seed=0,
        train=data[0],
        validation=data[1],
        test=data[2],
        models=models,
        fits={
            row: FitResult(models[row], history(fits), 0.1, 0.8, "budget", 1.0)
            for row, fits in (("identified", 1), ("network", 2), ("hybrid", 1))
        },
        sweep={0.002: 0.16, 0.005: 0.08},
        errors={row: evaluate(model, data[2], horizon=50) for row, model in models.items()},
        runs={
            (planner, row): closed_loop(TASK, models[row], k)
            for planner in TASK.control.planners
            for k, row in enumerate(ROWS)
        },
        settings={"engine": "ode", "substeps": 8, "smoothing": 0.01},
        seconds={"log": 1.0, "fit": 2.0},
    )


@pytest.fixture(scope="module")
def folder(outcome: Outcome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    summary = summarize([outcome], quick=True, command="demo <pendulum>", wall_seconds=3.0)
    write_record(path, outcome, summary)
    return path


@pytest.fixture(scope="module")
def record(folder: Path) -> Record:
    return read_record(folder)


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def test_one_small_file_that_refers_to_nothing_outside(folder: Path, html: str) -> None:
    assert (folder / "report.html").stat().st_size < 1_000_000
    text = re.sub(r'"data:[^"]*"', '""', html)
    assert not re.search(r"https?:|//[a-z]|<script|<link|@import|url\((?!#)", text)
    targets = re.findall(r'(?:src|href)="([^"]{0,20})', html)
    assert all(target.startswith(("data:", "#")) for target in targets)
    anchors = set(re.findall(r' id="([^"]*)"', html))
    assert set(re.findall(r'href="#([^"]*)"', html)) <= anchors


def test_every_section_is_there_in_order(html: str) -> None:
    found = re.findall(r'<(?:section|header) id="(\w+)"', html)
    assert tuple(found) == SECTIONS
    assert html.count("<svg ") == 6
    assert all(row in html for row in ROWS)


def test_the_same_record_gives_the_same_bytes(folder: Path, html: str) -> None:
    assert page.page(read_record(folder)) == html


def test_what_comes_from_the_record_is_escaped(html: str) -> None:
    assert "demo &lt;pendulum&gt;" in html
    assert "<pendulum>" not in html


def test_the_table_holds_the_numbers_and_marks_the_best(record: Record) -> None:
    table = dict(page.comparison(record.summary, TASK.control.figures))
    error = record.summary["prediction"]["hybrid"]["20"]
    assert float(table["hybrid"][1].text) == pytest.approx(100 * error, rel=5e-3)
    cost = {row: cells[3] for row, cells in table.items()}
    assert [row for row, cell in cost.items() if cell.best] == ["physics"]
    success = {row: cells[4].text for row, cells in table.items()}
    assert success == {"physics": "✗", "identified": "✓", "network": "✗", "hybrid": "✓"}


def test_several_seeds_show_intervals_and_counts(outcome: Outcome) -> None:
    outcomes = [replace(outcome, seed=seed) for seed in range(4)]
    summary = summarize(outcomes, quick=True, command="demo", wall_seconds=1.0)
    cells = dict(page.comparison(summary, TASK.control.figures))["hybrid"]
    assert cells[0].interval == f"{cells[0].text} … {cells[0].text}"
    assert cells[4].text == "4/4"


def test_a_model_that_runs_away_is_drawn_and_named(record: Record) -> None:
    away = record.errors["physics"]
    rmse = away.rmse.copy()
    rmse[10:20], rmse[20:] = 1e120, np.nan
    broken = replace(record, errors={**record.errors, "physics": replace(away, rmse=rmse)})
    assert errors.error_by_horizon(broken).image.startswith("<svg")
    numbers = {**record.summary["prediction"], "physics": {"1": 0.1, "20": np.inf, "50": np.nan}}
    summary = {**record.summary, "prediction": numbers}
    assert [
        c.text for c in dict(page.comparison(summary, TASK.control.figures))["physics"][1:3]
    ] == ["∞", "∞"]


def test_the_missing_force_of_the_true_model_is_the_truth(record: Record) -> None:
    task = replace(TASK, hidden=HiddenEffects(parameters={"mass": 1.3, "damping": 0.2}))
    true = HybridModel(task.system.with_parameters(**task.hidden.parameters), dt=TASK.dt)
    test = Dataset(logs(task, 1, steps=40, seed=5))
    known = replace(record, task=task, test=test, models={**record.models, "identified": true})
    forces = effects.missing_force(known)
    assert np.abs(forces["truth"]).max() > 0.1
    np.testing.assert_allclose(forces["identified"], forces["truth"], atol=1e-5)


def test_the_moving_picture_moves_and_is_small(record: Record) -> None:
    pytest.importorskip("pybullet")
    picture = motion.animation(record)
    assert picture is not None
    data = base64.b64decode(picture.image.removeprefix("data:image/webp;base64,"))
    assert len(data) <= motion.LARGEST
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) > 5


def test_without_the_simulator_a_sentence_stands_in(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("no pybullet")

    monkeypatch.setattr(motion, "frames", missing)
    monkeypatch.setattr(effects, "plant_steps", missing)
    text = page.page(record)
    assert "No moving picture" in text
    assert "not installed here" in text


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".webp", "WEBP")])
def test_a_picture_for_a_readme(folder: Path, tmp_path: Path, suffix: str, kind: str) -> None:
    path = write_picture(folder, tmp_path / f"picture{suffix}")
    assert path.stat().st_size < 150_000
    with Image.open(path) as image:
        assert image.format == kind
        assert image.width > 800


def test_wrong_arguments_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png or \.webp"):
        write_picture(folder, tmp_path / "picture.gif")
    with pytest.raises(ValueError, match="holds no demonstration"):
        write_report(tmp_path)


def test_labels_keep_their_order_and_their_distance() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        heights = generator.uniform(0, 0.6, 4)
        placed = np.array(spread(list(heights), 0.1))
        assert (np.argsort(placed) == np.argsort(heights)).all()
        assert (np.diff(np.sort(placed)) > 0.1 - 1e-3).all()


@pytest.mark.parametrize("package", ["matplotlib", "jinja2", "PIL"])
def test_a_missing_package_names_the_extra(package: str) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "try:\n"
        "    import hybridmodel.report\n"
        "except ImportError as error:\n"
        "    assert 'hybridmodel[report]' in str(error), error\n"
        "else:\n"
        "    raise SystemExit('imported')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
