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
from hybridmodel.fitting.per_log import own_rows, parameters_of, solved
from hybridmodel.fitting.result import FitResult, Progress, settled, without_residual
from hybridmodel.fitting.resume import Run, identity
from hybridmodel.fitting.starts import Starts, check_noise
from hybridmodel.fitting.targets import standardized
from hybridmodel.model import HybridModel
from hybridmodel.whole import whole
from residuals import Probabilistic


def fit(
    model: HybridModel,
    train: Dataset,
    validation: Dataset,
    *,
    horizons: Sequence[int] = (1, 5, 20),
    epochs: int | Sequence[int] = 40,
    batch_size: int = 256,
    stride: int | Sequence[int] = 1,
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
    stride          steps from window to window, one number or one a stage
    rate, parameter_rate   Adam's step for θ and ϑ, cosine-annealed within each stage
    residual_penalty       λ
    loss            "likelihood" adds that of the first step, which trains the variance of a
                    probabilistic residual; the system must measure its states
    noise           deviation of each output's measurement, by name in its unit; default 5 % of
                    its deviation over the data; weighs the outputs when starts are estimated
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
    if not horizons or min(horizons) < 1 or list(horizons) != sorted(set(horizons)):
        raise ValueError(f"horizons must increase from at least 1, got {horizons}")
    budget = _each_stage("epochs", epochs, len(horizons))
    strides = _each_stage("stride", stride, len(horizons))
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
    if model.residual is not None and not list(model.residual.parameters()):
        family = type(model.residual).__name__
        raise ValueError(f"model: its residual {family} has no weights to train; use `regress`")
    if model.residual is None and not model.fit_parameters:
        raise ValueError("model has nothing to fit: no residual and no fit_parameters")
    if loss == "likelihood" and model.system.outputs != model.system.states:
        raise ValueError(
            f"loss: 'likelihood' needs measured states, and {type(model.system).__name__} "
            f"measures {[s.name for s in model.system.outputs]}: use 'mse'"
        )
    if loss == "likelihood" and model.residual is None:
        raise ValueError("loss: 'likelihood' trains the variance of a residual, there is none")
    check_noise(model, noise)
    own = own_rows(model, per_log)
    arguments = {
        "horizons": horizons, "epochs": budget, "batch_size": batch_size, "stride": strides,
        "rate": rate, "parameter_rate": parameter_rate, "penalty": residual_penalty,
        "loss": loss, "noise": dict(noise or {}), "initial": initial, "per_log": tuple(per_log),
        "patience": patience, "clip": clip, "seed": seed,
    }  # fmt: skip
    of = "" if checkpoint is None else identity(model, arguments, (train, validation))
    guess = "guessed" if initial == "estimated" else "measured"

    held_out = batch(model, validation, horizons[-1], stride=strides[-1], start=guess)
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

    def p_of(windows: Batch) -> Tensor:
        """p (np,), or p of each window where some rows are its log's own."""
        return parameters_of(model, shifts, own, windows.log) if own else model.physical()

    def judged(model: HybridModel) -> tuple[float, float]:
        """The error on the validation logs, and what the best epoch is chosen by.

        Parameters that differ from log to log have values of their own there too.
        """
        begun = starts(model, held_out) if starts else held_out
        p = None
        if own:
            shifts = solved(model, begun, scale, own, len(validation))
            p = parameters_of(model, shifts, own, begun.log)
        error = validation_error(model, begun, scale, p)
        if log_noise is None:
            return error, error
        with torch.no_grad():
            merit = training_loss(
                model,
                begun,
                scale,
                p=model.physical() if p is None else p,
                penalty=0.0,
                log_noise=log_noise,
            )
        return error, float(torch.nan_to_num(merit, nan=torch.inf))

    count = model.residual.count if isinstance(model.residual, Probabilistic) else 1
    if checkpoint is None or not run.resume(checkpoint, of):
        run.best, run.merit = judged(model)
    started = time.perf_counter() - run.seconds
    stopped = "budget"
    try:
        for stage in range(run.stage, len(horizons)):
            horizon, most = horizons[stage], budget[stage]
            windows = batch(model, train, horizon, stride=strides[stage], start=guess)
            block = horizons[-1] // strides[stage]
            drawn = _bootstrap(len(windows), count, seed, block=block)
            if run.stage_begins(stage):
                stopped = "budget"
            for epoch in range(run.epoch, most):
                if run.since >= patience:
                    stopped = "converged"
                    break
                run.anneal((1 + math.cos(math.pi * epoch / most)) / 2)
                begun = starts(model, windows, p_of(windows)) if starts else windows
                model.train()
                losses = []
                for index in run.order(drawn.shape[-1]).split(batch_size):
                    run.optimizer.zero_grad()
                    part = begun.at(drawn[:, index] if count > 1 else index)
                    value = training_loss(
                        model,
                        part,
                        scale,
                        p=p_of(part),
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
                    run.save(checkpoint, of)
                if progress is not None:
                    progress(row)
            else:
                stopped = "converged" if run.since >= patience else "budget"
    except KeyboardInterrupt:
        stopped = "interrupted"
    run.restore_best()
    values = model.physical().detach()[None]
    if own:  # the best epoch was chosen with others' values: these logs' own are solved for
        windows = batch(model, train, horizons[-1], stride=strides[-1], start=guess)
        begun = starts(model, windows) if starts else windows
        best = solved(model, begun, scale, own, len(train))
        with torch.no_grad():
            model.theta[own] += best.mean(0)
            values = parameters_of(model, best - best.mean(0), own)
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


def _each_stage(name: str, given: int | Sequence[int], stages: int) -> tuple[int, ...]:
    """A number for each stage. ValueError naming the argument where there is none."""
    numbers = tuple(given) if isinstance(given, Sequence | np.ndarray) else (given,) * stages
    if len(numbers) != stages:
        raise ValueError(f"{name} must be one number or {stages}, all ≥ 1, got {given}")
    return tuple(whole(name, number) for number in numbers)


def _bootstrap(windows: int, members: int, seed: int, *, block: int) -> Tensor:
    """Which windows each member is trained on (E, N): all of them where it is alone.

    Blocks of neighbours are drawn, since windows that overlap would bring every sample to every
    member; in each stage of a curriculum a member gets about the same part of the logs.
    """
    if members == 1:
        return torch.arange(windows)[None]
    generator = torch.Generator().manual_seed(seed + 1)
    size = max(1, min(block, windows // 8))
    blocks = -(-windows // size)
    first = torch.rand(members, blocks, generator=generator) * (windows - size + 1)
    drawn = first.long()[..., None] + torch.arange(size)
    return drawn.flatten(1)[:, :windows]
