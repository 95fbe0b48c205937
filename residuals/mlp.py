"""The multilayer perceptron."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from residuals.residual import Limit, Rescale, Residual, Standardize

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "relu": nn.ReLU,
}


class MLP(Residual):
    """r = ℓ tanh(s ∘ W_n σ(… σ(W_1 (z − μ)/ς + b_1) …) / ℓ), the outer tanh only with a limit.

    hidden      widths of the hidden layers
    activation  σ, one of "tanh", "silu", "softplus", "relu"
    limit       ℓ > 0, hard bound on |r| in the units of r, one number or one for each row
    seed        of the initial weights; the last layer starts at zero

    Raises ValueError for an unknown activation, a limit ≤ 0 or of another length, or sizes < 1.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        *,
        activation: str = "tanh",
        limit: float | Sequence[float] | None = None,
        seed: int = 0,
        nz: int | None = None,
        nr: int | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {list(ACTIVATIONS)}, got {activation!r}")
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden must hold widths of at least 1, got {tuple(hidden)}")
        self.hidden, self.activation, self.seed = tuple(hidden), activation, seed
        self.limit = limit if limit is None or isinstance(limit, int | float) else tuple(limit)
        self.nz, self.nr = nz, nr
        self.chain = nn.Sequential()
        if nz is not None and nr is not None:
            self.chain = nn.Sequential(*self._layers(nz, nr))

    def _layers(self, nz: int, nr: int) -> list[nn.Module]:
        generator = torch.Generator().manual_seed(self.seed)
        layers: list[nn.Module] = [Standardize(nz)]
        for n, m in itertools.pairwise((nz, *self.hidden)):
            linear = _linear(n, m)
            with torch.no_grad():  # Glorot's uniform: keeps variances through tanh layers
                bound = (6 / (n + m)) ** 0.5
                linear.weight.uniform_(-bound, bound, generator=generator)
                linear.bias.zero_()
            layers += [linear, ACTIVATIONS[self.activation]()]
        last = _linear((nz, *self.hidden)[-1], nr)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        layers += [last, Rescale(nr)]
        if self.limit is not None:
            limit = (self.limit,) * nr if isinstance(self.limit, int | float) else self.limit
            if len(limit) != nr or not all(bound > 0 for bound in limit):
                raise ValueError(f"limit must be positive, one number or {nr}, got {self.limit}")
            layers.append(Limit(limit))
        return layers

    def forward(self, z: Tensor) -> Tensor:
        return self.chain(z)

    def sized(self, nz: int, nr: int) -> Self:
        if (self.nz, self.nr) not in ((None, None), (nz, nr)):
            raise ValueError(
                f"residual maps {self.nz} features to {self.nr} outputs; "
                f"features and placement want {nz} → {nr}"
            )
        config: dict[str, Any] = self.config() | {"nz": nz, "nr": nr}
        fresh = type(self)(**config)
        if self.nz is not None:
            fresh.load_state_dict(self.state_dict())
        return fresh

    def standardize(self, mean: Tensor, scale: Tensor, output_scale: Tensor) -> None:
        for layer in self.chain:
            if isinstance(layer, Standardize):
                layer.mean.copy_(mean)
                layer.scale.copy_(scale)
            elif isinstance(layer, Rescale):
                layer.scale.copy_(output_scale)

    def config(self) -> dict[str, Any]:
        return {
            "hidden": self.hidden,
            "activation": self.activation,
            "limit": self.limit,
            "seed": self.seed,
            "nz": self.nz,
            "nr": self.nr,
        }


def _linear(n: int, m: int) -> nn.Linear:
    """A layer without values: torch would draw them from its global generator."""
    return cast(nn.Linear, nn.utils.skip_init(nn.Linear, n, m, dtype=torch.float64))
