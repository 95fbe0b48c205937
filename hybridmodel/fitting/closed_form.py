"""`regress`: a residual whose weights are the solution of a regression.

θ = argmin Σ ‖r_θ(z) − r*‖²,    r* what each single step would have needed (`targets`)
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence

import torch

from hybridmodel.batches import batch
from hybridmodel.data import Dataset
from hybridmodel.fitting.loss import output_scale, validation_error
from hybridmodel.fitting.noise import one_step_noise
from hybridmodel.fitting.result import FitResult, settled, without_residual
from hybridmodel.fitting.targets import Targets, standardized, targets
from hybridmodel.model import HybridModel
from residuals import Regressed


def thinned(found: Targets, residual: object) -> Targets:
    """Every so many rows, evenly, where a residual takes no more than a `maximum`."""
    every = -(-len(found.z) // getattr(residual, "maximum", len(found.z)))
    return Targets(found.z[::every], found.r[::every])


def regress(
    model: HybridModel,
    train: Dataset,
    validation: Dataset,
    *,
    spans: Sequence[int] = (1,),
    horizon: int = 20,
    stride: int = 1,
) -> FitResult:
    """Solve for the residual of a copy of `model`, its declared parameters held as they are.

    spans     steps that each target is taken over: with one step it carries the noise of the logs
              divided by dt, with several less of it and less detail; of several spans the one
              with the least validation error is kept
    horizon   of that error

    Where no span has less of it than the model as it came in, which is the physics alone while
    its residual is untrained, the model is returned as it came in and `stopped` is "unimproved".
    The history has a row for each span and before them one for none, span 0; the least is kept.

    A residual that takes no more than so many rows (`GaussianProcess.maximum`) has every n-th.

    Raises ValueError where the residual has no closed form, or naming the argument.
    """
    started = time.perf_counter()
    if not isinstance(model.residual, Regressed):
        family = type(model.residual).__name__
        raise ValueError(f"model: its residual {family} has no closed form; use `fit`")
    if not spans:
        raise ValueError("spans must name at least one number of steps")
    held_out, scale = batch(model, validation, horizon, stride=stride), output_scale(model, train)
    physics = validation_error(without_residual(model), held_out, scale)
    start = standardized(model, train)
    found = [(validation_error(start, held_out, scale), start)]
    for span in spans:
        candidate = copy.deepcopy(start)
        wanted = thinned(targets(candidate, train, span), candidate.residual)
        with torch.no_grad():
            candidate.residual.solve(wanted.z, wanted.r)  # type: ignore[union-attr,operator]
        found.append((validation_error(candidate, held_out, scale), candidate))
    error, model = min(found, key=lambda pair: pair[0])
    history = [
        {"span": float(span), "validation": value, "physics": physics}
        for span, (value, _) in zip((0, *spans), found, strict=True)
    ]
    model.noise.copy_(one_step_noise(model, validation))
    return FitResult(
        model=settled(model),
        history=tuple(history),
        validation=error,
        physics=physics,
        stopped="unimproved" if model is start else "converged",
        seconds=time.perf_counter() - started,
    )
