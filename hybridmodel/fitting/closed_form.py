"""`regress`: a residual whose weights are the solution of a regression.

θ = argmin Σ ‖r_θ(z) − r*‖²,    r* what each single step would have needed (`targets`)
"""

from __future__ import annotations

import time

import torch

from hybridmodel.batches import batch
from hybridmodel.data import Dataset
from hybridmodel.fitting.loss import output_scale, validation_error
from hybridmodel.fitting.noise import one_step_noise
from hybridmodel.fitting.result import FitResult, settled, without_residual
from hybridmodel.fitting.targets import standardized, targets
from hybridmodel.model import HybridModel
from residuals import Regressed


def regress(
    model: HybridModel,
    train: Dataset,
    validation: Dataset,
    *,
    horizon: int = 20,
    stride: int = 1,
) -> FitResult:
    """Solve for the residual of a copy of `model`, its declared parameters held as they are.

    One-step targets carry the noise of the logs divided by dt: smooth noisy logs first, or `fit`
    over longer horizons. `horizon` is that of the validation error alone. Raises ValueError where
    the residual has no closed form.
    """
    started = time.perf_counter()
    if not isinstance(model.residual, Regressed):
        found = type(model.residual).__name__
        raise ValueError(f"model: its residual {found} has no closed form; use `fit`")
    model = standardized(model, train)
    found = targets(model, train)
    with torch.no_grad():
        model.residual.solve(found.z, found.r)  # type: ignore[union-attr]
    held_out, scale = batch(model, validation, horizon, stride=stride), output_scale(model, train)
    error = validation_error(model, held_out, scale)
    physics = validation_error(without_residual(model), held_out, scale)
    model.noise.copy_(one_step_noise(model, validation))
    return FitResult(
        model=settled(model),
        history=(),
        validation=error,
        physics=physics,
        stopped="converged",
        seconds=time.perf_counter() - started,
    )
