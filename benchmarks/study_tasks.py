"""What the tasks of studies leave to be learned, and what a study of them costs.

    python -m benchmarks.study_tasks --json benchmarks/results/study_tasks.json

By system × effect × planner, medians over development seeds: the cost J of a closed loop in
PyBullet of physics, identified, hybrid (60 s of data) and oracle, and what the hybrid recovers of
the gap, (J − J_physics) / (J_oracle − J_physics), where the oracle is at least 10 % better. CPU
seconds are of logs, fits and loops. A cell (system, effect, seed) that was run before is read from
`--folder`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks.figures import Row, publish
from hybridmodel.baselines import hybrid_row, identified_row, physics_row
from hybridmodel.data import Dataset
from hybridmodel.demo.pipeline import close_loop
from hybridmodel.files import write_atomically
from hybridmodel.tasks.oracle import oracle
from hybridmodel.tasks.study_tasks import EFFECTS, STUDY_TASKS
from hybridmodel.tasks.task import Logs, Task, first_seconds

FOLDER = Path("runs/study_tasks")
FIRST_SEED, SEEDS, SECONDS = 100, 2, 60.0
PLANNERS = ("cem", "sqp")
ROWS = ("physics", "identified", "hybrid", "oracle")
LOG, FIT, LOOP = 10.0, 10.0, 5.0  # CPU seconds, on average
Cell = Mapping[str, Any]
T = TypeVar("T")


def cell(system: str, effect: str, seed: int, quick: bool) -> Cell:
    """Costs, success and CPU seconds of one system × effect × seed."""
    task = STUDY_TASKS[system]().under(effect)
    task = task.quick() if quick else task
    logs, logging = timed(lambda: _logs(task, seed))
    chosen = first_seconds(logs, SECONDS)
    train, validation = Dataset(chosen.train), Dataset(chosen.validation)
    data = (train, validation, task.recipe)
    identified, identifying = timed(lambda: identified_row(task.system, *data, seed=seed))
    hybrid, fitting = timed(lambda: hybrid_row(identified.model, *data, seed=seed))
    models = {
        "physics": physics_row(task.system, task.dt, task.recipe),
        "identified": identified.model,
        "hybrid": hybrid.model,
        "oracle": oracle(task),
    }
    loops = {}
    for planner in PLANNERS:
        for row, model in models.items():
            run, seconds = timed(
                lambda m=model, p=planner: close_loop(task, m, p, "pybullet", seed)
            )
            loops[f"{planner} {row}"] = {
                "cost": run.score.cost,
                "success": run.score.success,
                "seconds": seconds,
                "figures": dict(run.score.figures),
            }
    return {
        "data": train.seconds + validation.seconds,
        "log": logging,
        "identify": identifying,
        "fit": fitting,
        "loops": loops,
    }


def _logs(task: Task, seed: int) -> Logs:
    plant = task.plant("pybullet")
    logs = task.logging.make(task, plant, seed)
    plant.close()
    return logs


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What it returns, and its CPU seconds."""
    began = time.process_time()
    return call(), time.process_time() - began


def kept(folder: Path, system: str, effect: str, seed: int, quick: bool) -> Cell:
    """A cell, from its file where it was run before."""
    file = folder / f"{system}_{effect}{'_quick' if quick else ''}_{seed}.json"
    if not file.exists():
        found = cell(system, effect, seed, quick)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, (json.dumps(found, indent=1) + "\n").encode())
    return json.loads(file.read_text(encoding="utf-8"))


def told(system: str, effect: str, cells: Sequence[Cell]) -> Iterator[Row]:
    """Medians over the seeds of one system and effect, of each planner."""
    for planner in PLANNERS:
        what, n = f"{system}, {effect}, {planner}", len(cells)
        runs = {row: [c["loops"][f"{planner} {row}"] for c in cells] for row in ROWS}
        J = {row: np.array([run["cost"] for run in runs[row]]) for row in ROWS}
        for row in ROWS:
            reached = sum(run["success"] for run in runs[row])
            yield Row(
                f"{what}: J of {row}, {reached}/{n} reach the goal", _median(J[row]), "", "", n
            )
        gap = 1 - J["oracle"] / J["physics"]
        yield Row(f"{what}: gap, 1 − J_oracle / J_physics", _median(gap), "", "≥ 0.1", n)
        wide = gap >= 0.1
        if wide.any():
            found = (J["hybrid"] - J["physics"]) / (J["oracle"] - J["physics"])
            yield Row(
                f"{what}: recovered by the hybrid", _median(found[wide]), "", "", int(wide.sum())
            )


def costs(cells: Mapping[str, Sequence[Cell]]) -> Iterator[Row]:
    """CPU seconds of each system's logs, fits and loops, means over effects and seeds."""
    for system, some in cells.items():
        loops = [run["seconds"] for c in some for run in c["loops"].values()]
        parts = {
            "logs": ([c["log"] for c in some], LOG),
            "identification": ([c["identify"] for c in some], FIT),
            "fit of the hybrid": ([c["fit"] for c in some], FIT),
            "closed loop": (loops, LOOP),
        }
        for what, (seconds, most) in parts.items():
            spread = min(seconds), max(seconds)
            mean = float(np.mean(seconds))
            yield Row(f"{system}: {what}", mean, "CPU s", f"≤ {most:g}", len(seconds), spread)


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one seed of shorter tasks")
    parser.add_argument("--system", action="append", choices=list(STUDY_TASKS), help="only these")
    parser.add_argument("--effect", action="append", choices=EFFECTS, help="only these")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where cells are kept")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    count = 1 if given.quick else given.seeds
    cells: dict[str, list[Cell]] = {}
    rows: list[Row] = []
    for system in given.system or STUDY_TASKS:
        for effect in given.effect or EFFECTS:
            seeds = range(FIRST_SEED, FIRST_SEED + count)
            some = [kept(given.folder, system, effect, seed, given.quick) for seed in seeds]
            cells.setdefault(system, []).extend(some)
            rows += told(system, effect, some)
    rows += costs(cells)
    return 0 if publish("Tasks of studies", rows, given.json) else 1


if __name__ == "__main__":
    raise SystemExit(main())
