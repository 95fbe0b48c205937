"""Do intervals of a hybrid model hold what they say, and does it stay physics outside its data?

    python -m benchmarks.calibration [--quick] [--seeds N] [--systems NAME …] --json FILE

The pendulum, cart-pole and quadrotor of the demonstrations, in PyBullet, with all that they hide
from the physics. Each is fitted on the demonstration's logs: an ensemble of five that fades
outside its data, by likelihood over rollouts, after an identification. Two further sets of whole
logs are made by the same excitation: on the first (validation) the noise is split and the
intervals are recalibrated, on the second (held out) they are judged.

covers    intervals for 90 % about the measured outputs (sensor noise included), predicted from a
          measured start 1 … 25 steps ahead under known inputs; share of windows inside, over all
          signals, least and most over k; width over RMSE, the mean over signals, most over k
outside   starts five times as far out as the data reach, against the closed-form truth with all
          effects: RMSE of the hybrid over that of its own physics (same parameters, no residual),
          most over k = 1 … 25; disagreement (before the fade) there over that on held-out logs,
          and over that at 2.5 times the range, where the fade is complete
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.figures import Row, publish
from hybridmodel import Dataset, HybridModel, fit
from hybridmodel.baselines import identified_row
from hybridmodel.batches import batch
from hybridmodel.demo.pipeline import make_logs
from hybridmodel.deviation import deviations
from hybridmodel.envs.truth import Disturbed
from hybridmodel.fitting.result import without_residual
from hybridmodel.tasks.named import TASKS
from hybridmodel.tasks.task import Task
from hybridmodel.uncertainty import (
    Calibration,
    Recalibration,
    calibration,
    disagreement,
    recalibrate,
    support,
)
from residuals import Ensemble, Supported

SYSTEMS = ("pendulum", "cartpole", "quadrotor")
HORIZON, LEVEL, WINDOWS = 25, 0.9, 2_000
REACH = (1.0, 2.5, 5.0)  # times the range of the training data
STARTS = 400
# whole logs for validation and held out, epochs of each horizon, and strides of fit and windows
LOGS = {"pendulum": (30, 40), "cartpole": (30, 40), "quadrotor": (12, 12)}
EPOCHS = {"pendulum": (10, 20, 45), "cartpole": (10, 20, 45), "quadrotor": (20, 15, 5, 2)}
FIT_STRIDE = 2
METHOD, PARTICLES = "tsinf", 30


@dataclass(frozen=True)
class Fitted:
    """A hybrid model with its logs, and the processor time [s] that it took."""

    task: Task
    model: HybridModel
    train: Dataset
    validation: Dataset
    held_out: Dataset
    seconds: float


@dataclass(frozen=True)
class Outside:
    """Starts at each of REACH: error over that of physics (REACH, H), disagreement and support."""

    ratio: np.ndarray
    disagreement: np.ndarray  # (REACH,) median
    support: np.ndarray  # (REACH,) mean
    known: float  # median disagreement on held-out logs


def fitted(name: str, seed: int = 0, *, quick: bool = False) -> Fitted:
    """Logs of one system, and the hybrid fitted to them."""
    started = time.process_time()
    task = TASKS[name]()
    counts = (8, 6) if quick else LOGS[name]
    task = replace(task, logging=replace(task.logging, held_out=sum(counts)))
    train, stopping, further, _ = make_logs(task, seed, "pybullet")
    recipe = task.recipe
    identified = identified_row(task.system, train, stopping, recipe, seed=seed).model
    model = HybridModel(
        identified.system,
        Supported(Ensemble(recipe.hidden, count=5, seed=seed)),
        dt=task.dt,
        substeps=recipe.substeps,
        placement=recipe.placement,
        fit_parameters=recipe.fit_parameters,
        hold=recipe.hold,
        features=recipe.features,
    )
    result = fit(
        model,
        train,
        stopping,
        horizons=recipe.horizons,
        epochs=tuple(max(1, e // 5) for e in EPOCHS[name]) if quick else EPOCHS[name],
        rate=recipe.rate,
        stride=FIT_STRIDE * recipe.stride,
        residual_penalty=recipe.residual_penalty,
        loss="likelihood",
        seed=seed,
    )
    return Fitted(
        task,
        result.model,
        train,
        further[: counts[0]],
        further[counts[0] :],
        time.process_time() - started,
    )


def covers(
    case: Fitted, seed: int = 0, *, recalibrated: bool = True
) -> tuple[Calibration, Recalibration | None]:
    """Intervals of a fitted model on held-out logs, by default recalibrated on validation logs."""
    settings = {"horizon": HORIZON, "level": LEVEL, "method": METHOD, "particles": PARTICLES}
    factors = None
    if recalibrated:
        stride = 4 if case.task.name == "quadrotor" else 2
        factors = recalibrate(case.model, case.validation, stride=stride, seed=seed, **settings)
    found = calibration(
        case.model, case.held_out, calibration=factors, seed=seed + 1_000, **settings
    )
    return found, factors


def outside(case: Fitted, seed: int = 0) -> Outside:
    """Predictions from states up to five times as far out as the training data reach."""
    model, task = case.model, case.task
    physics = without_residual(model)
    truth = HybridModel(Disturbed(system=task.system, hidden=task.hidden), dt=task.dt, substeps=20)
    generator = torch.Generator().manual_seed(seed)
    signals = case.task.system.states
    logged = deviations(signals, np.concatenate([log.y for log in case.train]))
    scale = torch.tensor(logged.std(axis=0))
    ratios, doubts, weights = [], [], []
    with torch.no_grad():
        for reach in REACH:
            x0 = _starts(case, reach, generator)
            u = _inputs(case, generator)
            x = truth.rollout(x0, u)
            errors = []
            for candidate in (model, physics):
                apart = model.state_difference(candidate.rollout(x0, u), x)[:, 1:] / scale
                errors.append(apart)
            alive = torch.isfinite(errors[0]).all(-1) & torch.isfinite(errors[1]).all(-1)
            size = [torch.where(alive[..., None], e, 0.0).square().sum((0, 2)) for e in errors]
            ratios.append((size[0] / size[1]).sqrt().numpy())
            doubts.append(float(disagreement(model, x0, u[:, 0]).median()))
            weights.append(float(support(model, x0, u[:, 0]).mean()))
        windows = batch(model, case.held_out, 1)
        known = disagreement(model, windows.x0(model), windows.u[:, 0]).median()
    return Outside(np.array(ratios), np.array(doubts), np.array(weights), float(known))


def coverage_rows(name: str, found: Sequence[Calibration], seconds: Sequence[float]) -> list[Row]:
    """The figures of one system, over seeds."""
    least = [100 * c.pooled.min() for c in found]
    most = [100 * c.pooled.max() for c in found]
    rows = [
        _row(f"{name}: windows", [c.windows for c in found], min, "", f"≥ {WINDOWS}"),
        _row(f"{name}: covered, least of k = 1 … {HORIZON}", least, min, "%", "≥ 86"),
        _row(f"{name}: covered, most of k = 1 … {HORIZON}", most, max, "%", "≤ 94"),
        _row(
            f"{name}: width / RMSE",
            [c.sharpness.mean(axis=1).max() for c in found],
            max,
            "",
            "≤ 4",
        ),
    ]
    for i, signal in enumerate(found[0].signals):
        low = [100 * c.coverage[:, i].min() for c in found]
        high = [100 * c.coverage[:, i].max() for c in found]
        rows.append(_row(f"{name}: {signal}, least", low, min, "%", ""))
        rows.append(_row(f"{name}: {signal}, most", high, max, "%", ""))
    rows.append(_row(f"{name}: processor time of one seed", seconds, max, "s", "≤ 360"))
    return rows


def outside_rows(name: str, found: Sequence[Outside]) -> list[Row]:
    """The figures of one system, over seeds."""
    return [
        _row(
            f"{name}: 5 × the range, error / physics, most of k = 1 … {HORIZON}",
            [o.ratio[-1].max() for o in found],
            max,
            "",
            "≤ 1.05",
        ),
        _row(
            f"{name}: disagreement at 5 × / on held-out logs",
            [o.disagreement[-1] / o.known for o in found],
            min,
            "",
            "≥ 1",
        ),
        _row(
            f"{name}: disagreement at 5 × / at 2.5 ×",
            [o.disagreement[-1] / o.disagreement[-2] for o in found],
            min,
            "",
            "≥ 1",
        ),
    ]


def rows(systems: Iterable[str] = SYSTEMS, seeds: int = 3, *, quick: bool = False) -> list[Row]:
    """Everything."""
    found: list[Row] = []
    for name in systems:
        covered, out, seconds = [], [], []
        for seed in range(seeds):
            case, started = fitted(name, seed, quick=quick), time.process_time()
            covered.append(covers(case, seed)[0])
            seconds.append(case.seconds + time.process_time() - started)
            out.append(outside(case, seed))
        found += coverage_rows(name, covered, seconds) + outside_rows(name, out)
    return found


def _row(figure: str, values: Sequence[float], worst, unit: str, bar: str) -> Row:
    """The worst seed against the bar, and the spread over seeds."""
    spread = (float(min(values)), float(max(values))) if len(values) > 1 else None
    return Row(figure, float(worst(values)), unit, bar, len(values), spread)


def _starts(case: Fitted, reach: float, generator: torch.Generator) -> Tensor:
    """x0 (STARTS, n) on the surface of the box of the data, `reach` times as large."""
    model, system = case.model, case.task.system
    y = torch.tensor(np.concatenate([log.y for log in case.train]))
    level = torch.tensor(system.neutral, dtype=y.dtype)
    apart = model.state_difference(y, level.expand_as(y))
    middle, half = (apart.amax(0) + apart.amin(0)) / 2, (apart.amax(0) - apart.amin(0)) / 2
    v = 2 * torch.rand(STARTS, len(half), generator=generator, dtype=y.dtype) - 1
    v = v / v.abs().amax(-1, keepdim=True)
    return model.state_retract(level.expand(STARTS, -1), middle + reach * half * v)


def _inputs(case: Fitted, generator: torch.Generator) -> Tensor:
    """u (STARTS, HORIZON, nu), new every five steps, as large as in the data."""
    u = torch.tensor(np.concatenate([log.u for log in case.train]))
    low, high = u.amin(0), u.amax(0)
    drawn = torch.rand(STARTS, -(-HORIZON // 5), u.shape[-1], generator=generator, dtype=u.dtype)
    return (low + (high - low) * drawn).repeat_interleave(5, dim=-2)[:, :HORIZON]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Are intervals calibrated?")
    parser.add_argument("--quick", action="store_true", help="fewer logs and epochs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--systems", nargs="*", default=SYSTEMS, choices=SYSTEMS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = rows(given.systems, given.seeds, quick=given.quick)
    return 0 if publish("Uncertainty", found, given.json) else 1


if __name__ == "__main__":
    sys.exit(main())
