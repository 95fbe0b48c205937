"""`identify`: the declared parameters alone, by Levenberg–Marquardt from several starts."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping

import numpy as np
import scipy.optimize
import torch

from hybridmodel.batches import batch
from hybridmodel.data import Dataset
from hybridmodel.fitting.loss import misfit, output_scale, validation_error
from hybridmodel.fitting.noise import one_step_noise
from hybridmodel.fitting.result import FitResult, Progress, settled, without_residual
from hybridmodel.model import HybridModel

FARTHEST = 30.0  # |ϑ| of a parameter in a bounded domain: a factor of 1e13


def identify(
    model: HybridModel,
    train: Dataset,
    validation: Dataset,
    *,
    horizon: int = 20,
    starts: int = 5,
    spread: float = 0.3,
    stride: int = 1,
    iterations: int = 30,
    prior: float = 1e-6,
    seed: int = 0,
    progress: Progress | None = None,
) -> FitResult:
    """Fit the declared parameters alone, the residual held as it is.

        min over ϑ of  mean ((ŷ − y) / s)² + prior · ‖ϑ‖²

    Levenberg–Marquardt from the given values and `starts − 1` random ones around them (deviation
    `spread` in ϑ); the result with the least validation error is returned. The prior keeps
    combinations that the logs do not identify near the given values. ‖ϑ‖ = 1 is a factor e on
    a positive parameter. Ctrl-C ends it with the best of the starts so far. Raises ValueError
    naming the argument.
    """
    started = time.perf_counter()
    if not model.fit_parameters:
        raise ValueError("model.fit_parameters is empty: there is nothing to identify")
    if starts < 1 or iterations < 1:
        raise ValueError(f"starts and iterations must be at least 1, got {starts}, {iterations}")
    if not (prior >= 0 and spread >= 0):
        raise ValueError(f"prior and spread must be at least 0, got {prior}, {spread}")
    windows = batch(model, train, horizon, stride=stride)
    held_out = batch(model, validation, horizon, stride=stride)
    scale = output_scale(model, train)
    physics = validation_error(without_residual(model), held_out, scale)
    equations = model.torch_equations
    size = math.sqrt(windows.y[:, 1:].numel())

    def misfits(thetas: np.ndarray) -> np.ndarray:
        """Residual vectors (S, n) of S parameter vectors (S, np) in one batched rollout."""
        theta = torch.as_tensor(thetas, dtype=scale.dtype)
        with torch.no_grad():
            p = equations.constrain(theta)[:, None, :]
            error = misfit(model, windows, scale, p).flatten(1) / size
            rows = torch.cat([error, math.sqrt(prior) * theta], -1)
        # rollouts that blow up become large finite numbers, which a step walks away from
        return torch.nan_to_num(rows, nan=1e6).clamp(-1e6, 1e6).numpy()

    def value(theta: np.ndarray) -> np.ndarray:
        return misfits(theta[None])[0]

    def jacobian(theta: np.ndarray) -> np.ndarray:
        # central differences, all in one batch: ten times faster than forward mode here
        h = 1e-5 * np.eye(len(theta))
        rows = misfits(np.concatenate([theta + h, theta - h]))
        return (rows[: len(theta)] - rows[len(theta) :]).T / 2e-5

    # a parameter that the data want at the edge of its domain would run to ϑ = ±∞, where p rounds
    # onto that edge
    bounded = [model.system.parameters[name].domain != "real" for name in model.fit_parameters]
    reach = np.where(bounded, FARTHEST, np.inf)
    generator = np.random.default_rng(seed)
    found: list[tuple[float, HybridModel]] = []
    history: list[Mapping[str, float]] = []
    stopped = "converged"
    try:
        for start in range(starts):
            offset = spread * generator.standard_normal(len(model.theta)) if start else 0.0
            theta = np.clip(model.theta.detach().numpy() + offset, -reach, reach)
            solution = scipy.optimize.least_squares(
                value,
                theta,
                jacobian,
                bounds=(-reach, reach),
                method="trf",
                max_nfev=iterations,
                x_scale="jac",
            )
            candidate = copy.deepcopy(model)
            candidate.theta.data.copy_(torch.as_tensor(solution.x))
            error = validation_error(candidate, held_out, scale)
            found.append((error, candidate))
            row = {
                "stage": start,
                "horizon": horizon,
                "epoch": int(solution.nfev),
                "loss": float(2 * solution.cost),
                "validation": error,
                "best": min(e for e, _ in found),
                "physics": physics,
                "seconds": time.perf_counter() - started,
            }
            history.append(row)
            if progress is not None:
                progress(row)
    except KeyboardInterrupt:
        stopped = "interrupted"
    found = found or [(validation_error(model, held_out, scale), model)]
    error, best = min(found, key=lambda pair: pair[0])
    best.noise.copy_(one_step_noise(best, validation))
    return FitResult(
        model=settled(best),
        history=tuple(history),
        validation=error,
        physics=physics,
        stopped=stopped,
        seconds=time.perf_counter() - started,
    )
