"""An input that identifies more: multisines whose information is largest inside the limits.

    u(t) = c + a h s(t),    s(t) = Σ_k (α_k cos 2πf_k t + β_k sin 2πf_k t) / P

P bounds |s| by 1, c and h are centre and half width of the input's bounds, a the amplitude, as of
any `Excitation`; f_k are those of `Multisine`. α, β maximise a criterion of the predicted
information I(α, β) under a penalty on states beyond their limits, by the cross-entropy method.
What a trained residual could do as well is no information, as in `information`:

    D  log det I      E  log λ_min(I)      A  −log tr I⁻¹

Goodwin and Payne, Dynamic System Identification, 1977, ch. 6; Rubinstein and Kroese, The
Cross-Entropy Method, 2004, alg. 5.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybridmodel.batches import Batch, outputs
from hybridmodel.data import Dataset, Trajectory
from hybridmodel.data.trajectory import Array
from hybridmodel.excitation import Excitation, Multisine
from hybridmodel.identification.information import (
    Information,
    assembled,
    eliminated,
    without_residual,
)
from hybridmodel.identification.least_squares import deviations_given, reduce
from hybridmodel.identification.prior import residual_prior
from hybridmodel.identification.sensitivity import Predictor
from hybridmodel.identification.weights import Weights
from hybridmodel.model import HybridModel
from physics import Signal, tangent

Criterion = Literal["D", "E", "A"]
_ELITE = 0.2
_MOST = 1_000  # weights: each is moved both ways in every window of every trial
_WORST = -1e6  # of an input under which the model diverges


class DesignedMultisine(Excitation):
    """A multisine with amplitudes of its own: α, β (nu, K) at frequencies (nu, K) [Hz].

    The same in every log; `reset` draws nothing.
    """

    def __init__(
        self,
        inputs: Sequence[Signal],
        frequencies: Array,
        cosines: Array,
        sines: Array,
        *,
        amplitude: float,
        seconds: float,
    ) -> None:
        super().__init__(inputs, amplitude=amplitude)
        self.frequencies, self.seconds = np.array(frequencies), seconds
        t = np.linspace(0, seconds, max(200, int(40 * seconds * self.frequencies.max())))
        angle = 2 * np.pi * self.frequencies[..., None] * t
        s = np.einsum("jk,jkt->jt", cosines, np.cos(angle)) + np.einsum(
            "jk,jkt->jt", sines, np.sin(angle)
        )
        peak = np.maximum(np.abs(s).max(1, keepdims=True), 1e-12)
        self.cosines, self.sines = cosines / peak, sines / peak

    def draw(self, rng: np.random.Generator) -> None:
        """There is nothing to draw."""

    def wave(self, t: float) -> Array:
        angle = 2 * np.pi * self.frequencies * t
        s = (self.cosines * np.cos(angle) + self.sines * np.sin(angle)).sum(1)
        return np.clip(s, -1, 1)  # after `seconds` nothing bounds the sum


@dataclass(frozen=True, eq=False)
class Design:
    """A designed input and what it should give.

    policy          for `collect`, for `seconds` from `start`
    before, after   predicted information of one log under the base excitation (the mean of its
                    draws) and under the design
    factor          geometric mean over the parameters of the standard error before / after
    exceeded        how far states leave their limits, as a share of half their range
    """

    policy: DesignedMultisine
    before: Information
    after: Information
    factor: float
    exceeded: float


def excite(
    model: HybridModel,
    *,
    seconds: float,
    noise: float | NDArray[np.float64],
    amplitude: float = 0.5,
    limits: Mapping[str, tuple[float, float]] | None = None,
    start: Sequence[float] | None = None,
    base: Multisine | None = None,
    horizon: int = 25,
    criterion: Criterion = "A",
    residual: Literal["project", "fixed"] = "project",
    iterations: int = 30,
    population: int = 40,
    seed: int = 0,
) -> Design:
    """Design the input of one log of `seconds` that identifies `model.fit_parameters` best.

    noise      standard deviation of each output (ny,)
    amplitude  share of the input bounds that the design may use, and the base does
    limits     (low, high) of states by name; those of the signals unless given
    start      continuous state at t = 0, `system.neutral` unless given
    base       what it starts from and is compared with
    horizon    windows from which the log will be identified, each from an unknown state; the model
               is trusted no further than that

    residual   "project": what its last layer could do as well is no information, under a prior
               that it keeps the size it has under the base, so that one that is untrained, which
               is zero, stays zero; "fixed": it is known exactly, which is faster

    The model's parameters are taken for true: where they are far off, design, log, identify, and
    design again. Systems with exogenous signals are refused. Raises ValueError naming the argument.
    """
    if not model.fit_parameters:
        raise ValueError("model.fit_parameters is empty: declare what is to be identified")
    if criterion not in ("D", "E", "A"):
        raise ValueError(f"criterion must be 'D', 'E' or 'A', got {criterion!r}")
    if residual not in ("project", "fixed"):
        raise ValueError(f"residual must be 'project' or 'fixed', got {residual!r}")
    if iterations < 1 or population < 10:
        raise ValueError(f"iterations must be ≥ 1, population ≥ 10; got {iterations}, {population}")
    trial = Trial(model, seconds, noise, amplitude, limits, start, horizon)
    if base is None:
        base = Multisine(model.system.inputs, amplitude=amplitude)
    nu, K = base.frequencies.shape
    rng = np.random.default_rng((6, seed))

    def policies(values: Array) -> list[DesignedMultisine]:
        cosines, sines = np.moveaxis(values.reshape(-1, nu, K, 2), -1, 0)
        return [
            DesignedMultisine(
                model.system.inputs, base.frequencies, c, s, amplitude=amplitude, seconds=seconds
            )
            for c, s in zip(cosines, sines, strict=True)
        ]

    draws = []
    for k in range(8):
        base.reset(seed + k)
        draws.append(trial.sampled(base))
    if residual == "project" and len(Weights(model)):
        trial.project(np.array(draws))
    grams, _ = trial.grams(np.array(draws))
    if not torch.isfinite(grams).flatten(1).all(1).any():
        raise ValueError(
            f"base drives the model where its steps of {model.dt:g} s are too coarse: lower "
            f"amplitude {amplitude} or raise substeps {model.substeps}"
        )
    before = trial.information(torch.nanmean(grams, 0))

    mean, spread = np.zeros(2 * nu * K), np.ones(2 * nu * K)
    best, best_score = None, -np.inf
    count = max(4, int(_ELITE * population))
    for k in range(iterations):
        values = mean + spread * rng.standard_normal((population, len(mean)))
        if best is not None:
            values[0] = best
        # the wave is the same at every size: all are compared at one
        values /= np.linalg.norm(values, axis=1, keepdims=True) / np.sqrt(values.shape[1])
        inputs = np.array([trial.sampled(policy) for policy in policies(values)])
        grams, exceeded = trial.grams(inputs)
        scores = trial.scores(grams, exceeded, criterion)
        order = np.argsort(-scores)[:count]
        if scores[order[0]] > best_score:
            best, best_score = values[order[0]], float(scores[order[0]])
        pace = 0.7 if k else 1.0
        mean = (1 - pace) * mean + pace * values[order].mean(0)
        spread = (1 - pace) * spread + pace * values[order].std(0) + 0.02
    assert best is not None
    policy = policies(best[None])[0]
    grams, exceeded = trial.grams(trial.sampled(policy)[None])
    after = trial.information(grams[0])
    a, b = before.relative_errors, after.relative_errors
    both = np.isfinite(a) & np.isfinite(b)
    factor = float(np.exp(np.log(a[both] / b[both]).mean())) if both.any() else float("nan")
    return Design(policy, before, after, factor, float(exceeded[0]))


class Trial:
    """Predicted information of one log under each of a batch of inputs."""

    def __init__(
        self,
        model: HybridModel,
        seconds: float,
        noise: float | NDArray[np.float64],
        amplitude: float,
        limits: Mapping[str, tuple[float, float]] | None,
        start: Sequence[float] | None,
        horizon: int,
    ) -> None:
        system, like = model.system, model.theta
        if system.nd:
            raise ValueError(f"{type(system).__name__} has exogenous signals, which must be known")
        self.model, self.horizon = model, horizon
        self.steps = round(seconds / model.dt)
        if horizon < 1 or self.steps < horizon:
            raise ValueError(f"seconds must hold a horizon of {horizon} steps, got {seconds} s")
        x0 = system.neutral if start is None else tuple(start)
        if len(x0) != len(system.states) or not np.isfinite(x0).all():
            raise ValueError(f"start must hold {len(system.states)} finite numbers, got {x0}")
        self._x0 = torch.tensor(x0, dtype=like.dtype)
        names = [s.name for s in system.states]
        known = {s.name: (s.low, s.high) for s in system.states} | dict(limits or {})
        if unknown := [n for n in known if n not in names]:
            raise ValueError(f"limits: no state {unknown[0]!r}; states are {names}")
        self._low, self._high = (like.new_tensor([known[n][i] for n in names]) for i in (0, 1))
        if not (self._low < self._high).all():
            raise ValueError(f"limits must be (low, high) with low < high, got {limits}")
        half = (self._high - self._low) / 2
        self._half = torch.where(half.isfinite(), half, 1.0)
        self.sigma = deviations_given(noise, len(tangent.signals(system.outputs)), like)
        self._weights = Weights(without_residual(model))  # none: what is there is known
        self._prior = like.new_zeros(0, 0)
        self._finer = None if system.dt is not None else _with_substeps(model, 2 * model.substeps)

    def project(self, inputs: Array) -> None:
        """Take the residual for unknown, of the size that it has under inputs (B, T, nu)."""
        model, n = self.model, len(self.model.system.states)
        u = torch.as_tensor(inputs, dtype=self._x0.dtype)
        with torch.no_grad():
            x0 = model.initial_state(self._x0).expand(len(u), -1)
            x = model.rollout(x0, u, u[..., :0])
            # a sample is measured at the end of a step, under the input of that step
            before = torch.cat([u[:, :1], u], 1)
            y = model.output(x, before, before[..., :0])
        t = model.dt * np.arange(self.steps + 1.0)
        logs = [
            Trajectory(t=t, u=one, y=seen.numpy(), x=state.numpy())
            for one, seen, state in zip(inputs, y, x[..., :n], strict=True)
            if torch.isfinite(state).all()
        ]
        if not logs:
            raise ValueError("base drives the model until it diverges: lower amplitude")
        self._weights = Weights(model)
        if len(self._weights) > _MOST:
            raise ValueError(
                f"residual: {len(self._weights)} weights stand for it, too many to be projected "
                f"out of each trial (at most {_MOST}); take residual='fixed'"
            )
        self._prior, _ = residual_prior(model, Dataset(logs), self._weights)

    def sampled(self, policy: Excitation) -> Array:
        """u (T, nu) of one log."""
        nothing = np.zeros(self.model.system.ny)
        return np.array([policy(k * self.model.dt, nothing) for k in range(self.steps)])

    def grams(self, inputs: Array) -> tuple[Tensor, NDArray[np.float64]]:
        """(B, np, np) information, nan where a run diverges, and (B,) how far limits are exceeded,
        of inputs (B, T, nu)."""
        model, H = self.model, self.horizon
        u = torch.as_tensor(inputs, dtype=self._x0.dtype)
        B, N = len(u), self.steps // (H + 1) or 1
        with torch.no_grad():
            x = model.rollout(model.initial_state(self._x0).expand(B, -1), u, u[..., :0])
        flow = x[..., : len(model.system.states)]
        beyond = torch.maximum(flow - self._high, self._low - flow).clamp(min=0) / self._half
        exceeded = beyond.amax((1, 2)).nan_to_num(nan=1e3, posinf=1e3).clamp(max=1e3)
        firsts = [min(k * (H + 1), self.steps - H) for k in range(N)]
        starts = torch.stack([flow[:, k] for k in firsts], 1).flatten(0, 1)
        pieces = torch.stack([u[:, k : k + H] for k in firsts], 1).flatten(0, 1)
        fine = torch.isfinite(starts).all(-1)
        starts = torch.where(fine[:, None], starts, self._x0)
        P = model.memory_steps
        before = torch.cat([u.new_zeros(B, P, model.system.nu), u], 1)
        past = torch.stack([before[:, k : k + P] for k in firsts], 1).flatten(0, 1)
        blank = u.new_zeros(len(starts), H + 1, model.system.ny)
        windows = Batch(
            start=starts,
            past_u=past,
            past_d=past[..., :0],
            past_x=None,
            u=pieces,
            d=pieces[..., :0],
            y=blank,
            x=None,
            log=torch.zeros(len(starts), dtype=torch.long),
        )
        with torch.no_grad():
            windows = replace(windows, y=outputs(model, windows))
            finer = outputs(self._finer, windows) if self._finer is not None else windows.y
            apart = model.output_difference(finer, windows.y).abs()
        predictor = Predictor(model, windows, self._weights, first=True)
        found = predictor.sensitivities(
            model.theta.detach(), self._weights.value, starts, initial=True
        )
        found = replace(found, error=torch.nan_to_num(found.error))
        # where half the step gives another answer the model tells of its integrator, not the plant
        usable = fine & (apart < self.sigma).flatten(1).all(1)
        usable = usable & torch.isfinite(found.theta).flatten(1).all(1)
        usable = usable & torch.isfinite(found.weights).flatten(1).all(1)
        usable = usable & torch.isfinite(found.initial).flatten(1).all(1)
        keep = usable[:, None, None]
        found = replace(
            found,
            theta=torch.where(keep, found.theta, 0.0),
            weights=torch.where(keep, found.weights, 0.0),
            initial=torch.where(keep, found.initial, 0.0),
        )
        rows = reduce(found, self.sigma).rows
        grams = torch.einsum("nmi,nmj->nij", rows, rows).reshape(B, N, *rows.shape[-1:] * 2).sum(1)
        n = len(model.theta)
        grams[:, n:, n:] += self._prior.T @ self._prior
        grams = eliminated(grams, n)
        lost = ~usable.reshape(B, N).all(1)
        grams = torch.where(lost[:, None, None], torch.nan, grams)
        return grams, exceeded.numpy()

    def scores(self, grams: Tensor, exceeded: NDArray[np.float64], criterion: Criterion):
        """(B,) the criterion, less 30 for each half range beyond a limit."""
        n = grams.shape[-1]
        good = torch.isfinite(grams).flatten(1).all(1)
        safe = torch.where(good[:, None, None], grams, torch.eye(n).to(grams))
        order = torch.linalg.eigvalsh(safe)
        order = torch.maximum(order, 1e-12 * order[:, -1:]).clamp(min=1e-30)
        score = {
            "D": order.log().sum(-1) / n,
            "E": order[:, 0].log(),
            "A": -(1 / order).sum(-1).log(),
        }[criterion]
        return np.where(good.numpy(), score.numpy() - 30 * exceeded, _WORST)

    def information(self, gram: Tensor) -> Information:
        theta = self.model.theta.detach()
        return assembled(self.model, theta, gram, self.sigma, self.steps // (self.horizon + 1) or 1)


def _with_substeps(model: HybridModel, substeps: int) -> HybridModel:
    fresh = HybridModel(
        model.system,
        model.residual,
        dt=model.dt,
        placement=model.placement,
        fit_parameters=model.fit_parameters,
        integrator=model.integrator,
        substeps=substeps,
        hold=model.hold,
        features=model.features,
    ).to(model.theta)
    fresh.theta.data.copy_(model.theta.data)
    return fresh
