"""What it costs a plan to leave the data that the residual was learned from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import casadi as ca

from hybridmodel.learned import Learned
from residuals import Doubt, Probabilistic, Supported

if TYPE_CHECKING:
    from hybridmodel.model import HybridModel


@dataclass(frozen=True)
class Caution:
    """A term of the stage cost:  λ mean_i (Var_e(r_i) / s_i²) + μ (1 − w),  z = φ(x, u, d).

    disagreement  λ, cost of a step where the correction may be anything of its usual size s;
                  Var_e is the variance from want of data, of a Probabilistic residual
    support       μ, cost of a step outside the data, where w = 0; of a Supported residual

    Both are smooth, and a residual that fades outside its data costs what it hides. In units of
    the stage cost. Raises ValueError for a weight that is negative or not finite.
    """

    disagreement: float = 0.0
    support: float = 0.0

    def __post_init__(self) -> None:
        for name in ("disagreement", "support"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a cost of at least 0, got {value!r}")

    def stage(self, model: HybridModel, x: ca.SX, u: ca.SX, d: ca.SX) -> ca.SX:
        """The term, at x (nx,) with memory, u (nu,) and d (nd,).

        Raises ValueError where the model's residual does not know what is asked of it.
        """
        wanted = {"disagreement": Probabilistic, "support": Supported}
        residual, pieces = model.residual, model.equations
        for name, kind in wanted.items():
            if getattr(self, name) and not isinstance(residual, kind):
                raise ValueError(
                    f"caution: {name} needs a residual that is {kind.__name__}, the model has "
                    f"{type(residual).__name__}"
                )
        if not all(f.is_a("SXFunction") for f in (pieces.features, pieces.applied)):
            raise ValueError("caution: the features of this model have no scalar form")
        p = ca.DM(model.physical().detach().cpu().numpy())
        z, cost = pieces.features(x, pieces.applied(x, u, p), d), ca.SX(0)
        if self.disagreement:
            assert isinstance(residual, Probabilistic)
            cost += self.disagreement * Learned(Doubt(residual))(z)
        if self.support:
            assert isinstance(residual, Supported)
            cost += self.support * (1 - Learned(residual.support)(z))
        return cost
