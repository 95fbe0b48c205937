"""Trajectory sampling: particles that draw the noise of the residual, of steps and of sensors.

    r_k = r_e(z) + √α σ_e(z) ε_k,   x_{k+1} = F(x_k, u_k; r_k) ⊞ w_k

TS∞  particle s keeps its member e for the whole path: a wrong model stays wrong
TS1  particles change members at every step, by a random permutation

Chua et al., Deep reinforcement learning in a handful of trials using probabilistic dynamics
models, NeurIPS 2018, section 4.2. ε_k is drawn once a step and held over its stages, as F holds
the input. What is unknown in closed form is drawn as well, η standard normal, by each particle once
a path in TS∞ and in every step in TS1:

    + √U(z) η    U  (1 − w) s² of members that have faded, which do not show it themselves;
                    of a residual without members, all of its epistemic variance
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybridmodel.equations import observe
from hybridmodel.model import HybridModel
from hybridmodel.uncertainty.linearised import root, unknown
from hybridmodel.uncertainty.manifold import moved, output_retract
from residuals import Probabilistic, SupportedProbabilistic

Network = Callable[..., Any]


class Draws:
    """Noise of a shape, from one generator; streams of one seed are independent."""

    def __init__(self, seed: int, like: Tensor, stream: int = 0) -> None:
        if stream:  # not seed + stream, which is another's seed
            mixed = np.random.SeedSequence((seed % 2**64, stream))
            seed = int(mixed.generate_state(1)[0])
        self.generator = torch.Generator().manual_seed(seed)
        self.like = like

    def normal(self, *shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return drawn.to(self.like)

    def order(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.generator).to(self.like.device)


class Particles:
    """E members with P particles each, (E, P, …).

    faded  whether any member has been where it fades
    """

    def __init__(
        self, model: HybridModel, members: int, per_member: int, *, noise: float, switching: bool
    ) -> None:
        self.model, self.members, self.per_member = model, members, per_member
        self.noise, self.switching = noise, switching
        self.faded = False

    def doubt(self, draws: Draws, batch: torch.Size) -> Tensor | None:
        """η (E, P, …, nr), None of a residual that has none in closed form."""
        residual = self.model.residual
        if not isinstance(residual, Probabilistic):
            return None
        if residual.count > 1 and not isinstance(residual, SupportedProbabilistic):
            return None
        return draws.normal(self.members, self.per_member, *batch, residual.nr or 0)

    def network(
        self, draws: Draws, doubts: Draws, held: Tensor | None, batch: torch.Size
    ) -> Network | None:
        """The map z (E, P, …, nz) ↦ r with the noise of one step."""
        residual = self.model.residual
        if residual is None or not isinstance(residual, Probabilistic):
            return residual
        fresh = draws.normal(self.members, self.per_member, *batch, residual.nr or 0)
        alone = residual.count == 1
        doubt = held if held is not None else self.doubt(draws if alone else doubts, batch)

        def noisy(z: Tensor) -> Tensor:
            if alone:
                # (1, P, …): the one member in front, particles are a batch dim to it
                mean, log_variance = (v[0] for v in residual.distribution(z))
                r = mean[None]
                log_variance = log_variance[None]
            else:
                r, log_variance = residual.distribution(z)
            if self.noise:
                r = r + fresh * (self.noise * log_variance.exp()).sqrt()
            if doubt is not None:
                size = root(residual.epistemic(z)) if alone else unknown(residual, z)
                self.faded = self.faded or (not alone and bool((size > 0).any()))
                r = r + doubt * size
            return r

        return noisy


def paths(
    model: HybridModel,
    x0: Tensor,
    u: Tensor,
    d: Tensor | None,
    *,
    particles: Particles,
    draws: Draws,
    doubts: Draws,
    start: Tensor | None,
    process: Tensor,
    measurement: Tensor | None,
) -> Tensor:
    """x (E, P, …, H+1, nx), or with `measurement` V the outputs y (E, P, …, H+1, ny).

    start  root of the covariance of x0 (…, n, n); process  Q (tangent rows)
    draws  of all that is noise; doubts  of what members do not show where they have faded
    """
    count, per = particles.members, particles.per_member
    batch = torch.broadcast_shapes(x0.shape[:-1], u.shape[:-2])
    shape, rows = (count, per, *batch), len(model.noise)
    x = x0.expand(*shape, model.nx)
    if start is not None:
        white = draws.normal(*shape, start.shape[-1])
        x = moved(model, x, (start @ white[..., None])[..., 0])
    of_doubt = draws if count == 1 else doubts
    held = None if particles.switching else particles.doubt(of_doubt, batch)
    p, found, steps = model.physical(), [], u.shape[-2]
    retract = None if measurement is None else output_retract(model.system.outputs)
    deviation = process.sqrt()

    def seen(x: Tensor, k: int, network: Network | None) -> Tensor:
        if measurement is None or retract is None:
            return x
        uk, dk = _inputs(x, u, d, max(k - 1, 0), steps)
        y = observe(model.torch_equations, network, model.scheme, x, uk, p, dk)
        return retract(y, draws.normal(*y.shape[:-1], len(measurement)) * measurement.sqrt())

    network = particles.network(draws, doubts, held, batch)
    found.append(seen(x, 0, network))
    for k in range(steps):
        order = draws.order(count * per) if particles.switching and count > 1 else None
        if order is not None:
            x = _ordered(x, order)
        uk, dk = _inputs(x, u, d, k, steps)
        x = model.step_with(network, model.scheme, x, uk, p, dk)
        if bool((process > 0).any()):
            x = moved(model, x, draws.normal(*shape, rows) * deviation)
        y = seen(x, k + 1, network)
        if order is not None:  # back, so that row s stays one path
            back = order.argsort()
            x, y = _ordered(x, back), _ordered(y, back)
        found.append(y)
        network = particles.network(draws, doubts, held, batch)
    return torch.stack(found, -2)


def _ordered(x: Tensor, order: Tensor) -> Tensor:
    return x.flatten(0, 1)[order].reshape(x.shape)


def _inputs(x: Tensor, u: Tensor, d: Tensor | None, k: int, steps: int) -> tuple[Tensor, Tensor]:
    uk = u[..., k, :] if steps else x.new_zeros(*x.shape[:-1], u.shape[-1])
    dk = x[..., :0] if d is None else d[..., k, :].expand(*x.shape[:-1], d.shape[-1])
    return uk, dk
