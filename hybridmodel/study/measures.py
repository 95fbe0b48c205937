"""What the table of a study says: recovered fractions, and which model is better on the same seeds.

    recovered = (J_model − J_physics) / (median J_oracle − median J_physics)

J is the cost of a closed loop: 0 is no better than the physics, 1 as good as the oracle. The
numerator is of one seed, the gap is that of the place, medians over its seeds: a seed in which
oracle and physics happen to be alike then says no more than the others. Where these differ by less
than a tenth of |J_physics| there is no gap, and where the oracle is the worse of the two none
either: nothing can be recovered there. A loop that failed, or has no finite cost, costs infinitely
much: its model recovered −∞ there. What has not run yet says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.comparison import Comparison, compare
from hybridmodel.statistics import interquartile_mean, interval
from hybridmodel.study.plants import MEASURED

FLOOR, CEILING = "physics", "oracle"
LEAST_GAP = 0.1
Row = Mapping[str, Any]
Place = tuple[str, str, str, str]  # system, effect, planner, plant
Kind = tuple[str, str, float]  # model, placement, seconds of data


@dataclass(frozen=True)
class Recovered:
    """What one model recovered in one place: a fraction for each seed.

    place   system, effect, planner, plant
    kind    model, placement, seconds of data
    """

    place: Place
    kind: Kind
    fractions: Mapping[int, float]

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
    found = {}
    for place, kinds in costs(rows).items():
        ends = {model: by_seed for (model, _, _), by_seed in kinds.items()}
        if FLOOR in ends and CEILING in ends:
            physics, oracle = (float(np.median(list(ends[m].values()))) for m in (FLOOR, CEILING))
            found[place] = Gap(place, physics, oracle)
    return found


def recovered(rows: Iterable[Row]) -> list[Recovered]:
    """Fractions of every model but the two ends, wherever there is a gap."""
    rows = list(rows)
    paid, found = costs(rows), []
    for place, gap in gaps(rows).items():
        if gap.state != "gap":
            continue
        physics = next(seeds for kind, seeds in paid[place].items() if kind[0] == FLOOR)
        for kind, by_seed in paid[place].items():
            if kind[0] in (FLOOR, CEILING):
                continue
            fractions = {
                seed: (by_seed[seed] - cost) / (gap.oracle - gap.physics)
                for seed, cost in physics.items()
                if math.isfinite(cost) and seed in by_seed
            }
            if fractions:
                found.append(Recovered(place, kind, fractions))
    return found


def better(rows: Iterable[Row], first: Kind, second: Kind) -> dict[Place, Comparison]:
    """Costs of two models in every place, on the seeds in which both have run."""
    found = {}
    for place, kinds in costs(rows).items():
        sides = kinds.get(first, {}), kinds.get(second, {})
        common = [seed for seed in sides[0] if seed in sides[1]]
        if common:
            found[place] = compare(*({str(s): side[s] for s in common} for side in sides))
    return found


def over_effects(found: Sequence[Recovered], kind: Kind) -> dict[tuple[str, str], float]:
    """system, effect ↦ the median fraction of a model over planners, plants and seeds."""
    pooled: dict[tuple[str, str], list[float]] = {}
    for each in found:
        if each.kind == kind:
            pooled.setdefault(each.place[:2], []).extend(each.fractions.values())
    return {place: float(np.median(values)) for place, values in pooled.items()}


def costs(rows: Iterable[Row]) -> dict[Place, dict[Kind, dict[int, float]]]:
    """Costs by seed of every model in every place: ∞ where a loop failed or has no such number."""
    found: dict[Place, dict[Kind, dict[int, float]]] = {}
    for row in rows:
        if row["state"] == "missing" or row["plant"] == MEASURED:
            continue
        cost = float(row.get("cost", math.nan)) if row["state"] == "done" else math.nan
        place = row["system"], row["effect"], row["planner"], row["plant"]
        kind = row["model"], row["placement"], float(row["data"])
        by_seed = found.setdefault(place, {}).setdefault(kind, {})
        by_seed[int(row["seed"])] = math.inf if math.isnan(cost) else cost
    return found
