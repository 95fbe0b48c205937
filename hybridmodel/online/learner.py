"""What learns from one step at a time, and how far a step is believed."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np


class Learner(Protocol):
    """Moves a model in place, from one step at a time."""

    def reset(self) -> None:
        """Put the model back to where it was when the learner was made."""
        ...

    def learn(self, x: np.ndarray, u: np.ndarray, d: np.ndarray, x_next: np.ndarray) -> str:
        """Learn from x⁺ (nx,) after x (nx,), u (nu,), d (nd,), memory included.

        Returns what kept the step from being learned as it was: "" is nothing. The model keeps
        what it had where the outcome would not be finite.
        """
        ...


def believed(distance: float, gate: float) -> float:
    """Huber's weight min(1, gate/distance) of an innovation `distance` deviations long.

    An outlier moves the model by no more than one at the gate; a lasting change still gets through.
    """
    return 1.0 if distance <= gate else gate / distance


def checked_gate(gate: float) -> float:
    if not 0 < gate < math.inf:
        raise ValueError(f"gate must be a positive number of deviations, got {gate}")
    return gate
