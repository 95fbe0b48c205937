"""Fitting: multi-step rollout loss over a curriculum of horizons.

    L(θ, ϑ) = mean over windows, steps 1…H and outputs of ((ŷ − y) / s)²
              + λ mean r_θ(z)²

s are deviations of the outputs over the data, λ the price of the residual in the units of r⁻²:
physics explains what it can, and r the rest. θ and ϑ move together (Adam).
`identify` fits ϑ alone, to the same loss, by Levenberg–Marquardt from several starts.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from hybridmodel.batches import Batch, batch, outputs
from hybridmodel.data import Dataset
from hybridmodel.deviation import deviations
from hybridmodel.equations import Scheme
from hybridmodel.model import HybridModel

Progress = Callable[[Mapping[str, float]], None]

FARTHEST = 30.0  # |ϑ| of a parameter in a bounded domain: a factor of 1e13


@dataclass(frozen=True)
class FitResult:
    """A fitted model and how it came about.

    model       the best one found; its system holds the fitted parameter values
    history     one row an epoch: stage, horizon, epoch, loss, validation, seconds
    validation  its root mean square error over the longest horizon, outputs scaled by s
    physics     the same error of the model as it came in, without its residual
    stopped     "converged" (early stopping or tolerance), "budget" or "interrupted"
    """

    model: HybridModel
    history: tuple[Mapping[str, float], ...]
    validation: float
    physics: float
    stopped: str
    seconds: float


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
    patience: int = 15,
    clip: float = 1.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> FitResult:
    """Fit the residual and the declared parameters of a copy of `model`.

    horizons        H of each stage of the curriculum, increasing
    epochs          of each stage, one number or one a stage
    rate, parameter_rate   Adam's step for θ and ϑ, cosine-annealed within each stage
    residual_penalty       λ
    patience        a stage ends after this many epochs without a better validation error,
                    always taken over the longest horizon; the next one starts from its best
                    weights, and the best of all are returned
    progress        called after every epoch with its history row

    An untrained residual takes its scales from the data, a trained one keeps those it has. Ctrl-C
    ends it with the best model so far. Raises ValueError naming the argument.
    """
    started = time.perf_counter()
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
    if model.residual is None and not model.fit_parameters:
        raise ValueError("model has nothing to fit: no residual and no fit_parameters")

    held_out = batch(model, validation, horizons[-1], stride=stride)
    scale = _output_scale(model, train).to(model.theta)
    bare = _without_residual(model)
    physics = _validation_error(bare, held_out, scale)
    model = standardized(model, train)
    generator = torch.Generator().manual_seed(seed)
    weights = [] if model.residual is None else list(model.residual.parameters())
    rates = [(weights, rate), ([model.theta], parameter_rate)]

    best = _validation_error(model, held_out, scale)
    best_state = start_state = copy.deepcopy(model.state_dict())
    history: list[Mapping[str, float]] = []
    stopped = "budget"
    try:
        for stage, (horizon, most) in enumerate(zip(horizons, budget, strict=True)):
            windows = batch(model, train, horizon, stride=stride)
            model.load_state_dict(start_state)
            stage_best, stopped = math.inf, "budget"
            groups = [{"params": tensors, "first": first} for tensors, first in rates if tensors]
            optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
            since = 0
            for epoch in range(most):
                for group in optimizer.param_groups:
                    group["lr"] = group["first"] * (1 + math.cos(math.pi * epoch / most)) / 2
                order = torch.randperm(len(windows), generator=generator)
                model.train()
                losses = []
                for index in order.split(batch_size):
                    optimizer.zero_grad()
                    loss = _loss(model, windows.at(index), scale, residual_penalty)
                    if not torch.isfinite(loss):
                        continue  # a rollout that blew up says nothing; the next batch may
                    loss.backward()
                    slope = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                    if not torch.isfinite(slope):
                        continue
                    optimizer.step()
                    losses.append(float(loss.detach()))
                error = _validation_error(model, held_out, scale)
                since += 1
                if error < stage_best:
                    stage_best, since = error, 0
                    start_state = copy.deepcopy(model.state_dict())
                if error < best:
                    best, best_state = error, start_state
                row = {
                    "stage": stage,
                    "horizon": horizon,
                    "epoch": epoch,
                    "loss": float(np.mean(losses)) if losses else math.nan,
                    "validation": error,
                    "best": best,
                    "physics": physics,
                    "seconds": time.perf_counter() - started,
                }
                history.append(row)
                if progress is not None:
                    progress(row)
                if since >= patience:
                    stopped = "converged"
                    break
    except KeyboardInterrupt:
        stopped = "interrupted"
    model.load_state_dict(best_state)
    return FitResult(
        model=_settled(model),
        history=tuple(history),
        validation=best,
        physics=physics,
        stopped=stopped,
        seconds=time.perf_counter() - started,
    )


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
    scale = _output_scale(model, train).to(model.theta)
    physics = _validation_error(_without_residual(model), held_out, scale)
    equations = model.torch_equations
    size = math.sqrt(windows.y[:, 1:].numel())

    def misfits(thetas: np.ndarray) -> np.ndarray:
        """Residual vectors (S, n) of S parameter vectors (S, np) in one batched rollout."""
        theta = torch.as_tensor(thetas, dtype=scale.dtype)
        with torch.no_grad():
            p = equations.constrain(theta)[:, None, :]
            error = _misfit(model, windows, scale, p).flatten(1) / size
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
            error = _validation_error(candidate, held_out, scale)
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
    found = found or [(_validation_error(model, held_out, scale), model)]
    error, best = min(found, key=lambda pair: pair[0])
    return FitResult(
        model=_settled(best),
        history=tuple(history),
        validation=error,
        physics=physics,
        stopped=stopped,
        seconds=time.perf_counter() - started,
    )


def standardized(model: HybridModel, data: Dataset) -> HybridModel:
    """A copy whose residual, where it is untrained, scales its input and output to the data.

    The output scale is the deviation of the r that would explain each single step,

        r* = argmin ‖x⁺ − F(x, u, r)‖ ≈ (∂F/∂r)⁺ (x⁺ − F(x, u, 0)),

    the same for every placement.
    """
    model = copy.deepcopy(model)
    if model.residual is None:
        return model
    windows = batch(model, data, 1)
    n = len(model.system.states)
    truth = windows.y if model.system.outputs == model.system.states else windows.x
    assert truth is not None  # `batch` has refused the rest
    u, d, p = windows.u[:, 0], windows.d[:, 0], model.physical().detach()
    held = Scheme(model.integrator, model.substeps, hold=True, in_ode=model.scheme.in_ode)

    def ahead(r: Tensor) -> Tensor:
        return model.step_with(lambda z: r, held, windows.x0, u, p, d)[..., :n]

    def moved(r: Tensor) -> Tensor:
        return model.state_difference(ahead(r), unmoved)

    with torch.no_grad():
        z = model.residual_features(windows.x0, u, d)
        if model.residual(z).any():
            return model  # trained: other scales would make it another function
        nr = len(model.placement.signals(model.system))
        none = model.theta.new_zeros(len(windows), nr)
        logged = deviations(model.system.states, truth[:, 0].cpu().numpy())
        spread = torch.as_tensor(logged).to(none).std(0).clamp(min=1e-12)
        unmoved = ahead(none)
        error = model.state_difference(truth[:, 1], unmoved) / spread  # (N, n)
        directions = torch.eye(nr, dtype=none.dtype, device=none.device)
        columns = [
            torch.func.jvp(moved, (none,), (unit.expand_as(none).contiguous(),))[1] / spread
            for unit in directions
        ]
        gain = torch.stack(columns, -1)  # (N, n, nr)
        # not lstsq, whose last bits depend on where in memory its arguments lie
        wanted = (torch.linalg.pinv(gain) @ error[..., None])[..., 0]
        output_scale = wanted.square().mean(0).sqrt()
        output_scale = torch.where(output_scale > 0, output_scale, 1.0)
        deviation = z.std(0)
        model.residual.standardize(
            z.mean(0), torch.where(deviation > 1e-9, deviation, 1.0), output_scale
        )
    return model


def _loss(model: HybridModel, windows: Batch, scale: Tensor, penalty: float) -> Tensor:
    loss = _misfit(model, windows, scale).square().mean()
    if model.residual is not None and penalty:
        r = model.residual(model.residual_features(windows.x0, windows.u[:, 0], windows.d[:, 0]))
        loss = loss + penalty * r.square().mean()
    return loss


def _misfit(model: HybridModel, windows: Batch, scale: Tensor, p: Tensor | None = None) -> Tensor:
    """(ŷ ⊟ y) / s (…, N, H, tangent rows) from the first step on."""
    predicted = outputs(model, windows, p)
    return model.output_difference(predicted, windows.y)[..., 1:, :] / scale


def _validation_error(model: HybridModel, windows: Batch, scale: Tensor) -> float:
    model.eval()
    with torch.no_grad():
        error = _misfit(model, windows, scale).square().mean().sqrt()
    return float(torch.nan_to_num(error, nan=torch.inf))


def _output_scale(model: HybridModel, data: Dataset) -> Tensor:
    logged = np.concatenate([t.y for t in data])
    spread = np.std(deviations(model.system.outputs, logged), axis=0)
    return torch.as_tensor(np.where(spread > 1e-9, spread, 1.0))


def _without_residual(model: HybridModel) -> HybridModel:
    return HybridModel(
        model.system.with_parameters(**model.parameter_values()),
        dt=model.dt,
        integrator=model.integrator,
        substeps=model.substeps,
    ).to(model.theta)


def _settled(model: HybridModel) -> HybridModel:
    """The fitted parameter values written into the system, ϑ back at zero, ready to predict."""
    model.eval()
    return model.rebuilt(model.system.with_parameters(**model.parameter_values()))
