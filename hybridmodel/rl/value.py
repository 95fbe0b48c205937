"""What lies behind a planner's horizon, as a critic learned it.

    min Σ_{k<H} γᵏ ℓ(xₖ, uₖ) − γᴴ V_ψ(φ(x_H))

Lowrey et al., Plan Online, Learn Offline, ICLR 2019, eq. 4; Hansen, Wang & Su, Temporal Difference
Learning for Model Predictive Control, ICML 2022, eq. 3.
"""

from __future__ import annotations

import casadi as ca
import torch
from torch import Tensor, nn
from torch.nn import functional

from hybridmodel.costs import Cost
from hybridmodel.learned import Learned
from hybridmodel.rl.coordinates import Coordinates
from residuals import MLP

_LEAST = 1e-2  # how near to a ceiling values are told apart, in widths


class Value(nn.Module):
    """o (…, no) ↦ V (…, 1) in the unit of reward:  v = m + s N(o),  V = c − τ ln(1 + e^{(c−v)/τ}).

    network   N, s inside it; mean m
    ceiling   c, which no value exceeds, smoothed over τ = s/20; None: V = v
    rmse      of the values it was fitted to, on those held out
    """

    def __init__(
        self,
        network: MLP,
        mean: Tensor,
        *,
        ceiling: float | None = None,
        width: float = 1.0,
        rmse: float = float("nan"),
    ) -> None:
        super().__init__()
        self.network, self.ceiling, self.width, self.rmse = network, ceiling, width, rmse
        self.mean: Tensor
        self.register_buffer("mean", mean.reshape(1))

    def forward(self, o: Tensor) -> Tensor:
        v = self.unbounded(o)
        if self.ceiling is None:
            return v
        return self.ceiling - self.width * functional.softplus((self.ceiling - v) / self.width)

    def unbounded(self, o: Tensor) -> Tensor:
        """v (…, 1), which regressions are of: beyond the ceiling V has no slope."""
        return self.mean + self.network(o)

    def unbounded_from(self, value: Tensor) -> Tensor:
        """v of values V, those at the ceiling a little below it."""
        if self.ceiling is None:
            return value
        below = ((self.ceiling - value) / self.width).clamp_min(_LEAST)
        return self.ceiling - self.width * (below + torch.log(-torch.expm1(-below)))


class WithValue(Cost):
    """ℓ of a cost, and V(x) = −V_ψ(φ(x)) in place of its own terminal term.

    The discount is the problem's: `OptimalControlProblem(discount=agent.discount)`.
    """

    def __init__(self, cost: Cost, coordinates: Coordinates, value: nn.Module) -> None:
        self.cost, self.coordinates = cost, coordinates
        self.parameters = cost.parameters
        self.value = value

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return self.cost.stage(x, u, k, pi)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        n = len(self.coordinates.system.states)
        return -Learned(self.value)(self.coordinates.function(x[:n]))


def fit_value(
    o: Tensor,
    v: Tensor,
    *,
    hidden: tuple[int, ...] = (64, 64),
    epochs: int = 100,
    batch_size: int = 256,
    rate: float = 3e-3,
    held_out: float = 0.1,
    seed: int = 0,
) -> Value:
    """V by least squares from o (N, no) and v (N,), both float64.

    Raises ValueError for fewer than 20 rows.
    """
    if len(o) < 20 or v.shape != o.shape[:1]:
        raise ValueError(f"o and v must have at least 20 rows, got {len(o)} and {tuple(v.shape)}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(o), generator=generator)
    cut_at = max(1, round(held_out * len(o)))
    learn, check = order[cut_at:], order[:cut_at]
    mean, scale = v[learn].mean(), v[learn].std().clamp_min(1e-9)
    network = MLP(hidden, activation="silu", seed=seed).sized(o.shape[-1], 1)
    network.standardize(o[learn].mean(0), o[learn].std(0).clamp_min(1e-6), scale[None])
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    annealed = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        shuffled = learn[torch.randperm(len(learn), generator=generator)]
        for index in shuffled.split(batch_size):
            misfit = ((mean + network(o[index])[:, 0] - v[index]) / scale).square().mean()
            optimizer.zero_grad()
            misfit.backward()
            optimizer.step()
        annealed.step()
    for weight in network.parameters():
        weight.requires_grad_(False)
    with torch.no_grad():
        error = mean + network(o[check])[:, 0] - v[check]
    return Value(network.eval(), mean, rmse=float(error.square().mean().sqrt()))
