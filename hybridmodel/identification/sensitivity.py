"""What moves the predictions of a window: parameters, residual, initial state.

    e = ŷ(ϑ, w, x₀ ⊞ δ) ⊟ y,    S = ∂e/∂ϑ,   J = ∂e/∂w,   X = ∂e/∂δ

Central differences, all of them in one batch of rollouts: an order of magnitude faster than
forward mode, and good to about 1e-9.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hybridmodel.batches import Batch, outputs
from hybridmodel.identification.weights import Weights
from hybridmodel.model import HybridModel
from physics import tangent

_H = 1e-5  # of ϑ and δ, which are relative or of order one
_ROWS = 20_000  # windows rolled out at once, bounds the memory


@dataclass(frozen=True)
class Sensitivities:
    """Of N windows with M = (H + 1) × tangent outputs, or H × without the first sample:

    error (N, M), theta S (N, M, np), weights J (N, M, nw), initial X (N, M, nδ)
    channel (M,)   which output each of the M is
    """

    error: Tensor
    theta: Tensor
    weights: Tensor
    initial: Tensor
    channel: Tensor

    def scaled(self, free: Tensor) -> Sensitivities:
        """With S in columns (np,) that are 1 where a parameter may move and 0 where not."""
        return replace(self, theta=self.theta * free)

    def without_weights(self) -> Sensitivities:
        """With the residual known."""
        return replace(self, weights=self.weights[..., :0])


class Predictor(nn.Module):
    """The errors of all windows as a function of (ϑ, w, x₀), for one point or a batch of points."""

    def __init__(self, model: HybridModel, windows: Batch, weights: Weights, *, first: bool):
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self._windows, self._weights, self._first = windows, weights, first
        self.nd = len(tangent.signals(model.system.states))

    def forward(self, theta: Tensor, start: Tensor) -> Tensor:
        p = self.model.torch_equations.constrain(theta)
        windows = self._windows.starting(start)
        error = self.model.output_difference(outputs(self.model, windows, p), windows.y)
        return (error if self._first else error[..., 1:, :]).flatten(-2)

    def moved(self, start: Tensor, delta: Tensor) -> Tensor:
        """x₀ ⊞ δ (…, N, n)."""
        return self.model.state_retract(start, delta)

    def errors(self, theta: Tensor, w: Tensor, x0: Tensor) -> Tensor:
        """(B, N, M) of B points: theta (B, np), w (B, nw), x0 (B, N, n)."""

        def one(theta: Tensor, w: Tensor, x0: Tensor) -> Tensor:
            named = {f"model.{k}": v for k, v in self._weights.named(w).items()}
            return torch.func.functional_call(self, named, (theta, x0))

        size = max(1, _ROWS // max(1, len(self._windows)))
        with torch.no_grad():
            return torch.vmap(one, chunk_size=size)(theta, w, x0)

    def sensitivities(self, theta: Tensor, w: Tensor, x0: Tensor, *, initial: bool):
        """e, S, J and, where asked for, X at one point: theta (np,), w (nw,), x0 (N, n)."""
        sizes = (len(theta), len(w), self.nd if initial else 0)
        total = sum(sizes)
        # weights of standardised features are of order one; large ones cancel, and a step in
        # their proportion would be far too long
        h = torch.cat(
            [
                theta.new_full((sizes[0],), _H),
                _H * w.abs().clamp(min=1e-2, max=1.0),
                theta.new_full((sizes[2],), _H),
            ]
        )
        step = torch.diag(h)
        step = torch.cat([theta.new_zeros(1, total), step, -step])
        d_theta, d_w, d_x = step.split(sizes, -1)
        B = len(step)
        if initial:
            # the same move of every window: each depends on its own x₀ alone
            shape = (B, *x0.shape)
            starts = self.moved(x0.expand(shape), d_x[:, None, :].expand(*shape[:2], self.nd))
        else:
            starts = x0.expand(B, *x0.shape)
        found = self.errors(theta + d_theta, w + d_w, starts)
        slope = (found[1 : 1 + total] - found[1 + total :]) / (2 * h[:, None, None])
        S, J, X = slope.movedim(0, -1).split(sizes, -1)
        width = self._width()
        channel = torch.arange(found.shape[-1], device=theta.device) % width
        return Sensitivities(found[0], S, J, X, channel)

    def _width(self) -> int:
        return len(tangent.signals(self.model.system.outputs))
