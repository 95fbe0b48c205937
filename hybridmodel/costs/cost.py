"""What a cost is, for every planner. Reward is −cost.

ℓ(x, u, k, π) stage cost,  V(x, π) terminal cost,  π problem parameters of that step
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import casadi as ca


class Cost(ABC):
    """Stage and terminal cost; `parameters` names the entries of π it reads."""

    parameters: tuple[str, ...] = ()

    @abstractmethod
    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        """ℓ(x, u, k, π), a scalar; k counts steps from the start of the plan."""

    @abstractmethod
    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        """V(x, π), a scalar."""
