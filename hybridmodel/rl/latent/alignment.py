"""The first encoder: linear, found by the physics from many random starts.

    e = W z + b,   q = read(e),   x₀ = (q₀, Σⱼ j qⱼ / (10 dt)),  j = −2 … 2
    min over W, b, ϑ of  mean ‖qₖ ⊟ xₖ(x₀, u; ϑ)‖² + α (|e_angle|² − 1)² + β ‖ϑ‖²,  k = 1 … n

The encoded coordinates must move as the model does under the known u. A constant encoding is no
minimum, since u and gravity move what starts from it; the point of an angle must stay on the
circle, or an encoder may forget the angle where its images are alike. Rotations and reflections
of a circle are local minima that the physics tells apart: hence many starts, all in one batch,
each with physical parameters ϑ of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybridmodel.model import HybridModel
from hybridmodel.rl.latent.encoder import Encoder
from hybridmodel.rl.latent.features import LINEAR

_AROUND = 2  # samples on each side from which a first rate is taken
_SPREAD = 1.0
_SHARE = 0.1
_FLOOR, _START = 1e-2, 0.4
_CIRCLE, _PRIOR = 0.1, 5e-2  # α, β


@dataclass(frozen=True, eq=False)
class Aligned:
    """The best start: W (n, m), b (m,), ϑ (np,), and the losses (starts,) of all, best first."""

    weight: Tensor
    bias: Tensor
    theta: Tensor
    losses: Tensor


def aligned(
    model: HybridModel,
    encoder: Encoder,
    z: Tensor,
    u: Sequence[np.ndarray],
    *,
    starts: int = 32,
    kept: int = 6,
    iterations: tuple[int, int] = (120, 300),
    horizon: int = 14,
    batch: tuple[int, int] = (48, 192),
    rate: float = 3e-2,
    seed: int = 0,
) -> Aligned:
    """W, b and ϑ from features z (N, n) of episodes in a row and the inputs (T, nu) of each.

    starts, kept   how many W are drawn, and how many of them go on after the first iterations
    iterations, batch   of all starts, and of those kept: Adam steps, and windows in each
    horizon        n steps of a window

    Raises ValueError where no episode is long enough.
    """
    generator = torch.Generator().manual_seed(seed)
    index, inputs = _windows(u, horizon)
    if not len(index):
        raise ValueError(f"frames must hold an episode of at least {horizon + _AROUND} steps")
    z = z[:, :LINEAR].double()
    # centroids of one body's parts differ little, and their difference tells its direction
    _, S, V = torch.linalg.svd(z - z.mean(0), full_matrices=False)
    white = V.T / (S / math.sqrt(len(z))).clamp_min(_FLOOR)
    z = z @ white
    W = _START * torch.randn(starts, LINEAR, encoder.size, generator=generator, dtype=z.dtype)
    moved = [W, z.new_zeros(starts, 1, encoder.size), z.new_zeros(starts, len(model.theta))]
    judged = index[:: max(1, len(index) // 500)]
    losses = z.new_zeros(starts)
    for count, size in zip(iterations, batch, strict=True):
        moved = [t.detach().clone().requires_grad_() for t in moved]
        optimizer = torch.optim.Adam(
            [{"params": moved[:2], "lr": rate}, {"params": moved[2:], "lr": rate / 3}]
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, count)
        for _ in range(count):
            rows = index[torch.randint(len(index), (size,), generator=generator)]
            optimizer.zero_grad()
            loss = _losses(model, encoder, z, inputs, rows, horizon, *moved)
            loss.nan_to_num(0.0, 0.0).sum().backward()
            for t in moved:  # a start that blew up must not stop the others, nor itself for good
                if t.grad is not None:
                    t.grad.nan_to_num_(0.0, 0.0, 0.0)
                    length = t.grad.flatten(1).norm(dim=1).clamp_min(1e-9)
                    t.grad.mul_((1 / length).clamp(max=1.0).view(-1, *(1,) * (t.dim() - 1)))
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            losses = _losses(model, encoder, z, inputs, judged, horizon, *moved)
        losses, order = losses.nan_to_num(torch.inf).sort()
        moved = [t[order[:kept]] for t in moved]
    W, b, theta = (t.detach()[0] for t in moved)
    return Aligned(white @ W, b[0], theta, losses)


def _windows(u: Sequence[np.ndarray], horizon: int) -> tuple[Tensor, Tensor]:
    """Samples at which windows begin, and the inputs at all samples."""
    index, inputs, at = [], [], 0
    for own in u:
        index.append(np.arange(at + _AROUND, at + len(own) - max(horizon, _AROUND) + 1))
        inputs += [own, np.zeros((1, own.shape[1]))]
        at += len(own) + 1
    return torch.from_numpy(np.concatenate(index)), torch.from_numpy(np.concatenate(inputs))


def _losses(
    model: HybridModel,
    encoder: Encoder,
    z: Tensor,
    inputs: Tensor,
    rows: Tensor,
    horizon: int,
    W: Tensor,
    b: Tensor,
    theta: Tensor,
) -> Tensor:
    """The loss (S,) of each start on windows that begin at rows (B,)."""
    e = (
        z[rows[:, None] + torch.arange(-_AROUND, horizon + 1)] @ W[:, None] + b[:, None]
    )  # (S, B, n + 3, m)
    q = encoder.read(e)
    steps = encoder.wrapped(q[:, :, 1:] - q[:, :, :-1]).cumsum(2)
    q = torch.cat([q[:, :, :1], q[:, :, :1] + steps], 2)
    j = torch.arange(-_AROUND, _AROUND + 1, dtype=q.dtype)[:, None]
    v = (j * q[:, :, : len(j)]).sum(2) / (float((j**2).sum()) * model.dt)
    u = inputs[rows[:, None] + torch.arange(horizon)].expand(len(W), -1, -1, -1)
    p = model.torch_equations.constrain(theta)[:, None] if model.fit_parameters else theta[:, None]
    nq = q.shape[-1]
    x0 = torch.cat([q[:, :, _AROUND], v], -1)
    t = model.dt * torch.arange(horizon + 1, dtype=q.dtype)
    trend = torch.stack([torch.ones_like(t), t], -1)
    fitted = torch.linalg.pinv(trend)  # (2, n + 1)
    x = model.rollout(x0, u, p=p)
    off = encoder.wrapped(q[:, :, _AROUND:] - x[..., :nq])
    better = fitted @ off
    x = model.rollout(x0 + better.flatten(-2), u, p=p)
    off = encoder.wrapped(q[:, :, _AROUND:] - x[..., :nq])
    off = off - trend @ (fitted @ off)
    loss, k = _PRIOR * theta.square().sum(-1), 0
    for i, signal in enumerate(encoder.coordinates):
        if signal.angle:
            radius = e[..., k] ** 2 + e[..., k + 1] ** 2
            loss = loss + 2 * (1 - off[..., i].cos()).mean((1, 2))
            loss = loss + _CIRCLE * (radius - 1).square().mean((1, 2))
            spread = e[:, :, _AROUND, k : k + 2].std(1)
            loss = loss + _SPREAD * (0.5 - spread).relu().square().sum(-1)
        else:
            # relative to how much its path is bent, or a small scale would make noise cheap
            seen = q[:, :, _AROUND:, i]
            bent = (seen - seen @ (trend @ fitted).T).square().mean((1, 2))
            loss = loss + _SHARE * off[..., i].square().mean((1, 2)) / bent
        k += 2 if signal.angle else 1
    return loss
