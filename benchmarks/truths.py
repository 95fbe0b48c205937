"""What studies of placements and families share: a truth, its logs, errors, rows over seeds.

A truth is a System whose effect the model does not know. Logs are its free runs, integrated with
four RK4 steps a sample, with white noise on what is measured; the states they hold beside that are
exact, and errors are taken against them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np
import torch

from benchmarks.figures import Row
from hybridmodel.batches import batch, outputs
from hybridmodel.data import Dataset, Trajectory
from hybridmodel.excitation import Multisine
from hybridmodel.fitting import fit
from hybridmodel.model import HybridModel
from hybridmodel.placement import Placement, acceleration
from physics import Around, System
from residuals import MLP

FIRST_SEED, SEEDS = 60, 3
Law = Callable[[ca.SX, ca.SX, SimpleNamespace, ca.SX], Any]  # (x, u, p, d) ↦ ẋ, x⁺ or y
Study = Callable[[int, bool], list[Row]]  # (seed, quick) ↦ the figures of that seed


@dataclass(frozen=True, kw_only=True)
class Truth(Around):
    """A system with another law: ẋ (x⁺ of a discrete one) = law(x, u, p, d), y = sensor(…)."""

    law: Law | None = None
    sensor: Law | None = None

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return (self.law or self.system.dynamics)(x, u, p, d)

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return (self.sensor or self.system.output)(x, u, p, d)


@dataclass(frozen=True)
class Plan:
    """How a truth is logged: `count` logs of `steps` samples every dt [s].

    start   half widths of the uniform initial states, about `center`
    noise   deviation of the outputs, as a share of each one's own over the logs
    """

    dt: float
    steps: int
    count: int
    start: tuple[float, ...]
    center: tuple[float, ...] = ()
    amplitude: float = 0.7
    band: tuple[float, float] = (0.1, 1.5)
    noise: float = 0.005


def logged(
    truth: System,
    plan: Plan,
    seed: int,
    *,
    exogenous: Callable[[np.random.Generator], np.ndarray] | None = None,
    still: bool = False,
    visible: System | None = None,
) -> Dataset:
    """Logs of a truth; d (steps, nd) of each log is drawn by `exogenous`, `still` is u = 0.

    visible   what the logs are of, where the truth has further states at the end, or an exogenous
              signal, that nobody sees
    """
    random = np.random.default_rng((5, seed))
    wide = np.array(plan.start)
    center = np.array(plan.center or np.zeros(len(wide)))
    x0 = center + wide * random.uniform(-1, 1, (plan.count, len(wide)))
    u = np.zeros((plan.count, plan.steps, truth.nu))
    if truth.nu and not still:
        wave = Multisine(truth.inputs, amplitude=plan.amplitude, band=plan.band)
        for i in range(plan.count):
            wave.reset(1000 * seed + i)
            u[i] = [wave(k * plan.dt, np.zeros(0)) for k in range(plan.steps)]
    d = np.zeros((plan.count, plan.steps, truth.nd))
    if exogenous is not None:
        d = np.stack([exogenous(random) for _ in range(plan.count)])
    plant = HybridModel(truth, dt=plan.dt, substeps=1 if truth.dt else 4)
    with torch.no_grad():
        X, U, D = (torch.as_tensor(v) for v in (x0, u, d))
        x = plant.rollout(
            plant.initial_state(X, 0 * U[:, :1].expand(-1, plant.memory_steps, -1)), U, D
        )
        U, D = (torch.cat([v[:, :1], v], 1) for v in (U, D))
        y = plant.output(x, U, D).numpy()
    x = x[..., : len(truth.states)].numpy()
    if visible is not None:
        x, y, d = x[..., : visible.nx], y[..., : visible.ny], d[..., : visible.nd]
    y = y + plan.noise * y.std((0, 1)) * random.standard_normal(y.shape)
    t = plan.dt * np.arange(plan.steps + 1, dtype=np.float64)
    return Dataset(Trajectory(t=t, u=u[i], y=y[i], d=d[i], x=x[i]) for i in range(len(u)))


def split(truth: System, plan: Plan, seed: int, **options: Any) -> tuple[Dataset, Dataset, Dataset]:
    """Logs for training, for stopping and for testing, the latter with other waves."""
    few = replace(plan, count=max(2, plan.count // 2))
    return (
        logged(truth, plan, seed, **options),
        logged(truth, few, seed + 100, **options),
        logged(truth, few, seed + 200, **options),
    )


def trained(
    model: HybridModel,
    train: Dataset,
    validation: Dataset,
    quick: bool,
    *,
    horizons: Sequence[int] = (1, 10),
    epochs: Sequence[int] = (80, 20),
    **options: Any,
) -> HybridModel:
    """A fit that is the same for all models of a study."""
    epochs = (2,) * len(horizons) if quick else epochs
    # no price on r: it is in the units of r, and so another one for each placement
    options = {"stride": 2, "batch_size": 128, "residual_penalty": 0.0} | options
    return fit(model, train, validation, horizons=horizons, epochs=epochs, **options).model


def network(seed: int, hidden: Sequence[int] = (24, 24)) -> MLP:
    """The network that all models of a study share."""
    return MLP(hidden, seed=seed)


def physics_of(model: HybridModel) -> HybridModel:
    """The same model without its residual."""
    return HybridModel(
        model.system, dt=model.dt, integrator=model.integrator, substeps=model.substeps
    )


def error(model: HybridModel, data: Dataset, horizon: int) -> float:
    """RMSE [%] of free runs over all of `horizon` steps against exact states, each of its range."""
    windows = batch(model, data, horizon, stride=5, start="true")
    with torch.no_grad():
        predicted = model.rollout(windows.x0(model), windows.u, windows.d)
        truth = windows.y if windows.x is None else windows.x
        apart = (predicted[..., : truth.shape[-1]] - truth)[:, 1:].nan_to_num(nan=torch.inf)
    span = torch.as_tensor(
        np.ptp(np.concatenate([log.x for log in data if log.x is not None]), axis=0)
    )
    return 100 * float((apart / span).square().mean().sqrt())


def remembered(model: HybridModel, data: Dataset, horizon: int, history: int) -> float:
    """`error` of runs that begin after `history` steps, of which a model sees what it remembers."""
    return error(model, Dataset(log[history - model.memory_steps :] for log in data), horizon)


def output_error(model: HybridModel, data: Dataset, horizon: int) -> float:
    """RMSE [%] of what sensors will say, of runs from exact states, each of its range."""
    windows = batch(model, data, horizon, stride=5, start="true")
    with torch.no_grad():
        apart = (outputs(model, windows) - windows.y)[:, 1:]
    span = torch.as_tensor(np.ptp(np.concatenate([log.y for log in data]), axis=0))
    return 100 * float((apart / span).square().mean().sqrt())


def rivals(
    what: str, errors: dict[str, float], right: str, usual: str, bar: str = "< 1"
) -> list[Row]:
    """An error [%] of each model, and the right one's over the usual one's."""
    rows = [Row(f"{what}, {name}", value, "%") for name, value in errors.items()]
    ratio = errors[right] / errors[usual]
    return [*rows, Row(f"{what}, {right} / {usual}", ratio, "×", bar)]


def over_seeds(name: str, study: Study, quick: bool) -> list[Row]:
    """The figures of a study, medians over the seeds with the lowest and highest."""
    seeds = range(FIRST_SEED, FIRST_SEED + (1 if quick else SEEDS))
    runs = [study(seed, quick) for seed in seeds]
    found = []
    for same in zip(*runs, strict=True):
        values = [row.value for row in same]
        found.append(
            replace(
                same[0],
                figure=f"{name}: {same[0].figure}",
                value=float(np.median(values)),
                seeds=len(values),
                spread=(min(values), max(values)) if len(values) > 1 else None,
            )
        )
    return found


def placed(
    system: System, seed: int, dt: float, placement: Placement = acceleration, **options: Any
) -> HybridModel:
    """A model with the shared network at a placement."""
    residual = options.pop("residual", None) or network(seed)
    return HybridModel(system, residual, dt=dt, placement=placement, **options)
