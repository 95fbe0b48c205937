"""The cost of time itself, for problems whose steps may be longer or shorter."""

from __future__ import annotations

import casadi as ca

from hybridmodel.costs.cost import Cost
from hybridmodel.model import HybridModel
from physics import Paced


class MinimumTime(Cost):
    """ℓ = σ dt + σ ℓ₀(x, u),  V = V₀(x);  Σ σₖ dt is the seconds that the plan takes.

    model    from `free_time`, whose last input is the pace σ
    beside   (ℓ₀, V₀) of the model that `free_time` was given, what motion and effort cost a step
             of dt besides: a little of it makes the plan smooth; None for time alone

    Where the plan has to get to is a constraint at its end. Raises ValueError for a model whose
    time is not free.
    """

    def __init__(self, model: HybridModel, beside: Cost | None = None) -> None:
        if not isinstance(model.system, Paced):
            raise ValueError("model: its steps have one length; take hybridmodel.free_time(model)")
        self.dt, self.beside = model.dt, beside
        self.parameters = () if beside is None else beside.parameters

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        pace = u[-1]
        also = 0 if self.beside is None else self.beside.stage(x, u[:-1], k, pi)
        return pace * (self.dt + also)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(0) if self.beside is None else self.beside.terminal(x, pi)
