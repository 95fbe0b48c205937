"""An encoder trained by the model, without labels.

    0   N linear, from many starts, by the physics alone (`alignment`)
    E   x̂, P ← smoother of the model on the encoded q̂, under the known u
    M   ϑ ← identification on x̂,   N ← argmin Σₖ wₖ |N(zₖ) − e(q̂ₖ)|²,  wₖ = r²/(r² + Pₖ)

E and M in turn. An episode is encoded by a network that was fitted on other episodes: one that
has learned its errors by heart would only confirm them. Neither physics nor images tell the zero
and the unit of a coordinate that is no angle and whose motor gain is not known (s ↦ a s + b,
k ↦ a k): a few images with known coordinates do.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from hybridmodel.data import Dataset, Trajectory
from hybridmodel.fitting import fit, identify
from hybridmodel.model import HybridModel
from hybridmodel.rl.latent.alignment import aligned
from hybridmodel.rl.latent.encoder import Encoder, coordinates_of
from hybridmodel.rl.latent.features import LINEAR
from hybridmodel.rl.latent.frames import Frames
from hybridmodel.rl.latent.latent import Latent, estimator, padded
from hybridmodel.rl.latent.smoothing import smoothed

Progress = Callable[[Mapping[str, float]], None]
_SCALE = 0.05  # r, and the first measurement noise, as a share of a coordinate's range
_LEAST = 2e-2  # of the measurement noise likewise: a filter must not trust a bias
_BATCH, _DECAY, _KNOWN = 256, 1e-3, 20.0  # of the regression; a known image counts for so many
_SHORT = 20  # steps, of windows in an identification


def fit_encoder(
    model: HybridModel,
    frames: Sequence[Frames],
    *,
    process_noise: Sequence[float],
    known: tuple[np.ndarray, np.ndarray] | None = None,
    warm: Latent | None = None,
    starts: int = 32,
    rounds: int = 8,
    folds: int = 3,
    updates: int = 300,
    rate: float = 3e-3,
    residual_epochs: int = 0,
    hidden: Sequence[int] = (64, 64),
    seed: int = 0,
    progress: Progress | None = None,
) -> Latent:
    """Encoder, physical parameters and, last, the residual, from images and inputs alone.

    process_noise   (nx,) deviation of what one step of the model leaves in each state
    known           images (n, h, w) and their coordinates (n, nq): one fixes the zero, two apart
                    the unit of coordinates that are no angles
    warm            a latent model to go on from, instead of a linear start
    starts          of the linear search, see `aligned`
    rounds, folds   of E and M; and networks that are fitted on all but their own episodes
    updates, rate   of Adam in each M
    residual_epochs of `fit` on the last x̂, 0 leaves the residual as it is
    progress        called after every round with its history row

    True states that frames may hold are not looked at. Raises ValueError naming the argument.
    """
    began = time.perf_counter()
    nx, coordinates = model.system.nx, coordinates_of(model.system)
    process = np.asarray(process_noise, dtype=float)
    if process.shape != (nx,) or not (process > 0).all():
        raise ValueError(f"process_noise must be {nx} positive numbers, got {process_noise!r}")
    if not 2 <= folds <= len(frames):
        raise ValueError(f"folds must lie in [2, {len(frames)} frames], got {folds}")
    if rounds < 1 or updates < 1:
        raise ValueError(f"rounds and updates must be at least 1, got {rounds} and {updates}")
    images = np.concatenate([f.images for f in frames])
    owner = np.concatenate([np.full(len(f.images), i % folds) for i, f in enumerate(frames)])
    cuts = np.cumsum([len(f.images) for f in frames])[:-1]
    encoder = Encoder(coordinates, images, hidden=hidden, seed=seed)
    z, given = encoder.features(images), _given(encoder, known)
    if warm is None:
        q, model = _first(model, encoder, z, frames, given, starts, seed)
    else:
        q = warm.measured(images)[:, : len(coordinates)]
        model = copy.deepcopy(model)
        model.load_state_dict(warm.model.state_dict())
    scale = np.array(
        [1.0 if s.angle else r for s, r in zip(coordinates, encoder.reach, strict=True)]
    )
    spread, noise = _SCALE * scale, _SCALE * scale
    columns = [i for i, s in enumerate(coordinates) for _ in range(2 if s.angle else 1)]
    heads = [copy.deepcopy(encoder.network) for _ in range(folds + 1)]
    generator = torch.Generator().manual_seed(seed)
    history, logs = [], None
    for turn in range(rounds):
        gated = estimator(model, noise, process)
        pairs = [
            smoothed(gated, padded(own, nx), f.u)
            for own, f in zip(np.split(q, cuts), frames, strict=True)
        ]
        logs = _logs(model.dt, frames, [x for x, _ in pairs])
        if model.fit_parameters:
            model = identify(model, logs, logs, horizon=_SHORT, starts=1, stride=2).model
        x, P = (np.concatenate(part)[:, : len(coordinates)] for part in zip(*pairs, strict=True))
        e = encoder.targets(torch.from_numpy(x)).float()
        w = torch.from_numpy(spread**2 / (spread**2 + P)).float()[:, columns]
        for k, head in enumerate(heads):
            rows = torch.from_numpy(np.flatnonzero(owner != k))
            parts = (z[rows], e[rows], w[rows])
            _regress(head, parts, given, updates, rate, generator)
        with torch.no_grad():
            own = torch.stack([encoder.read(head(z)) for head in heads[:folds]])
        q = own[torch.from_numpy(owner), torch.arange(len(z))].double().numpy()
        off = encoder.wrapped(torch.from_numpy(q - x)).numpy()
        noise = np.maximum(_LEAST * scale, 1.48 * np.median(np.abs(off), 0))
        row = {"round": float(turn), "seconds": time.perf_counter() - began}
        row |= {f"noise {s.name}": float(r) for s, r in zip(coordinates, noise, strict=True)}
        history.append(row | {k: float(v) for k, v in model.parameter_values().items()})
        if progress is not None:
            progress(history[-1])
    if model.residual is not None and residual_epochs and logs is not None:
        parts = [Dataset([log for i, log in enumerate(logs) if (i % 6 == 5) == v]) for v in (0, 1)]
        model = fit(model, *parts, horizons=(5, 20), epochs=residual_epochs, seed=seed).model
    encoder.network.load_state_dict(heads[-1].state_dict())
    return Latent(encoder, model, noise, process, tuple(history))


def _given(
    encoder: Encoder, known: tuple[np.ndarray, np.ndarray] | None
) -> tuple[Tensor, Tensor, np.ndarray]:
    """z, e and q of the known images, of none where there are none."""
    nq = len(encoder.coordinates)
    images, q = (
        known if known is not None else (np.zeros((0, *encoder.features.shape), np.uint8), [])
    )
    q = np.asarray(q, dtype=float).reshape(-1, nq)
    if len(images) != len(q):
        raise ValueError(f"known must hold as many images as coordinates, got {len(images)}, {q!r}")
    z = encoder.features(images) if len(q) else torch.zeros(0, encoder.features.size)
    return z, encoder.targets(torch.from_numpy(q)).float(), q


def _first(
    model: HybridModel,
    encoder: Encoder,
    z: Tensor,
    frames: Sequence[Frames],
    given: tuple[Tensor, Tensor, np.ndarray],
    starts: int,
    seed: int,
) -> tuple[np.ndarray, HybridModel]:
    """q (N, nq) of the linear start, what is no angle on the line through the known images."""
    found = aligned(model, encoder, z, [f.u for f in frames], starts=starts, seed=seed)
    sets = (features[:, :LINEAR].double() for features in (z, given[0]))
    q, there = (encoder.read(some @ found.weight + found.bias).numpy() for some in sets)
    for i, signal in enumerate(encoder.coordinates):
        if not signal.angle and len(there):
            apart = np.ptp(given[2][:, i]) > 0
            a, b = np.polyfit(there[:, i], given[2][:, i], 1) if apart else (1.0, 0.0)
            b += np.mean(given[2][:, i] - a * there[:, i] - b)
            q[:, i] = a * q[:, i] + b
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.theta.copy_(found.theta)
    return q, model


def _logs(dt: float, frames: Sequence[Frames], states: Sequence[np.ndarray]) -> Dataset:
    """Smoothed states as logs; episodes that are too short to be identified on are left out."""
    kept = [
        Trajectory(t=dt * np.arange(len(x), dtype=np.float64), u=f.u, y=x)
        for f, x in zip(frames, states, strict=True)
        if f.steps >= _SHORT
    ]
    if not kept:
        raise ValueError(f"frames must hold an episode of at least {_SHORT} steps")
    return Dataset(kept)


def _regress(
    head: nn.Module,
    parts: tuple[Tensor, Tensor, Tensor],
    given: tuple[Tensor, Tensor, np.ndarray],
    updates: int,
    rate: float,
    generator: torch.Generator,
) -> None:
    """M for one network, which goes on from where it was."""
    z, e, w = parts
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for _ in range(updates):
        rows = torch.randint(len(z), (_BATCH,), generator=generator)
        optimizer.zero_grad()
        loss = (w[rows] * (head(z[rows]) - e[rows]).square()).mean()
        if len(given[0]):
            off = (head(given[0]) - given[1]).square().mean()
            loss = loss + _KNOWN * len(given[0]) / len(z) * off
        loss.backward()
        optimizer.step()
        schedule.step()
