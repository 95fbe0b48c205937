"""The residual in a set's model: where it acts, the scales of it and its features, its coverage."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.hardware.families import Perceptron, Scales
from benchmarks.hardware.free_runs import FreeRuns, Runs
from benchmarks.hardware.measured import MeasuredSet
from hybridmodel import Dataset, HybridModel, placement
from hybridmodel.batches import batch
from hybridmodel.placement import Placement
from physics import System
from residuals import Residual, Supported


def with_residual(
    measured: MeasuredSet, system: System, residual: Residual, features: tuple[str, ...]
) -> HybridModel:
    """The physics with a residual where the set is uncertain."""
    return HybridModel(
        system,
        residual,
        dt=measured.train.dt,
        substeps=measured.substeps,
        fit_parameters=measured.fit_parameters,
        placement=corrected(measured),
        features=features,
        hold=True,
    )


def corrected(measured: MeasuredSet) -> Placement:
    """Where the residual acts."""
    if measured.corrected is not None:
        return measured.corrected
    return placement.force if measured.system.takes_force else placement.derivative


def scales(probe: HybridModel, logs: Dataset, found: Runs, scale: np.ndarray) -> Scales:
    """Of the features over the logs; of r so that it could, held constant, explain the error."""
    z = _features(probe, logs).numpy()
    spread = z.std(0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    low, high = np.quantile(z, 0.1, 0), np.quantile(z, 0.9, 0)
    signed = np.flatnonzero((low < -0.1 * spread) & (high > 0.1 * spread))
    nr = len(probe.placement.signals(probe.system))
    unit = Scales(z.mean(0), spread, np.ones(nr), tuple(signed.tolist()))
    form = Perceptron(unit, 1, 1.0)
    problem = FreeRuns(probe, scale, form)
    error, _, A = problem.normal(found, np.concatenate([np.zeros(problem.count), form.start(0)]))
    output = np.sqrt(error / np.maximum(np.diag(A)[-nr:], 1e-12))
    return Scales(unit.mean, spread, output, unit.signed)


def _features(model: HybridModel, logs: Dataset) -> torch.Tensor:
    """z (N, nz) at every logged sample."""
    windows = batch(model, logs, 1)
    with torch.no_grad():
        return model.residual_features(windows.x0(model), windows.u[:, 0], windows.d[:, 0])


def cover(model: HybridModel, logs: Dataset) -> None:
    """Where there were data the residual acts in full."""
    _reach(model, _features(model, logs))


def cover_runs(model: HybridModel, found: Runs) -> None:
    """The same for states that only the model itself knows: where its own free runs went."""
    x0, u, d = (torch.as_tensor(v) for v in (found.x0, found.u, found.d))
    if found.initial:
        names = [model.fit_parameters[i] for i in found.initial]
        x0 = torch.tensor([[float(getattr(model.system, name)) for name in names]]).to(u)
    with torch.no_grad():
        x = model.rollout(x0.expand(len(u), -1), u, d)[:, :-1]
        z = model.residual_features(x, u, d).flatten(0, 1)
    _reach(model, z)


def _reach(model: HybridModel, z: torch.Tensor) -> None:
    """Take the features z (N, nz) as where the data were."""
    supported = model.residual
    if isinstance(supported, Supported):
        deviation = z.std(0)
        supported.support.standardize(z.mean(0), torch.where(deviation > 1e-9, deviation, 1.0))
        supported.cover(z)
