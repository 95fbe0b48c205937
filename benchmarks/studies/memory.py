"""A lag, which no residual of (x, u) can represent, and one that sees the last steps too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Row
from benchmarks.studies.matrix import DATA, SEEDS, run
from hybridmodel.study import Study, recovered


def rows(quick: bool, folder: Path, workers: int) -> Iterator[Row]:
    """Fractions by model in each place, medians over seeds."""
    study = Study(
        systems=("pendulum",) if quick else ("pendulum", "cartpole", "double-pendulum"),
        effects=("lag",),
        models=("physics", "hybrid", "windowed", "oracle"),
        data=DATA[-1:],
        planners=("sqp",) if quick else ("cem", "sqp"),
        seeds=SEEDS[:1] if quick else SEEDS,
        quick=quick,
    )
    what = "quick memory" if quick else "memory"
    for each in recovered(run(study, folder.with_name(f"{folder.name}-{quick}"), workers)):
        values = each.fractions.values()
        yield Row(
            f"{what}: {each.place[0]}, {each.place[2]}: recovered by {each.kind[0]}",
            each.median,
            seeds=len(values),
            spread=(min(values), max(values)),
        )
