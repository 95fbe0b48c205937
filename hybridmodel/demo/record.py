"""A demonstration on disk: everything its report needs, and its summary in numbers.

    summary.json              verdict, errors, costs, times, settings, versions, command
    metrics.jsonl             one line an epoch of every fit
    logs/*.npz                train, validation, test
    models/*.safetensors      the four models
    control/PLANNER-ROW.npz   closed loop and every plan

Files hold the first seed; the summary holds all seeds.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import io
import json
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.baselines import ROWS
from hybridmodel.checkpoint import load, save
from hybridmodel.data import Dataset, Trajectory, load_npz, save_npz
from hybridmodel.demo.pipeline import Outcome, Run
from hybridmodel.evaluation import Evaluation, evaluate
from hybridmodel.files import write_atomically
from hybridmodel.model import HybridModel
from hybridmodel.planners import Plan, Status
from hybridmodel.tasks.named import TASKS
from hybridmodel.tasks.task import Control, Figure, Score, Task

STEPS = (1, 20, 50)
LABELS = {"gradient": "multiple shooting", "cem": "CEM"}
PACKAGES = ("hybridmodel", "torch", "casadi", "numpy", "scipy", "gymnasium", "pybullet", "mujoco")


@dataclass(frozen=True)
class Record:
    """A demonstration read back from its folder."""

    folder: Path
    summary: Mapping[str, Any]
    task: Task
    train: Dataset
    validation: Dataset
    test: Dataset
    models: Mapping[str, HybridModel]
    errors: Mapping[str, Evaluation]
    runs: Mapping[tuple[str, str], Run]
    metrics: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def summarize(
    outcomes: Sequence[Outcome], *, quick: bool, command: str, wall_seconds: float
) -> dict[str, Any]:
    """All numbers of a demonstration as JSON data: medians over seeds, and every seed."""
    seeds = [_one_seed(outcome) for outcome in outcomes]
    first = outcomes[0]
    median = _over_seeds(seeds, np.median)
    interval = {
        "low": _over_seeds(seeds, lambda v: np.quantile(v, 0.025)),
        "high": _over_seeds(seeds, lambda v: np.quantile(v, 0.975)),
    }
    return {
        "task": first.task.name,
        "title": first.task.title,
        "story": first.task.story,
        "quick": quick,
        "engine": first.engine,
        "command": command,
        "wall_seconds": wall_seconds,
        "seconds_by_stage": dict(first.seconds),
        "seconds_of_data": first.train.seconds + first.validation.seconds,
        "goal": first.task.control.goal,
        "figures": [dataclasses.asdict(figure) for figure in first.task.control.figures],
        "verdict": verdict(median, first.task.control, len(outcomes)),
        **median,
        "interval": interval if len(outcomes) > 1 else None,
        "seeds": {str(outcome.seed): seed for outcome, seed in zip(outcomes, seeds, strict=True)},
        "network_sweep": {f"{rate:g}": error for rate, error in first.sweep.items()},
        "parameters": {
            "nominal": {name: float(v) for name, v in first.task.system.parameters.items()},
            "true": first.task.truth(),
            "identified": first.models["identified"].parameter_values(),
            "hybrid": first.models["hybrid"].parameter_values(),
        },
        "settings": {
            name: value if isinstance(value, str | int | float | bool | None) else str(value)
            for name, value in first.settings.items()
        },
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES if _installed(name)},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def verdict(numbers: Mapping[str, Any], goal: Control, seeds: int) -> dict[str, Any]:
    """Whether the hybrid wins, and the reasons: each a sentence and whether it holds."""
    prediction, control = numbers["prediction"], numbers["control"]
    last = str(STEPS[-1])
    reasons = [
        _reason(
            f"prediction at {last} steps: hybrid {prediction['hybrid'][last]:.3g}, "
            f"{row} {prediction[row][last]:.3g}",
            prediction["hybrid"][last] < prediction[row][last],
        )
        for row in ROWS[:-1]
    ]
    by = goal.figures[0]
    for planner in goal.planners:
        hybrid = control[planner]["hybrid"]
        reasons.append(
            _reason(
                f"{LABELS[planner]}: hybrid {goal.goal}"
                + (f" in {hybrid['success']:.0%} of {seeds} seeds" if seeds > 1 else ""),
                hybrid["success"] == 1.0,
            )
        )
        reasons += [
            _reason(
                f"{LABELS[planner]}: hybrid {by.says} {shown(by, hybrid[by.name])}, "
                f"{row} {shown(by, control[planner][row][by.name])}",
                hybrid[by.name] <= control[planner][row][by.name],
            )
            for row in ("physics", "identified")
        ]
    return {"wins": all(reason["holds"] for reason in reasons), "reasons": reasons}


def shown(figure: Figure, value: float) -> str:
    """The value in the figure's unit."""
    value *= figure.factor
    text = f"{value:.3g}" if not 1e3 <= abs(value) < 1e6 else f"{value:.0f}"
    return f"{text} {figure.unit}".rstrip()


def write_record(folder: Path, outcome: Outcome, summary: Mapping[str, Any]) -> None:
    """Write the first seed's outcome and the summary, each file atomically."""
    for name in ("logs", "models", "control"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("train", "validation", "test"):
        save_npz(getattr(outcome, name), folder / "logs" / f"{name}.npz")
    for row, model in outcome.models.items():
        save(model, folder / "models" / f"{row}.safetensors")
    for (planner, row), run in outcome.runs.items():
        write_atomically(folder / "control" / f"{planner}-{row}.npz", _run_bytes(run))
    lines = [
        json.dumps({"row": row, **epoch})
        for row, fit in outcome.fits.items()
        for epoch in fit.history
    ]
    write_atomically(folder / "metrics.jsonl", ("\n".join(lines) + "\n").encode())
    text = json.dumps(_finite(summary), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / "summary.json", text.encode())


def read_summary(folder: str | Path) -> dict[str, Any]:
    """summary.json of a demonstration's folder; ValueError where there is none."""
    try:
        summary = json.loads((Path(folder) / "summary.json").read_text(encoding="utf-8"))
        return _infinite(summary)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{folder} is no run folder: it has no readable summary.json") from None


def read_record(folder: str | Path) -> Record:
    """Read a demonstration's folder; ValueError where it is none or a file is damaged."""
    folder = Path(folder)
    try:
        summary = read_summary(folder)
        task = TASKS[summary["task"]]()
        task = task.quick() if summary["quick"] else task
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        metrics = [json.loads(line) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} holds no demonstration: {error}") from None
    models = {row: load(folder / "models" / f"{row}.safetensors") for row in ROWS}
    test = load_npz(folder / "logs" / "test.npz")
    return Record(
        folder=folder,
        summary=summary,
        task=task,
        train=load_npz(folder / "logs" / "train.npz"),
        validation=load_npz(folder / "logs" / "validation.npz"),
        test=test,
        models=models,
        errors={
            row: evaluate(models[row], test, horizon=STEPS[-1], stride=task.error_stride)
            for row in ROWS
        },
        runs={
            (planner, row): _read_run(folder / "control" / f"{planner}-{row}.npz")
            for planner in task.control.planners
            for row in ROWS
        },
        metrics=metrics,
    )


def _finite(value: Any) -> Any:
    """The same tree for JSON, which has no ∞: a diverged figure becomes null."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
    return value


def _infinite(value: Any) -> Any:
    """Figures back from JSON: null under prediction and control is ∞."""
    interval = value.get("interval") or {}
    for part in (value, *interval.values(), *value["seeds"].values()):
        for name in ("prediction", "control"):
            if name in part:
                part[name] = _without_null(part[name])
    return value


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items()}
    return math.inf if value is None else value


def _one_seed(outcome: Outcome) -> dict[str, Any]:
    errors = {
        row: {str(k): error.at(k) for k in STEPS if k <= len(error.rmse)}
        for row, error in outcome.errors.items()
    }
    control: dict[str, dict[str, Any]] = {}
    for planner in outcome.task.control.planners:
        control[planner] = {}
        for row in ROWS:
            run = outcome.runs[planner, row]
            ms = run.milliseconds()
            control[planner][row] = {
                "cost": run.score.cost,
                "success": float(run.score.success),
                **run.score.figures,
                "ms_per_plan_median": float(np.median(ms)),
                "ms_per_plan_p99": float(np.quantile(ms, 0.99)),
                "plans": len(ms),
                "not_fresh": sum(run.events.values()),
            }
    return {"prediction": errors, "control": control}


def _over_seeds(seeds: Sequence[Any], reduce: Callable[[Any], Any]) -> Any:
    """The same tree with every number reduced over seeds; success becomes a share."""
    if isinstance(seeds[0], Mapping):
        return {
            key: float(np.mean([s[key] for s in seeds]))
            if key == "success"
            else _over_seeds([s[key] for s in seeds], reduce)
            for key in seeds[0]
        }
    return float(reduce(np.array(seeds)))


def _reason(text: str, holds: bool) -> dict[str, Any]:
    return {"text": text, "holds": bool(holds)}


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _run_bytes(run: Run) -> bytes:
    log, plans = run.trajectory, [plan for _, plan in run.plans]
    assert log.x is not None
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        t=log.t,
        u=log.u,
        y=log.y,
        x=log.x,
        cost=run.score.cost,
        success=run.score.success,
        figures=np.array(json.dumps(dict(run.score.figures))),
        events=np.array(json.dumps(dict(run.events))),
        plan_t=np.array([t for t, _ in run.plans]),
        plan_u=np.array([plan.u for plan in plans]),
        plan_x=np.array([plan.x for plan in plans]),
        plan_cost=np.array([plan.cost for plan in plans]),
        plan_status=np.array([plan.status.name for plan in plans]),
        plan_iterations=np.array([plan.iterations for plan in plans]),
        plan_seconds=np.array([plan.seconds for plan in plans]),
    )
    return buffer.getvalue()


def _read_run(path: Path) -> Run:
    try:
        with np.load(path, allow_pickle=False) as f:
            a = {name: f[name] for name in f.files}
        log = Trajectory(t=a["t"], u=a["u"], y=a["y"], x=a["x"])
        plans = tuple(
            (
                float(a["plan_t"][k]),
                Plan(
                    u=a["plan_u"][k],
                    x=a["plan_x"][k],
                    cost=float(a["plan_cost"][k]),
                    status=Status[str(a["plan_status"][k])],
                    iterations=int(a["plan_iterations"][k]),
                    seconds=float(a["plan_seconds"][k]),
                ),
            )
            for k in range(len(a["plan_t"]))
        )
        events = json.loads(str(a["events"]))
        score = Score(float(a["cost"]), bool(a["success"]), json.loads(str(a["figures"])))
        return Run(log, score, plans, events)
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is no closed loop of a demonstration: {error}") from None
