"""The weights of a residual that stand for all of it: those of its last layer, or all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from hybridmodel.model import HybridModel

Tangent = Literal["last", "all"]


class Weights:
    """w (nw,), the chosen weights of a model's residual as one vector.

    "last" is the last linear layer, of a network whose other layers stay as they are: then r is
    linear in w. A residual without a linear layer gives all it has. "all" is everything that
    has a gradient. Without a residual nw = 0.
    Raises ValueError for another choice.
    """

    def __init__(self, model: HybridModel, tangent: Tangent = "last") -> None:
        if tangent not in ("last", "all"):
            raise ValueError(f"tangent must be 'last' or 'all', got {tangent!r}")
        residual = model.residual
        chosen: dict[str, Tensor] = {}
        if residual is not None:
            chosen = {n: w for n, w in residual.named_parameters() if w.requires_grad}
            linear = [n for n, m in residual.named_modules() if isinstance(m, nn.Linear)]
            if tangent == "last" and linear:
                prefix = f"{linear[-1]}." if linear[-1] else ""
                last = {f"{prefix}{part}" for part in ("weight", "bias")}
                chosen = {n: w for n, w in chosen.items() if n in last} or chosen
        self._shapes = {f"residual.{name}": w.shape for name, w in chosen.items()}
        parts = [w.detach().reshape(-1) for w in chosen.values()]
        self.value = torch.cat([model.theta.new_zeros(0), *parts]).clone()

    def __len__(self) -> int:
        return len(self.value)

    def named(self, w: Tensor) -> Mapping[str, Tensor]:
        """The tensors of the model, by name, that w (nw,) stands for."""
        sizes = [shape.numel() for shape in self._shapes.values()]
        parts = w.split(sizes) if sizes else ()
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def write(self, model: HybridModel, w: Tensor) -> None:
        """Set the weights of `model`, which must be of the same kind."""
        own = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in self.named(w).items():
                own[name].copy_(value)
