"""What the table of a study says, put in order for its page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.study.attribution import PREFIX
from hybridmodel.study.grid import OWN
from hybridmodel.study.measures import (
    CEILING,
    FLOOR,
    Gap,
    Kind,
    Place,
    Recovered,
    costs,
    gaps,
    recovered,
)
from hybridmodel.study.plants import LOGGED, MEASURED
from hybridmodel.study.running import STUDY
from hybridmodel.study.table import Row, read_table

MODELS = (
    *(FLOOR, "identified", "network", "hybrid"),
    *("ensemble", "windowed", "adaptive", "randomised", CEILING),
)
GOOD = 0.8  # of the gap, from which a model counts as good


@dataclass(frozen=True)
class Findings:
    """A study's table and what follows from it.

    told        study.json, empty where there is none
    gaps        of every place where physics and oracle have run
    fractions   recovered where there is a gap
    costs       by place, kind and seed, see `measures.costs`
    cells       rows that are done, by place and kind
    """

    folder: Path
    told: Mapping[str, Any]
    rows: Sequence[Row]
    gaps: Mapping[Place, Gap]
    fractions: Sequence[Recovered]
    costs: Mapping[Place, Mapping[Kind, Mapping[int, float]]]
    cells: Mapping[tuple[Place, Kind], Sequence[Row]]

    @cached_property
    def systems(self) -> list[str]:
        return self._names("system")

    @cached_property
    def effects(self) -> list[str]:
        return self._names("effect")

    @cached_property
    def planners(self) -> list[str]:
        return self._names("planner")

    @cached_property
    def plants(self) -> list[str]:
        """Where loops were closed."""
        return [plant for plant in self._names("plant") if plant != MEASURED]

    @cached_property
    def plant(self) -> str:
        """The plant that all but the table of transfer is about: the logged one if it is there."""
        return LOGGED if LOGGED in self.plants else next(iter(self.plants), LOGGED)

    @cached_property
    def places(self) -> list[Place]:
        """All places of that plant."""
        return [place for place in self.every_place if place[3] == self.plant]

    @cached_property
    def every_place(self) -> list[Place]:
        return list(dict.fromkeys(place_of(row) for row in self.rows if row["plant"] != MEASURED))

    @cached_property
    def kinds(self) -> list[Kind]:
        """Every model at each placement, with the most data that it has seen."""
        known = [k for k in self.every_kind if not k[0].startswith(PREFIX)]
        most = {k[:2]: k for k in sorted(known, key=lambda k: k[2])}
        return [k for k in known if k == most[k[:2]]]

    @cached_property
    def compared(self) -> list[Kind]:
        """Those of them that are neither floor nor ceiling."""
        return [kind for kind in self.kinds if kind[0] not in (FLOOR, CEILING)]

    @cached_property
    def every_kind(self) -> list[Kind]:
        found = dict.fromkeys(kind_of(row) for row in self.rows)
        order = {name: i for i, name in enumerate(MODELS)}
        return sorted(found, key=lambda k: (order.get(k[0], len(order)), k[1] != OWN, k[1], k[2]))

    @cached_property
    def covers(self) -> bool:
        """Whether some model says how sure it is."""
        return any("covered" in row for row in self.rows)

    def best(self, model: str) -> Kind | None:
        """A model with the most data, at the task's own placement if it has been tried."""
        return next((kind for kind in self.kinds if kind[0] == model), None)

    def of(self, kind: Kind, plant: str | None = None) -> list[Recovered]:
        """Fractions of one kind, in all places of a plant; default is `plant`."""
        plant = self.plant if plant is None else plant
        return [r for r in self.fractions if r.kind == kind and r.place[3] == plant]

    def count(self, state: str) -> int:
        """How many places of `plant` have a gap, "no gap", or an "oracle worse"."""
        return sum(self.gaps[p].state == state for p in self.places if p in self.gaps)

    def median(self, column: str, place: Place, kind: Kind) -> float | None:
        """Of a column over seeds; None where no seed has a number."""
        values = [float(row[column]) for row in self.cells.get((place, kind), ()) if column in row]
        values = [value for value in values if not math.isnan(value)]
        return float(np.median(values)) if values else None

    def cost(self, place: Place, kind: Kind) -> float | None:
        """The median over seeds, of which those that failed count as ∞; None where none has run."""
        values = self.costs.get(place, {}).get(kind)
        return float(np.median(list(values.values()))) if values else None

    def _names(self, axis: str) -> list[str]:
        return list(dict.fromkeys(row[axis] for row in self.rows if row[axis]))


def read_findings(folder: str | Path) -> Findings:
    """The findings in a study's folder; ValueError where it holds no table or a damaged record."""
    home = Path(folder)
    rows = read_table(home)
    told: Any = {}
    if (home / STUDY).is_file():
        try:
            told = json.loads((home / STUDY).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{home / STUDY} is no JSON: {error}") from None
        if not isinstance(told, dict):
            raise ValueError(f"{home / STUDY} must hold an object, got {type(told).__name__}")
    cells: dict[tuple[Place, Kind], list[Row]] = {}
    for row in rows:
        if row["state"] == "done" and "cost" in row:
            cells.setdefault((place_of(row), kind_of(row)), []).append(row)
    return Findings(
        folder=home,
        told=told,
        rows=rows,
        gaps=gaps(rows),
        fractions=recovered(rows),
        costs=costs(rows),
        cells=cells,
    )


def place_of(row: Mapping[str, Any]) -> Place:
    return row["system"], row["effect"], row["planner"], row["plant"]


def kind_of(row: Mapping[str, Any]) -> Kind:
    return row["model"], row["placement"], float(row["data"])


def called(kind: Kind) -> str:
    """A model's name, with its placement where that is not the task's own."""
    model, placement, _ = kind
    return model if placement in ("", OWN) else f"{model} ({placement})"


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and its 95 % percentile bootstrap interval."""
    numbers = np.asarray(values, dtype=float)
    drawn = np.random.default_rng(0).choice(numbers, (2000, len(numbers)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975], method="nearest")
    return float(np.median(numbers)), float(low), float(high)
