"""What every estimator is asked for."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Estimator(Protocol):
    """y₀, (u₀, d₀), y₁, (u₁, d₁), … ↦ x̂."""

    def reset(self) -> None:
        """Forget the past."""
        ...

    def update(
        self, y: np.ndarray, previous_input: np.ndarray | None, d: np.ndarray | None = None
    ) -> np.ndarray:
        """x̂ (nx,) after measuring y (ny,) at the end of a step.

        `previous_input` (nu,) was commanded in that step and `d` (nd,) are the exogenous signals
        that acted in it; both are None before the first step, d also where the system has none.
        A lost measurement comes as NaN: the step still counts, and x̂ is NaN where it cannot be
        told without.
        """
        ...
