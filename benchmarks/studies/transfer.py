"""Models of one plant on others: with another effect, in another engine, and drawn plants' model.

The hidden effect "lag" is no function of (x, u): no model of this study can represent it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figures import Row
from benchmarks.studies.matrix import run
from hybridmodel.study import Study, recovered


def rows(quick: bool, folder: Path, workers: int) -> Iterator[Row]:
    """Fractions by model and plant, medians over systems, planners and seeds."""
    study = Study(
        systems=("pendulum",) if quick else ("pendulum", "cartpole"),
        effects=("all",),
        models=("physics", "identified", "network", "hybrid", "adaptive", "randomised", "oracle"),
        planners=("sqp",) if quick else ("cem", "sqp"),
        plants=("logged", "mujoco", "friction", "lag"),
        seeds=(0,) if quick else (0, 1, 2),
        attribution=not quick,
        quick=quick,
    )
    found = recovered(run(study, folder.with_name(f"{folder.name}-{quick}"), workers))
    what = "quick transfer" if quick else "transfer"
    pooled: dict[tuple[str, str], list[float]] = {}
    for each in found:
        model, plant = each.kind[0], each.place[3]
        pooled.setdefault((model, plant), []).extend(each.fractions.values())
    for (model, plant), values in pooled.items():
        told = f"{what}: recovered by {model} on {plant}"
        spread = min(values), max(values)
        yield Row(told, float(np.median(values)), "", "", len(study.seeds), spread)
