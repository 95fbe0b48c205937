"""`propagate`: the distribution of what a model predicts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hybridmodel.model import HybridModel
from hybridmodel.uncertainty.linearised import member_count
from hybridmodel.uncertainty.manifold import mean_of, mean_output, moved, tangent_size
from hybridmodel.uncertainty.moments import moments
from hybridmodel.uncertainty.noise import Noise
from hybridmodel.uncertainty.prediction import Prediction
from hybridmodel.uncertainty.recalibration import Recalibration
from hybridmodel.uncertainty.sampling import Draws, Particles, paths
from physics import tangent

Method = Literal["ts1", "tsinf", "moments"]
METHODS: tuple[Method, ...] = ("ts1", "tsinf", "moments")
DOUBTS, TWINS = 1, 2  # streams of random numbers beside the first


def propagate(
    model: HybridModel,
    x0: Tensor,
    u: Tensor,
    d: Tensor | None = None,
    *,
    method: Method = "tsinf",
    particles: int = 50,
    noise: Noise | bool = True,
    initial_covariance: Tensor | None = None,
    calibration: Recalibration | None = None,
    measured: bool = False,
    seed: int = 0,
) -> Prediction:
    """The distribution of x_0 … x_H from x0 (…, nx) under u (…, H, nu) and d (…, H, nd).

    method      "tsinf" and "ts1" draw `particles`, spread evenly over the members (rounded up);
                "moments" linearises. "tsinf" and "moments" tell aleatoric from epistemic variance
    noise       True: σ_r of the residual and `model.noise` R in every step; a `Noise`, of which
                `split_noise` finds the parts; False: neither, what is left is epistemic. What is
                unknown outside the support of a `Supported` is epistemic, and stays
    initial_covariance   of x0 (…, tangent rows, tangent rows); default: V of the noise where the
                system measures its states, since then x0 was measured; else none
    measured    predict the outputs as sensors will read them, their noise V included, instead of
                the states
    calibration what `recalibrate` returned, whose factors and noise are then used: such
                intervals are about the measured outputs

    Raises ValueError naming the argument.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}, got {method!r}")
    if particles < 2:
        raise ValueError(f"particles must be at least 2, got {particles}")
    if calibration is not None:
        calibration.check(method, u.shape[-2])
        noise, measured = calibration.noise, True
    if method == "moments" and measured and model.scheme.enters == "output":
        raise ValueError(
            "method 'moments' does not hold the spread of a residual that corrects the outputs; "
            "use 'tsinf' or 'ts1'"
        )
    parts = _parts(model, noise)
    process, measurement = (
        torch.tensor(v, dtype=torch.float64).to(model.theta)
        for v in (parts.process, parts.measurement)
    )
    start = _start(model, initial_covariance, measurement)
    members = member_count(model)
    if method == "moments":
        path, each, doubt = moments(
            model, x0, u, d, start=start, process=process, share=parts.residual
        )
        found = _of_moments(model, path.x, each, doubt, u, d, measurement if measured else None)
    else:
        root = None if start is None else _root(start)
        of = Particles(
            model,
            members,
            -(-particles // members),
            noise=parts.residual,
            switching=method == "ts1",
        )

        def draw(stream: int) -> Tensor:
            return paths(
                model,
                x0,
                u,
                d,
                particles=of,
                draws=Draws(seed, model.theta, stream),
                doubts=Draws(seed, model.theta, DOUBTS),
                start=root,
                process=process,
                measurement=measurement if measured else None,
            )

        drawn = draw(0)
        persistent = method == "tsinf" and members > 1
        # the same members and doubts under other noise: how far twins part is noise alone
        twins = draw(TWINS) if persistent and of.faded else None
        found = _of_samples(model, drawn, twins, measured, persistent=persistent)
    if calibration is None:
        return found
    factor = calibration.factor(u.shape[-2]).to(found.covariance)
    return Prediction(**{**vars(found), "factor": factor})


def _parts(model: HybridModel, noise: Noise | bool) -> Noise:
    """The noise to draw."""
    if isinstance(noise, bool):
        return Noise.of(model) if noise else Noise.none(model)
    rows, outputs = len(model.noise), len(tangent.signals(model.system.outputs))
    if len(noise.process) != rows or len(noise.measurement) != outputs:
        raise ValueError(
            f"noise has {len(noise.process)} rows of states and {len(noise.measurement)} of "
            f"outputs, the model has {rows} and {outputs}"
        )
    return noise


def _start(model: HybridModel, given: Tensor | None, measurement: Tensor) -> Tensor | None:
    """Covariance of x0 (…, n, n), memory with it; None where x0 is exact."""
    rows, size = len(model.noise), tangent_size(model)
    if given is None:
        if model.system.outputs != model.system.states or not bool((measurement > 0).any()):
            return None
        given = torch.diag_embed(measurement)
    if given.shape[-2:] != (rows, rows):
        raise ValueError(
            f"initial_covariance must have shape (…, {rows}, {rows}), got {tuple(given.shape)}"
        )
    full = given.new_zeros(*given.shape[:-2], size, size)
    full[..., :rows, :rows] = given
    return full.to(model.theta)


def _root(covariance: Tensor) -> Tensor:
    """L with L Lᵀ = covariance, which may be singular."""
    values, vectors = torch.linalg.eigh(covariance)
    if bool((values < -1e-9 * values.abs().amax(-1, keepdim=True)).any()):
        raise ValueError("initial_covariance must be positive semidefinite")
    return vectors * values.clamp(min=0).sqrt()[..., None, :]


def _of_samples(
    model: HybridModel, drawn: Tensor, twins: Tensor | None, measured: bool, persistent: bool
) -> Prediction:
    """From samples (E, P, …, H+1, n), and twins that differ by noise alone.

    Var y = E Var(y | e, η) + Var E(y | e, η), with member e and doubt η of a particle.
    """
    system, count = model.system, drawn.shape[0]
    signals = system.outputs if measured else system.states
    drawn = drawn[..., : len(signals)]
    minus = model.output_difference if measured else model.state_difference
    mean = (mean_output if measured else mean_of)(model, drawn, leading=2)
    apart = minus(drawn, mean.expand_as(drawn))
    flat = apart.flatten(0, 1)
    covariance = torch.einsum("s...i,s...j->...ij", flat, flat) / (len(flat) - 1)
    aleatoric = epistemic = None
    if persistent:
        per = drawn.shape[1]
        centres = apart.mean(1)
        within = (apart - centres[:, None]).square().sum((0, 1)) / (count * max(per - 1, 1))
        # a member's centre is off by the chance of its own particles, which is no disagreement
        between = centres.square().sum(0) / max(count - 1, 1)
        epistemic, aleatoric = (between - within / per).clamp(min=0), within
        if twins is not None:
            parted = minus(drawn, twins[..., : len(signals)])
            aleatoric = parted.square().mean((0, 1)) / 2
            epistemic = epistemic + (within - aleatoric).clamp(min=0)
    return Prediction(
        mean=mean,
        covariance=covariance,
        signals=signals,
        samples=drawn.flatten(0, 1),
        deviations=flat,
        aleatoric=aleatoric,
        epistemic=epistemic,
    )


def _of_moments(
    model: HybridModel,
    x: Tensor,
    each: Tensor,
    doubt: Tensor,
    u: Tensor,
    d: Tensor | None,
    measurement: Tensor | None,
) -> Prediction:
    """From the members' paths x (E, …, H+1, nx), covariances and doubts (E, …, H+1, n, n)."""
    system = model.system
    rows = len(model.noise)
    if measurement is None:
        signals, at, minus = system.states, x[..., : len(system.states)], model.state_difference
        mean = mean_of(model, at)
        each, doubt = (v[..., :rows, :rows] for v in (each, doubt))
    else:
        signals, minus = system.outputs, model.output_difference
        at, slope = _observed(model, x, u, d)
        mean = mean_output(model, at)
        each = slope @ each @ slope.mT + torch.diag_embed(measurement)
        doubt = slope @ doubt @ slope.mT
    apart = minus(at, mean.expand_as(at))
    aleatoric = each.mean(0)
    between = torch.einsum("e...i,e...j->...ij", apart, apart) / max(len(at) - 1, 1)
    between = between + doubt.mean(0)
    return Prediction(
        mean=mean,
        covariance=aleatoric + between,
        signals=signals,
        aleatoric=aleatoric.diagonal(dim1=-2, dim2=-1),
        epistemic=between.diagonal(dim1=-2, dim2=-1),
    )


def _observed(model: HybridModel, x: Tensor, u: Tensor, d: Tensor | None) -> tuple[Tensor, Tensor]:
    """y (E, …, H+1, ny) and ∂(h(x ⊞ ξ) ⊟ y)/∂ξ (E, …, H+1, rows of y, n)."""
    size = tangent_size(model)

    def before(v: Tensor) -> Tensor:
        # a sample is measured at the end of a step, under the input of that step
        whole = torch.cat([v[..., :1, :], v], -2)
        return whole.expand(*x.shape[:-1], v.shape[-1])

    steps = u.shape[-2]
    uy = before(u) if steps else x.new_zeros(*x.shape[:-1], u.shape[-1])
    dy = x[..., :0] if d is None else before(d)
    y = model.output(x, uy, dy)
    none = x.new_zeros(*x.shape[:-1], size)
    columns = [
        torch.func.jvp(
            lambda xi: model.output_difference(model.output(moved(model, x, xi), uy, dy), y),
            (none,),
            (unit.expand_as(none).contiguous(),),
        )[1]
        for unit in torch.eye(size, dtype=x.dtype, device=x.device)
    ]
    return y, torch.stack(columns, -1)
