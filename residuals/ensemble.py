"""An ensemble of multilayer perceptrons that tell what noise is and where data are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from residuals.mlp import ACTIVATIONS, MLP
from residuals.residual import Limit, Probabilistic, Rescale, Standardize
from residuals.sizing import resized


class Stacked(nn.Module):
    """y_e = W_e x_e + b_e for all members e at once, x (E or 1, …, n), W (E, m, n), b (E, m)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        count, m, n = self.weight.shape
        rows = x.flatten(1, -2) if x.dim() > 2 else x[:, None]  # (E or 1, N, n)
        y = torch.baddbmm(self.bias[:, None], rows.expand(count, -1, n), self.weight.mT)
        return y.reshape(count, *x.shape[1:-1], m)


class SoftBounds(nn.Module):
    """s ↦ low + ln(1 + exp(t − low)), t = high − ln(1 + exp(high − s)), between low and high.

    Chua et al. 2018 (PETS), appendix A.1, with bounds that are fixed.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, s: Tensor) -> Tensor:
        below = self.high - functional.softplus(self.high - s)
        return self.low + functional.softplus(below - self.low)


class Ensemble(Probabilistic):
    """E perceptrons with a mean and a variance each, apart in their initial weights.

        x = (z − μ)/ς,   h_e = σ(W_e,n … σ(W_e,1 x + b_e,1) …)     (E, …, width)
        r_e = ℓ tanh(s ∘ (V_e h_e + c_e)/ℓ)                        (E, …, nr), tanh with a limit
        ln σ_e² = 2 ln s + bounded(U_e h_e + d_e)                  (E, …, nr)
        r = Σ_e r_e / E,   epistemic = Σ_e (r_e − r)² / (E − 1)

    hidden, activation, limit   as of `MLP`
    count          E ≥ 1
    probabilistic  False: the variance is one number for each member and row, not a function of z
    log_variance_bounds   of ln(σ²/s²), s the output scale; they are fixed: beyond the data it is
                   `Supported` that says what is unknown, so no bound needs to be learned for that
    seed           member e starts as MLP(seed=seed·E + e) does; V and c start at zero

    The limit bounds means, and so what members can disagree about: at the limit they agree. The
    noise is that of r about its mean, in the units of r, and is not bounded with it: near the limit
    σ is what data say and not what tanh leaves of it.

    Raises ValueError for count < 1, bounds that are not two rising numbers, and what MLP refuses.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        *,
        count: int = 5,
        activation: str = "tanh",
        limit: float | Sequence[float] | None = None,
        probabilistic: bool = True,
        log_variance_bounds: Sequence[float] = (-10.0, 3.0),
        seed: int = 0,
        nz: int | None = None,
        nr: int | None = None,
    ) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        low, high = _bounds(log_variance_bounds)
        self.count, self.probabilistic, self.log_variance_bounds = count, probabilistic, (low, high)
        self.seed, self.nz, self.nr = seed, nz, nr
        self._recipe = MLP(hidden, activation=activation, limit=limit).config()
        self.bounds = SoftBounds(low, high)
        if nz is None or nr is None:
            return
        one = self._perceptron(0)
        start = [_linears(self._perceptron(e)) for e in range(count)]
        stacked = [
            Stacked(
                torch.stack([layer.weight.detach() for layer in layers]),
                torch.stack([layer.bias.detach() for layer in layers]),
            )
            for layers in zip(*start, strict=True)
        ]
        self.input = Standardize(nz)
        self.chain = nn.Sequential()
        for layer in stacked[:-1]:
            self.chain.append(layer).append(ACTIVATIONS[activation]())
        self.mean = stacked[-1]
        self.noise = (
            Stacked(torch.zeros_like(self.mean.weight), torch.zeros_like(self.mean.bias))
            if probabilistic
            else nn.Parameter(torch.zeros_like(self.mean.bias))
        )
        self.output = Rescale(nr)
        self.limits = nn.Sequential(*(m for m in one.chain if isinstance(m, Limit)))

    def forward(self, z: Tensor) -> Tensor:
        return self.members(z[None]).mean(0)

    def members(self, z: Tensor) -> Tensor:
        return self._means(self._hidden(z))

    def distribution(self, z: Tensor) -> tuple[Tensor, Tensor]:
        h = self._hidden(z)
        mean = self._means(h)
        raw = (
            self.noise(h)
            if isinstance(self.noise, Stacked)
            else self.noise.reshape(self.count, *(1,) * (mean.dim() - 2), -1)
        )
        log_variance = self.bounds(raw) + 2 * torch.log(self.output.scale)
        return mean, log_variance.expand_as(mean)

    def epistemic(self, z: Tensor) -> Tensor:
        members = self.members(z[None])
        apart = members - members.mean(0)
        return apart.square().sum(0) / max(self.count - 1, 1)  # one member never disagrees

    def member(self, index: int) -> MLP:
        """The mean of member `index` as a perceptron of its own; ValueError where there is none."""
        if not 0 <= index < self.count:
            members = f"the {self.count} members, 0 to {self.count - 1}"
            raise ValueError(f"index must be one of {members}, got {index}")
        if self.nz is None:
            raise ValueError("member: a recipe has no weights; take it of ensemble.sized(nz, nr)")
        one = self._perceptron(index).to(self.mean.weight)
        stacked = [*(m for m in self.chain if isinstance(m, Stacked)), self.mean]
        with torch.no_grad():
            for layer, layers in zip(_linears(one), stacked, strict=True):
                layer.weight.copy_(layers.weight[index])
                layer.bias.copy_(layers.bias[index])
            one.standardize(self.input.mean, self.input.scale, self.output.scale)
        return one.train(self.training)

    def sized(self, nz: int, nr: int) -> Self:
        return resized(self, self.config(), nz, nr)

    def standardize(self, mean: Tensor, scale: Tensor, output_scale: Tensor) -> None:
        self.input.mean.copy_(mean)
        self.input.scale.copy_(scale)
        self.output.scale.copy_(output_scale)

    def config(self) -> dict[str, Any]:
        return self._recipe | {
            "count": self.count,
            "probabilistic": self.probabilistic,
            "log_variance_bounds": self.log_variance_bounds,
            "seed": self.seed,
            "nz": self.nz,
            "nr": self.nr,
        }

    def _perceptron(self, index: int) -> MLP:
        seed = self.seed * self.count + index
        return MLP(**(self._recipe | {"seed": seed, "nz": self.nz, "nr": self.nr}))

    def _hidden(self, z: Tensor) -> Tensor:
        return self.chain(self.input(z))

    def _means(self, h: Tensor) -> Tensor:
        return self.limits(self.output(self.mean(h)))


def _linears(one: MLP) -> list[nn.Linear]:
    return [layer for layer in one.chain if isinstance(layer, nn.Linear)]


def _bounds(given: Sequence[float]) -> tuple[float, float]:
    numbers = tuple(given)
    if len(numbers) != 2 or not -float("inf") < numbers[0] < numbers[1] < float("inf"):
        raise ValueError(f"log_variance_bounds must be two rising numbers, got {given}")
    return float(numbers[0]), float(numbers[1])
