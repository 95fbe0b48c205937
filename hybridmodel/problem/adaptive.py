"""Parts of an objective that follow from the plan itself.

They are held while a planner searches and found anew from what it found, until both agree, so
that every planner can do with them: an outer fixed point around the same problem.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hybridmodel.problem.problem import OptimalControlProblem

ROUNDS = 5  # most plans of one call


class Adaptive(ABC):
    """Columns of π (H+1, n) that a plan decides."""

    @abstractmethod
    def first(self, problem: OptimalControlProblem) -> np.ndarray:
        """The columns where no plan is known."""

    @abstractmethod
    def after(
        self,
        problem: OptimalControlProblem,
        x: np.ndarray,
        u: np.ndarray,
        pi: np.ndarray,
        before: np.ndarray | None,
    ) -> np.ndarray:
        """The columns that follow from states x (H+1, nx) and inputs u (H, nu).

        pi (H+1, n) is what the caller gave, `before` the columns of the round before, None in
        the first.
        """
