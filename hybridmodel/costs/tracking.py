"""Following a reference that changes from plan to plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import casadi as ca

from hybridmodel.costs.cost import Cost
from hybridmodel.costs.quadratic import by_row
from physics import Signal


class Tracking(Cost):
    """ℓ = Σ wᵢ (yᵢ(x) − πᵢ)² + ℓ₀(x, u),  V = γ Σ wᵢ (yᵢ(x) − πᵢ)² + V₀(x).

    of       x ↦ y (n,) in CasADi, what is to follow a reference: a tool's position, say
    weights  wᵢ by the names of y's entries, which are those of the reference π too
    beside   (ℓ₀, V₀), what motion and effort cost besides
    final    γ, how much more the last step counts

    Raises ValueError where a weight is negative or y has another number of entries.
    """

    def __init__(
        self,
        of: Callable[[ca.SX], ca.SX],
        weights: Mapping[str, float],
        *,
        beside: Cost,
        final: float = 1.0,
    ) -> None:
        entries = tuple(Signal(name) for name in weights)
        self.weights = by_row("weights", entries, weights)
        self.of, self.beside, self.final = of, beside, final
        self.parameters = (*weights, *beside.parameters)

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        own = pi[len(self.weights) :, :]
        return self._distance(x, pi) + self.beside.stage(x, u, k, own)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        own = pi[len(self.weights) :, :]
        return self.final * self._distance(x, pi) + self.beside.terminal(x, own)

    def _distance(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        y, n = self.of(x), len(self.weights)
        if y.shape != (n, 1):
            raise ValueError(f"of must return {n} entries, one a weight; got shape {y.shape}")
        return ca.dot(ca.DM(self.weights), (y - pi[:n, :]) ** 2)
