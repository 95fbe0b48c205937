"""The pure latent model: a free latent space with a network as its dynamics, the baseline.

    h₀ = N(z_k, z_{k−1}),   h_{j+1} = h_j + G(h_j, a_j),   ẑ_j = D(h_j),   r̂_j = R(h_j, a_j)
    min  mean ‖ẑ_j − z_{k+j}‖² + ‖h_j − N(z_{k+j}, z_{k+j−1})‖² + (r̂_j − r_{k+j})²,  j = 0 … n

z are the `Features`, N has the size of the encoder's, a are inputs as shares of their bounds. It
knows no physics: two frames tell velocities, and rewards of the same steps tell the task. After
Hafner et al., Learning Latent Dynamics for Planning from Pixels, ICML 2019, its deterministic path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hybridmodel.data.trajectory import Array
from hybridmodel.rl.latent.features import Features
from hybridmodel.rl.latent.frames import Frames
from physics import Signal
from residuals import MLP


class FreeLatent(nn.Module):
    """N, G, D and R over features of images; h (…, size)."""

    def __init__(
        self,
        features: Features,
        inputs: Sequence[Signal],
        *,
        size: int = 8,
        hidden: Sequence[int] = (64, 64),
        seed: int = 0,
    ) -> None:
        super().__init__()
        low, high = torch.tensor([(s.low, s.high) for s in inputs]).float().T
        if not (torch.isfinite(low) & torch.isfinite(high)).all():
            raise ValueError(f"inputs must have finite bounds, got {low} … {high}")
        n, nu = features.size, len(inputs)
        self.features, self.size = features, size
        self.middle: Tensor
        self.reach: Tensor
        self.register_buffer("middle", (low + high) / 2)
        self.register_buffer("reach", (high - low) / 2)
        shapes = {"N": (2 * n, size), "G": (size + nu, size), "D": (size, n), "R": (size + nu, 1)}
        nets = {}
        for i, (name, (a, b)) in enumerate(shapes.items()):
            net = MLP(hidden, activation="silu", seed=4 * seed + i, nz=a, nr=b).float()
            if name == "N":  # a latent space that starts at zero would give D nothing to learn from
                last = [layer for layer in net.modules() if isinstance(layer, nn.Linear)][-1]
                generator = torch.Generator().manual_seed(seed)
                with torch.no_grad():
                    last.weight.normal_(0.0, last.in_features**-0.5, generator=generator)
            nets[name] = net
        self.N, self.G, self.D, self.R = nets["N"], nets["G"], nets["D"], nets["R"]

    def encoded(self, z: Tensor, before: Tensor) -> Tensor:
        """h of features now and one step before."""
        return self.N(torch.cat([z, before], -1))

    def ahead(self, h: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """h₀ … h_n (…, n+1, size) and r̂₀ … r̂_{n−1} (…, n) under actions a (…, n, nu)."""
        states, rewards = [h], []
        for k in range(a.shape[-2]):
            both = torch.cat([states[-1], a[..., k, :]], -1)
            rewards.append(self.R(both)[..., 0])
            states.append(states[-1] + self.G(both))
        return torch.stack(states, -2), torch.stack(rewards, -1)


def fit_latent(
    frames: Sequence[Frames],
    inputs: Sequence[Signal],
    *,
    size: int = 8,
    horizon: int = 14,
    updates: int = 3000,
    batch: int = 64,
    rate: float = 2e-3,
    seed: int = 0,
) -> FreeLatent:
    """A pure latent model from images, inputs and rewards.

    Raises ValueError where rewards are missing or no episode is long enough.
    """
    if any(f.reward is None for f in frames):
        raise ValueError("frames must hold rewards: a pure latent model has no other task")
    features = Features(np.concatenate([f.images for f in frames]))
    model = FreeLatent(features, inputs, size=size, seed=seed)
    z = torch.cat([features(f.images) for f in frames])
    pad = np.zeros((1, len(inputs)))
    u = torch.from_numpy(np.concatenate([np.concatenate([f.u, pad]) for f in frames])).float()
    rewards = [np.append(f.reward, 0.0) for f in frames if f.reward is not None]
    r = torch.from_numpy(np.concatenate(rewards)).float()
    a, scale = (u - model.middle) / model.reach, r.std().clamp_min(1e-6)
    index, at = [], 0
    for f in frames:
        index.append(np.arange(at + 1, at + f.steps - horizon + 1))
        at += f.steps + 1
    rows = torch.from_numpy(np.concatenate(index))
    if not len(rows):
        raise ValueError(f"frames must hold an episode of at least {horizon + 1} steps")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for _ in range(updates):
        k = rows[torch.randint(len(rows), (batch,), generator=generator)][:, None]
        k = k + torch.arange(horizon + 1)
        told = model.encoded(z[k], z[k - 1])
        h, guess = model.ahead(told[:, 0], a[k[:, :-1]])
        loss = (model.D(h) - z[k]).square().mean() + (h - told).square().mean()
        loss = loss + ((guess - r[k[:, :-1]]) / scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return model.requires_grad_(False)


@dataclass(eq=False)
class FreePolicy:
    """CEM in the free latent space, replanned every `every` steps; a policy of images.

    last   so many times the last reward of a plan counts, for want of a terminal cost
    """

    model: FreeLatent
    horizon: int = 50
    samples: int = 300
    elites: int = 30
    iterations: int = 5
    knots: int = 12
    every: int = 2
    last: float = 1.0

    def reset(self, seed: int | None) -> None:
        """Forget the past."""
        self._generator = torch.Generator().manual_seed(0 if seed is None else seed)
        self._before: Tensor | None = None
        self._plan: Tensor | None = None
        self._age = 0

    def __call__(self, t: float, y: np.ndarray) -> Array:
        """u (nu,) at t [s] from an image y (h, w)."""
        with torch.no_grad():
            z = self.model.features(y)
            h = self.model.encoded(z, z if self._before is None else self._before)
            self._before = z
            if self._plan is None or self._age >= self.every:
                self._plan, self._age = self._searched(h), 0
            a = self._plan[self._age]
            self._age += 1
            return (self.model.middle + self.model.reach * a).double().numpy()

    def _searched(self, h: Tensor) -> Tensor:
        """a (H, nu), the best of all candidates."""
        H, nu = self.horizon, len(self.model.reach)
        weights = _between(self.knots, H)
        start = torch.zeros(self.knots, nu)
        if self._plan is not None:
            shifted = torch.cat([self._plan[self._age :], self._plan[-1:].expand(self._age, -1)])
            inverse = torch.from_numpy(np.linalg.pinv(weights.numpy()))
            start = (inverse @ shifted).clamp(-1, 1)
        mean, spread = start, torch.full_like(start, 0.6 if self._plan is None else 0.3)
        best, most = weights @ mean, -torch.inf
        for _ in range(self.iterations):
            noise = torch.randn(self.samples, self.knots, nu, generator=self._generator)
            points = (mean + spread * noise).clamp(-1, 1)
            points[0] = mean
            a = weights @ points
            _, rewards = self.model.ahead(h.expand(self.samples, -1), a)
            total = (rewards.sum(-1) + (self.last - 1) * rewards[:, -1]).nan_to_num(-torch.inf)
            order = total.topk(self.elites).indices
            if float(total[order[0]]) > most:
                best, most = a[order[0]], float(total[order[0]])
            mean, spread = points[order].mean(0), points[order].std(0)
        return best


def _between(knots: int, horizon: int) -> Tensor:
    """W (H, K), linear interpolation between knots that lie evenly."""
    at = np.linspace(0, knots - 1, horizon)
    unit = np.eye(knots)
    columns = [np.interp(at, np.arange(knots), row) for row in unit]
    return torch.from_numpy(np.stack(columns, 1)).float()
