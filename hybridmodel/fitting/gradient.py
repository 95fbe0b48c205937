"""`fit`: residual and parameters together, over a curriculum of horizons.

    L(θ, ϑ) = misfit over windows, steps 1…H and outputs (`loss`) + λ mean r_θ(z)²

θ and ϑ move together (Adam, cosine-annealed, gradients clipped). An ensemble's members are
trained in one batch, each on a bootstrap of the windows.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hybridmodel.batches import Batch, batch
from hybridmodel.data import Dataset
from hybridmodel.fitting.loss import output_scale, training_loss, validation_error
from hybridmodel.fitting.noise import one_step_noise
from hybridmodel.fitting.result import FitResult, Progress, settled, without_residual
from hybridmodel.fitting.resume import Run
from hybridmodel.fitting.starts import Starts
from hybridmodel.fitting.targets import standardized
from hybridmodel.model import HybridModel
from residuals import Probabilistic


def fit(
    model: HybridModel,
    train: Dataset,
    validation: Dataset,
    *,
    horizons: Sequence[int] = (1, 5, 20),
    epochs: int | Sequence[int] = 40,
    batch_size: int = 256,
    stride: int = 1,
    rate: float = 5e-3,
    parameter_rate: float = 2e-2,
    residual_penalty: float = 1e-4,
    loss: Literal["mse", "likelihood"] = "mse",
    noise: Mapping[str, float] | None = None,
    initial: Literal["measured", "estimated"] = "measured",
    per_log: Sequence[str] = (),
    patience: int = 15,
    clip: float = 1.0,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Fit the residual and the declared parameters of a copy of `model`.

    horizons        H of each stage of the curriculum, increasing
    epochs          of each stage, one number or one a stage
    rate, parameter_rate   Adam's step for θ and ϑ, cosine-annealed within each stage
    residual_penalty       λ
    loss            "likelihood" adds that of the first step, which trains the variance of a
                    probabilistic residual; the system must measure its states
    noise           deviation of each output's measurement, by name in its unit; default: what a
                    free run of the physics leaves; weighs the outputs when starts are estimated
    initial         "estimated": windows start from states that fit their own samples best, found
                    anew before each epoch, instead of from the measured ones
    per_log         parameters, among the model's, that have a value of their own in each log of
                    `train`; the model keeps their mean, the result holds all
    patience        a stage ends after this many epochs without a better validation error,
                    always taken over the longest horizon; the next one starts from its best
                    weights, and the best of all are returned
    clip            largest norm of the gradient
    checkpoint      a file that is written after every epoch; a call with the same arguments goes
                    on from it, to the same bits as a call that was never stopped
    progress        called after every epoch with its history row

    An untrained residual takes its scales from the data, a trained one keeps those it has. Ctrl-C
    ends it with the best model so far. Raises ValueError naming the argument.
    """
    horizons = tuple(horizons)
    budget = (epochs,) * len(horizons) if isinstance(epochs, int) else tuple(epochs)
    if not horizons or min(horizons) < 1 or list(horizons) != sorted(set(horizons)):
        raise ValueError(f"horizons must increase from at least 1, got {horizons}")
    if len(budget) != len(horizons) or min(budget) < 1:
        raise ValueError(f"epochs must be one number or {len(horizons)}, all ≥ 1, got {epochs}")
    if batch_size < 1 or not (rate > 0 and parameter_rate > 0 and residual_penalty >= 0):
        raise ValueError("batch_size, rate, parameter_rate must be positive, residual_penalty ≥ 0")
    if patience < 1:
        raise ValueError(f"patience must be at least 1, got {patience}")
    if not clip > 0:
        raise ValueError(f"clip must be positive, got {clip}")
    if loss not in ("mse", "likelihood"):
        raise ValueError(f"loss must be 'mse' or 'likelihood', got {loss!r}")
    if initial not in ("measured", "estimated"):
        raise ValueError(f"initial must be 'measured' or 'estimated', got {initial!r}")
    if model.residual is None and not model.fit_parameters:
        raise ValueError("model has nothing to fit: no residual and no fit_parameters")
    if loss == "likelihood" and model.system.outputs != model.system.states:
        raise ValueError(
            f"loss: 'likelihood' needs measured states, and {type(model.system).__name__} "
            f"measures {[s.name for s in model.system.outputs]}: use 'mse'"
        )
    own = _own_rows(model, per_log)
    guess = "guessed" if initial == "estimated" else "measured"

    held_out = batch(model, validation, horizons[-1], stride=stride, start=guess)
    scale = output_scale(model, train)
    starts = Starts(model, train, scale, noise) if initial == "estimated" else None
    bare = without_residual(model)
    physics = validation_error(bare, starts(bare, held_out) if starts else held_out, scale)
    model = standardized(model, train)
    log_noise = None
    if loss == "likelihood":
        log_noise = torch.nn.Parameter(one_step_noise(model, validation).log())
    shifts = torch.nn.Parameter(model.theta.new_zeros(len(train), len(own)))
    weights = [] if model.residual is None else list(model.residual.parameters())
    run = Run(
        model,
        {"weights": weights, "theta": [model.theta], "shifts": [shifts], "noise": [log_noise]},
        {"weights": rate, "theta": parameter_rate, "shifts": parameter_rate, "noise": rate},
        seed,
    )

    def judged(model: HybridModel) -> tuple[float, float]:
        """The error on the validation logs, and what the best epoch is chosen by."""
        begun = starts(model, held_out) if starts else held_out
        error = validation_error(model, begun, scale)
        if log_noise is None:
            return error, error
        with torch.no_grad():
            merit = training_loss(
                model, begun, scale, p=model.physical(), penalty=0.0, log_noise=log_noise
            )
        return error, float(torch.nan_to_num(merit, nan=torch.inf))

    count = model.residual.count if isinstance(model.residual, Probabilistic) else 1
    arguments = {
        "horizons": horizons, "epochs": budget, "batch_size": batch_size, "stride": stride,
        "rate": rate, "parameter_rate": parameter_rate, "penalty": residual_penalty,
        "loss": loss, "noise": dict(noise or {}), "initial": initial, "per_log": tuple(per_log),
        "patience": patience, "clip": clip, "seed": seed,
    }  # fmt: skip
    if checkpoint is None or not run.resume(checkpoint, arguments, (train, validation)):
        run.best, run.merit = judged(model)
    started = time.perf_counter() - run.seconds
    stopped = "budget"
    try:
        for stage in range(run.stage, len(horizons)):
            horizon, most = horizons[stage], budget[stage]
            windows = batch(model, train, horizon, stride=stride, start=guess)
            drawn = _bootstrap(len(windows), count, seed)
            if run.stage_begins(stage):
                stopped = "budget"
            for epoch in range(run.epoch, most):
                if run.since >= patience:
                    stopped = "converged"
                    break
                run.anneal((1 + math.cos(math.pi * epoch / most)) / 2)
                begun = (
                    starts(model, windows, _own(model, shifts, own, windows)) if starts else windows
                )
                model.train()
                losses = []
                for index in run.order(drawn.shape[-1]).split(batch_size):
                    run.optimizer.zero_grad()
                    part = begun.at(drawn[:, index] if count > 1 else index)
                    value = training_loss(
                        model,
                        part,
                        scale,
                        p=_own(model, shifts, own, part),
                        penalty=residual_penalty,
                        log_noise=log_noise,
                    )
                    if not torch.isfinite(value):
                        continue  # a rollout that blew up says nothing; the next batch may
                    value.backward()
                    slope = torch.nn.utils.clip_grad_norm_(run.moved, clip)
                    if not torch.isfinite(slope):
                        continue
                    run.optimizer.step()
                    losses.append(float(value.detach()))
                run.ended(epoch, *judged(model))
                row = {
                    "stage": stage,
                    "horizon": horizon,
                    "epoch": epoch,
                    "loss": float(np.mean(losses)) if losses else math.nan,
                    "validation": run.error,
                    "best": run.best,
                    "physics": physics,
                    "seconds": time.perf_counter() - started,
                }
                run.history.append(row)
                if checkpoint is not None:
                    run.save(checkpoint, arguments, (train, validation))
                if progress is not None:
                    progress(row)
            else:
                stopped = "converged" if run.since >= patience else "budget"
    except KeyboardInterrupt:
        stopped = "interrupted"
    run.restore_best()
    values = _own(model, shifts, own, None).detach()
    model.noise.copy_(
        one_step_noise(model, validation) if log_noise is None else log_noise.detach().exp()
    )
    return FitResult(
        model=settled(model),
        history=tuple(run.history),
        validation=run.best,
        physics=physics,
        stopped=stopped,
        seconds=time.perf_counter() - started,
        per_log={
            name: values[:, row].cpu().numpy() for name, row in zip(per_log, own, strict=True)
        },
    )


def _own_rows(model: HybridModel, names: Sequence[str]) -> list[int]:
    """Rows of ϑ that differ from log to log."""
    for name in names:
        if name not in model.fit_parameters:
            raise ValueError(
                f"per_log: {name!r} is none of the model's fit_parameters {model.fit_parameters}"
            )
    return [model.fit_parameters.index(name) for name in names]


def _own(model: HybridModel, shifts: Tensor, rows: list[int], windows: Batch | None) -> Tensor:
    """p (np,), or p of each window (…, N, np) or of each log where some rows are its own."""
    if not rows:
        return model.physical() if windows is not None else model.physical()[None]
    centred = shifts - shifts.mean(0)
    shift = centred if windows is None else centred[windows.log]
    theta = model.theta + shift @ torch.eye(len(model.theta)).to(shift)[rows]
    return model.torch_equations.constrain(theta)


def _bootstrap(windows: int, members: int, seed: int) -> Tensor:
    """Which windows each member is trained on (E, N): all of them where it is alone."""
    if members == 1:
        return torch.arange(windows)[None]
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randint(windows, (members, windows), generator=generator)
