"""The oracle-gap matrix: what each model recovers, under which effect, with how much data.

Every plant is PyBullet's. Physics and oracle are the two ends; identified, network and hybrid are
fitted to logs of one seed each. A place is a system, an effect and a planner. Rows of the table
carry the digest of their task, so that a system whose task has changed since is measured again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Row
from hybridmodel.statistics import interval
from hybridmodel.study import (
    News,
    Recovered,
    Study,
    better,
    gaps,
    over_effects,
    processes,
    read_table,
    recovered,
    run_study,
    write_table,
)
from hybridmodel.study.grid import AXES
from hybridmodel.study.jobs import read_result
from hybridmodel.tasks.study_tasks import EFFECTS, STUDY_TASKS

SYSTEMS = tuple(STUDY_TASKS)
QUICK = ("pendulum", "cartpole")
DATA, SEEDS = (15.0, 30.0, 60.0), (0, 1, 2)
HYBRID, NETWORK = ("hybrid", "own", DATA[-1]), ("network", "", DATA[-1])
TASK = "digest of its task"  # a column
TABLE = Path(__file__).parents[1] / "results" / "studies.parquet"


def study(quick: bool, systems: Sequence[str]) -> Study:
    """The matrix; where it is quick short fits and loops, one seed, most of the data."""
    return Study(
        systems=tuple(systems),
        effects=EFFECTS,
        data=DATA[-1:] if quick else DATA,
        seeds=SEEDS[:1] if quick else SEEDS,
        quick=quick,
    )


def rows(quick: bool, folder: Path, workers: int, systems: Sequence[str]) -> Iterator[Row]:
    """Run what of the matrix is missing, then its figures."""
    if quick:
        found = run(study(True, systems or QUICK), folder.with_name("matrix-quick"), workers)
        yield from figures(found, "quick matrix", bars=False)
        return
    known, own, wall = read_table(TABLE) if TABLE.exists() else [], 0.0, 0.0
    for system in systems or SYSTEMS:
        wanted = study(False, [system])
        if systems or not _measured(known, wanted, system):
            began, before = time.perf_counter(), _taken(wanted, folder / system)
            task = {TASK: wanted.settings()[system]}
            fresh = [row | task for row in run(wanted, folder / system, workers)]
            own += _taken(wanted, folder / system) - before
            wall += time.perf_counter() - began
            known = [row for row in known if row["system"] != system] + fresh
            known.sort(key=lambda row: SYSTEMS.index(row["system"]))  # type: ignore[arg-type]
            write_table(known, TABLE)
    yield from figures(known, "matrix", bars=True)
    if wall:
        overhead = 100 * (1 - own / (workers * wall))
        yield Row("matrix: overhead of the study's machinery", overhead, "%", "≤ 3")


def _measured(table: list[dict[str, Any]], wanted: Study, system: str) -> bool:
    """Whether a table holds every cell of a system's study, with the task as it now is."""
    digest = wanted.settings()[system]
    ran = [row for row in table if row["state"] != "missing" and row.get(TASK) == digest]
    there = {tuple(row[axis] for axis in AXES) for row in ran}
    return all(tuple(getattr(cell, axis) for axis in AXES) in there for cell in wanted.cells())


def figures(table: list[dict[str, Any]], what: str, *, bars: bool) -> Iterator[Row]:
    """What the table of a matrix says."""
    states = [row["state"] for row in table]
    yield Row(f"{what}: closed loops", len(states))
    yield Row(f"{what}: systems", len({row["system"] for row in table}), "", "≥ 6" if bars else "")
    yield Row(f"{what}: cells that failed", states.count("failed"))
    spent = _spent(table) / 3600
    yield Row(f"{what}: processor time of all fits and loops", spent, "h", "≤ 10" if bars else "")
    places = gaps(table)
    for state in ("gap", "no gap", "oracle worse"):
        count = sum(gap.state == state for gap in places.values())
        yield Row(f"{what}: places with {state}", count, f"of {len(places)}")
    found = recovered(table)
    for kind in sorted({each.kind for each in found}):
        values = [each.median for each in found if each.kind == kind]
        told = f"{what}: recovered by {kind[0]}, {kind[2]:g} s of data, median over places"
        bar = "≥ 0.8" if bars and kind == HYBRID else ""
        seeds = max(len(each.fractions) for each in found if each.kind == kind)
        yield Row(told, float(np.median(values)), "", bar, seeds, interval(values))
    yield from _by_effect(found, what, bars=bars)
    won = [c.first < c.second for c in better(table, HYBRID, NETWORK).values()]
    if won:
        bar = "≥ 0.9" if bars else ""
        yield Row(
            f"{what}: share of places where hybrid beats network", float(np.mean(won)), "", bar
        )


def _by_effect(found: list[Recovered], what: str, *, bars: bool) -> Iterator[Row]:
    medians = over_effects(found, HYBRID)
    if not medians:
        return
    bar = "≥ 0" if bars else ""
    worst = min(medians, key=lambda place: medians[place])
    where = f"({', '.join(worst)})"
    yield Row(
        f"{what}: recovered by hybrid, least of all system × effect", medians[worst], where, bar
    )
    for (system, effect), value in medians.items():
        yield Row(f"{what}: {system}, {effect}: recovered by hybrid", value)


def _taken(wanted: Study, folder: Path) -> float:
    """Seconds of all jobs that are done, logs too."""
    results = (read_result(folder, job.name) for job in wanted.jobs())
    return sum(found["seconds"] for found in results if found is not None)


def _spent(table: list[dict[str, Any]]) -> float:
    """Seconds of all loops and of each fit once; a worker has one thread."""
    fits = {
        tuple(row[k] for k in ("system", "effect", "model", "placement", "data", "seed")): row.get(
            "seconds to fit", 0.0
        )
        for row in table
    }
    return sum(fits.values()) + sum(row.get("seconds to run", 0.0) for row in table)


def run(wanted: Study, folder: Path, workers: int) -> list[dict[str, Any]]:
    """The table of a study, telling on stderr how far it is."""

    def tell(news: News) -> None:
        left = "" if news.left is None else f", {news.left / 60:.0f} min left"
        told = f"{news.done}/{news.total}{left}: {news.name} {news.error}"
        print(told, file=sys.stderr, flush=True)

    return run_study(
        wanted, folder, engine=processes(workers), workers=workers, resume=True, progress=tell
    )
