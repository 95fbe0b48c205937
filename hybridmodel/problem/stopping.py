"""A horizon that ends where an ensemble's members part.

min  Σ_{k<T} γᵏ ℓ(xₖ, uₖ) + γᵀ V(x_T),   T the first step at which  mean_i Var_e(r_i)/s_i² > level
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from hybridmodel.problem.adaptive import Adaptive
from residuals import Doubt, Probabilistic

if TYPE_CHECKING:
    from hybridmodel.problem.problem import OptimalControlProblem


@dataclass(frozen=True)
class Stop(Adaptive):
    """What lies behind the parting of members costs nothing, and is not believed.

    disagreement  level of what `Caution` calls disagreement, 1 where the correction may be
                  anything of its usual size
    least         steps that are planned in any case

    Constraints hold over the whole horizon. In one planning call the horizon only gets shorter.
    Raises ValueError naming the argument.
    """

    disagreement: float = 0.5
    least: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.disagreement < math.inf:
            raise ValueError(f"disagreement must be a level above 0, got {self.disagreement!r}")
        if self.least < 1:
            raise ValueError(f"least must be at least 1 step, got {self.least!r}")

    def first(self, problem: OptimalControlProblem) -> np.ndarray:
        return _weights(problem.horizon, problem.horizon)

    def after(
        self,
        problem: OptimalControlProblem,
        x: np.ndarray,
        u: np.ndarray,
        pi: np.ndarray,
        before: np.ndarray | None,
    ) -> np.ndarray:
        model, H = problem.model, problem.horizon
        assert isinstance(model.residual, Probabilistic)
        d = torch.tensor(pi[:H, : model.system.nd])
        with torch.no_grad():
            z = model.residual_features(torch.tensor(x[:-1]), torch.tensor(u), d)
            doubt = Doubt(model.residual)(z)[..., 0].numpy()
        parted = np.flatnonzero(~(doubt <= self.disagreement))
        ends = max(int(parted[0]), self.least) if len(parted) else H
        if before is not None:
            ends = min(ends, int(before[:, 1].argmax()))
        return _weights(ends, H)


def _weights(ends: int, H: int) -> np.ndarray:
    """(H+1, 2): whether ℓ of a step counts, and whether V does."""
    k = np.arange(H + 1)
    return np.stack([k < ends, k == ends], 1).astype(float)
