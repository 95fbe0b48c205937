"""The likelihood along one parameter, all others fitted again at each value.

    D(p_j) = min over all else of C − min C,    interval: D ≤ χ²₁(level)

C is the cost of `fit_jointly`, whose errors are white, so that D is a likelihood ratio. (The loss
of `identify` is not: each of its windows starts from one noisy sample, which all its errors share.)
Unlike standard errors the interval may be lopsided or open at an end.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from hybridmodel.data import Dataset
from hybridmodel.fitting import standardized
from hybridmodel.identification.joint import solve
from hybridmodel.identification.prior import residual_prior
from hybridmodel.identification.weights import Weights
from hybridmodel.model import HybridModel

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Profile:
    """values (K,) of one parameter, ascending, and the drop D (K,) of log-likelihood, doubled."""

    name: str
    unit: str
    values: Array
    drop: Array

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Bounds where D crosses χ²₁(level), interpolated in √D; ±∞ where it does not."""
        if not 0 < level < 1:
            raise ValueError(f"level must be within 0 … 1, got {level}")
        z = NormalDist().inv_cdf((1 + level) / 2)
        root = np.sqrt(self.drop)
        best = int(root.argmin())

        def crossing(order: Sequence[int], otherwise: float) -> float:
            for a, b in itertools.pairwise(order):
                if root[a] <= z < root[b]:
                    share = (z - root[a]) / (root[b] - root[a])
                    return float(self.values[a] + share * (self.values[b] - self.values[a]))
            return otherwise

        last = len(root)
        return (
            crossing(range(best, -1, -1), -np.inf),
            crossing(range(best, last), np.inf),
        )


def profile(
    model: HybridModel,
    train: Dataset,
    name: str,
    *,
    values: Sequence[float] | None = None,
    reach: float = 3.0,
    count: int = 9,
    horizons: Sequence[int] = (10, 50),
    residual_deviation: float = 3.0,
) -> Profile:
    """Profile likelihood of one of `model.fit_parameters`.

    values   of the parameter; None takes `count` of them over ± `reach` standard errors about the
             best fit, within ± 1 in ϑ
    Raises ValueError naming the argument.
    """
    if name not in model.fit_parameters:
        raise ValueError(f"name must be one of {list(model.fit_parameters)}, got {name!r}")
    if count < 3 or not reach > 0:
        raise ValueError(f"count must be at least 3 and reach positive, got {count}, {reach}")
    model = standardized(model, train)
    weights = Weights(model)
    prior = model.theta.new_zeros(0, 0)
    if len(weights):  # one for all values, or their costs could not be compared
        prior, _ = residual_prior(model, train, weights, deviation=residual_deviation)
    best = solve(model, train, weights, prior, horizons=horizons)
    about = best.information
    k = about.names.index(name)
    if values is None:
        span = min(1.0, reach * float(about.relative_errors[k]))
        theta = np.repeat(about.theta[None], count, 0)
        theta[:, k] += np.linspace(-span, span, count)
        values = [float(np.asarray(about.constrain(row))[k]) for row in theta]
    grid = np.unique([*(float(v) for v in values), float(about.values[k])])
    costs = []
    for value in grid:
        at = best.model.rebuilt(best.model.system.with_parameters(**{name: float(value)}))
        found = solve(
            at,
            train,
            Weights(at),
            prior,
            horizons=tuple(horizons)[-1:],
            noise=about.noise,
            tolerance=1e-2,
            held=(name,),
        )
        costs.append(found.objective)
    return Profile(name, about.units[k], grid, np.array(costs) - min(costs))
