"""What the table of a study says: recovered fractions, and which model is better on the same seeds.

    recovered = (J_model − J_physics) / (median J_oracle − median J_physics)

J is the cost of a closed loop: 0 is no better than the physics, 1 as good as the oracle. The
numerator is of one seed, the gap is that of the place, medians over its seeds: a seed in which
oracle and physics happen to be alike then says no more than the others. Where these differ by less
than a tenth of |J_physics| there is no gap, and where the oracle is the worse of the two none
either: nothing can be recovered there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.comparison import Comparison, compare
from hybridmodel.statistics import interquartile_mean, interval

FLOOR, CEILING = "physics", "oracle"
LEAST_GAP = 0.1
Row = Mapping[str, Any]
Place = tuple[str, str, str, str]  # system, effect, planner, plant
Kind = tuple[str, str, float]  # model, placement, seconds of data


@dataclass(frozen=True)
class Recovered:
    """What one model recovered in one place: a fraction for each seed.

    place     system, effect, planner, plant
    kind      model, placement, seconds of data
    missing   seeds of the physics in which this model has no finite cost
    """

    place: Place
    kind: Kind
    fractions: Mapping[int, float]
    missing: int = 0

    @property
    def median(self) -> float:
        return float(np.median(list(self.fractions.values())))

    @property
    def mean(self) -> float:
        """The interquartile mean."""
        return interquartile_mean(list(self.fractions.values()))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the interquartile mean."""
        return interval(list(self.fractions.values()))


@dataclass(frozen=True)
class Gap:
    """How far the physics is from the oracle in one place: medians of their costs.

    state   "gap", "no gap", "oracle worse", or "diverged" where one of them is not finite
    """

    place: Place
    physics: float
    oracle: float

    @property
    def share(self) -> float:
        """(J_physics − J_oracle) / |J_physics|; infinite where that is 0."""
        apart = self.physics - self.oracle
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.divide(apart, abs(self.physics))) if apart else 0.0

    @property
    def state(self) -> str:
        if not (math.isfinite(self.physics) and math.isfinite(self.oracle)):
            return "diverged"
        if abs(self.share) < LEAST_GAP:
            return "no gap"
        return "gap" if self.share > 0 else "oracle worse"


def gaps(rows: Iterable[Row]) -> dict[Place, Gap]:
    """The gap of every place where physics and oracle have run."""
    costs = _costs(rows)
    found = {}
    for place, kinds in costs.items():
        ends = {model: by_seed for (model, _, _), by_seed in kinds.items()}
        if FLOOR in ends and CEILING in ends:
            physics, oracle = (float(np.median(list(ends[m].values()))) for m in (FLOOR, CEILING))
            found[place] = Gap(place, physics, oracle)
    return found


def recovered(rows: Iterable[Row]) -> list[Recovered]:
    """Fractions of every model but the two ends, wherever there is a gap."""
    rows = list(rows)
    costs, found = _costs(rows), []
    for place, gap in gaps(rows).items():
        if gap.state != "gap":
            continue
        physics = next(seeds for kind, seeds in costs[place].items() if kind[0] == FLOOR)
        for kind, by_seed in costs[place].items():
            if kind[0] in (FLOOR, CEILING):
                continue
            fractions = {
                seed: (by_seed[seed] - cost) / (gap.oracle - gap.physics)
                for seed, cost in physics.items()
                if math.isfinite(cost) and math.isfinite(by_seed.get(seed, math.nan))
            }
            if fractions:
                missing = len(physics) - len(fractions)
                found.append(Recovered(place, kind, fractions, missing))
    return found


def better(rows: Iterable[Row], first: Kind, second: Kind) -> dict[Place, Comparison]:
    """Costs of two models in every place where both have run, on the same seeds."""
    return {
        place: compare(
            {str(s): c for s, c in kinds[first].items()},
            {str(s): c for s, c in kinds[second].items()},
        )
        for place, kinds in _costs(rows).items()
        if first in kinds and second in kinds
    }


def over_effects(found: Sequence[Recovered], kind: Kind) -> dict[tuple[str, str], float]:
    """system, effect ↦ the median fraction of a model over planners, plants and seeds."""
    pooled: dict[tuple[str, str], list[float]] = {}
    for each in found:
        if each.kind == kind:
            pooled.setdefault(each.place[:2], []).extend(each.fractions.values())
    return {place: float(np.median(values)) for place, values in pooled.items()}


def _costs(rows: Iterable[Row]) -> dict[Place, dict[Kind, dict[int, float]]]:
    found: dict[Place, dict[Kind, dict[int, float]]] = {}
    for row in rows:
        if row["state"] == "done" and not math.isnan(row.get("cost", math.nan)):
            place = row["system"], row["effect"], row["planner"], row["plant"]
            kind = row["model"], row["placement"], float(row["data"])
            by_seed = found.setdefault(place, {}).setdefault(kind, {})
            by_seed[int(row["seed"])] = float(row["cost"])
    return found
