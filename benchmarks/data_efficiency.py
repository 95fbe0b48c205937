"""How much data the hybrid needs against a network alone: cart-pole and quadrotor in PyBullet.

The network is trained on all logs (240 s and 120 s), with three step sizes of which validation
chooses; the hybrid on at most a tenth of their seconds, some of those logs drawn at random, in
three steps:

1. parameters alone (`identify`)
2. parameters together with a perceptron of generalised forces, over 1, 5 and 20 steps (`fit`):
   alone they would have stood in for friction, which sits in every joint, and are biased by it
3. the perceptron is dropped, what those parameters leave goes to a Gaussian process of
   generalised forces, the family for little data (`regress`). Two of the logs choose the span of
   its targets, then it takes all

Both see the same features. The error is that of free runs over 25 steps on held-out logs, each
state by its range.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.figures import Row
from hybridmodel import HybridModel, fit, placement, regress
from hybridmodel.baselines import identified_row, network_row
from hybridmodel.data import Dataset, Trajectory
from hybridmodel.demo.pipeline import make_logs
from hybridmodel.evaluation import evaluate
from hybridmodel.files import write_atomically
from hybridmodel.tasks.named import TASKS
from hybridmodel.workers import pool
from physics import System
from residuals import MLP, GaussianProcess, Residual

RUNS = Path("runs/data_efficiency")
FIRST_SEED, HORIZON, SHARE = 40, 25, 0.1  # settled on seeds below 40
SHORTEST = 20  # steps, the longest horizon of the recipes' curricula
SPANS = (1, 2, 4)  # steps of a target
JOINT_EPOCHS = (20, 20, 30)  # of parameters and perceptron together
LOGS = {  # of the demonstration's logging, so that the network has seen enough
    "cartpole": {"excited": 48, "attempts": 32},
    "quadrotor": {"logs": 24},
}
EPOCHS = {"cartpole": (10, 20, 45), "quadrotor": (20, 15, 8)}  # half the demonstration's


def rows(quick: bool, seeds: int | None = None, workers: int = 2, runs: Path = RUNS) -> list[Row]:
    """Ten seeds of each task, or a quick one; what each gave is kept in `runs`."""
    count = seeds or (1 if quick else 10)
    found = []
    with pool(workers) as processes:
        jobs = {
            (name, seed): processes.submit(kept, name, seed, quick, runs)
            for name in ("cartpole", "quadrotor")
            for seed in range(FIRST_SEED, FIRST_SEED + count)
        }
        for name in ("cartpole", "quadrotor"):
            found += _told(name, [job.result() for (task, _), job in jobs.items() if task == name])
    return found


def kept(name: str, seed: int, quick: bool, runs: Path) -> dict[str, float]:
    """What a seed gave, from its file where it was run before."""
    file = runs / f"{name}{'_quick' if quick else ''}_{seed}.json"
    if not file.exists():
        found = one(name, seed, quick)
        runs.mkdir(parents=True, exist_ok=True)
        write_atomically(file, (json.dumps(found, indent=1) + "\n").encode())
    return json.loads(file.read_text(encoding="utf-8"))


def one(name: str, seed: int, quick: bool = False) -> dict[str, float]:
    """Errors of one seed, and the seconds of data that each had."""
    task = TASKS[name]()
    task = task.quick() if quick else replace(task, logging=replace(task.logging, **LOGS[name]))
    train, validation, test, _ = make_logs(task, seed, "pybullet")
    horizons = tuple(h for h in task.recipe.horizons if h <= SHORTEST)
    epochs = tuple(min(3, n) if quick else n for n in EPOCHS[name])
    recipe = replace(task.recipe, horizons=horizons, epochs=epochs, stride=1)
    seconds = train.seconds + validation.seconds
    network, _ = network_row(task.system, train, validation, recipe, seed=seed)
    little = _drawn((*train, *validation), SHARE * seconds, seed)
    identified = identified_row(task.system, little, little, recipe, seed=seed)

    def forced(system: System, residual: Residual) -> HybridModel:
        return HybridModel(
            system,
            residual,
            dt=train.dt,
            substeps=recipe.substeps,
            placement=placement.force,
            fit_parameters=recipe.fit_parameters,
            hold=True,
            features=recipe.features,
        )

    start = forced(identified.model.system, MLP(recipe.hidden, seed=seed))
    together = fit(
        start,
        little,
        little,
        horizons=(1, 5, SHORTEST),
        epochs=3 if quick else JOINT_EPOCHS,
        rate=recipe.rate,
        batch_size=64,
        seed=seed,
    )
    model = forced(together.model.system, GaussianProcess("matern52", seed=seed))
    most = max(1, len(little) - 2)  # a quick run draws fewer logs than three
    tried = regress(model, little[:most], little[-2:], spans=SPANS)
    best = min(tried.history[1:], key=lambda row: row["validation"])  # but for no regression
    hybrid = regress(model, little, little, spans=(int(best["span"]),))

    def error(model) -> float:
        return evaluate(model, test, horizon=HORIZON, stride=4).at(HORIZON)

    return {
        "network": error(network.model),
        "hybrid": error(hybrid.model),
        "identified": error(identified.model),
        "seconds": seconds,
        "share": little.seconds / seconds,
    }


def _drawn(logs: Sequence[Trajectory], seconds: float, seed: int) -> Dataset:
    """At most so many seconds of logs in random order, the last one cut."""
    left, parts = int(seconds / logs[0].dt + 1e-9), []
    for k in np.random.default_rng(seed).permutation(len(logs)):
        if left <= SHORTEST:
            break
        parts.append(logs[k][: min(left, logs[k].steps)])
        left -= parts[-1].steps
    return Dataset(parts)


def _told(name: str, runs: Sequence[dict[str, float]]) -> list[Row]:
    ratio = np.array([run["hybrid"] / run["network"] for run in runs])
    physics = np.array([run["hybrid"] / run["identified"] for run in runs])
    share = max(run["share"] for run in runs)
    what = f"data efficiency, {name}"
    return [
        Row(f"{what}: share of the data that the hybrid has", share, "", "≤ 0.1", len(runs)),
        Row(
            f"{what}: error after {HORIZON} steps, hybrid on that / network on all",
            float(np.median(ratio)),
            "×",
            "≤ 1",
            len(runs),
            (float(ratio.min()), float(ratio.max())),
        ),
        Row(f"{what}: seeds where it is lower", float((ratio <= 1).sum()), "", f"≥ {len(runs)}"),
        Row(
            f"{what}: hybrid / identified on the same tenth",
            float(np.median(physics)),
            "×",
            "",
            len(runs),
            (float(physics.min()), float(physics.max())),
        ),
    ]
