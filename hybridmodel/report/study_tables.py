"""The tables of a study's page, as texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.report.drawing import or_inf
from hybridmodel.report.study_drawing import shown
from hybridmodel.report.study_errors import column
from hybridmodel.report.study_findings import Findings, called, kind_of, middle
from hybridmodel.study.grid import AXES, Cell
from hybridmodel.study.measures import FLOOR, Kind, Place
from hybridmodel.study.plants import LOGGED, MEASURED

_STEPS = 10  # ahead, of the error beside a summary
_MEANINGS = {
    "physics": "the nominal model",
    "identified": "its parameters fitted",
    "network": "fitted without physics",
    "hybrid": "identified physics and a network",
    "ensemble": "a hybrid of several members, whose mean plans",
    "windowed": "a hybrid whose network sees the last steps too",
    "adaptive": "a hybrid that goes on learning in the loop",
    "randomised": "a hybrid fitted to randomly drawn plants",
    "oracle": "the system with what is hidden",
}


@dataclass(frozen=True)
class Row:
    """A model or a plant, and its numbers: (text, small text) each."""

    name: str
    css: str
    numbers: list[tuple[str, str]]


def summary(found: Findings) -> list[Row]:
    """Each model: seconds of data, error, coverage; by planner recovered, success, ms per plan.

    Of those that were asked for, the seconds that were there to be used; coverage only where some
    model says how sure it is.
    """
    rows = []
    for kind in found.kinds:
        errors = _values(found, column(_STEPS), kind)
        error = f"{100 * float(np.median(errors)):.3g} %" if errors else "–"
        numbers = [(_used(found, kind), ""), (error, "")]
        if found.covers:
            inside = _values(found, "covered", kind)
            numbers.append((f"{100 * float(np.median(inside)):.0f} %" if inside else "–", ""))
        for planner in found.planners:
            here = [each.median for each in found.of(kind) if each.place[2] == planner]
            numbers.append(_median_of(here))
            loops = [
                row
                for (place, k), there in found.cells.items()
                if k == kind and place[2:] == (planner, found.plant)
                for row in there
            ]
            numbers.append((_share([bool(r["success"]) for r in loops if "success" in r]), ""))
            ms = [float(r["ms per plan"]) for r in loops if "ms per plan" in r]
            ms = [value for value in ms if np.isfinite(value)]
            numbers.append((f"{np.median(ms):.3g}" if ms else "–", ""))
        rows.append(Row(called(kind), kind[0], numbers))
    return rows


def _values(found: Findings, name: str, kind: Kind) -> list[float]:
    """Medians over seeds of a column, in every place that has one."""
    return [v for place in found.places if (v := found.median(name, place, kind)) is not None]


def _used(found: Findings, kind: Kind) -> str:
    used = _values(found, "seconds of data", kind) or [kind[2]]
    return f"{np.median(used):.3g}" if kind[2] else "–"


def meanings(found: Findings) -> list[tuple[str, str]]:
    """Each model of a study, and what it is."""
    there = {kind[0] for kind in found.kinds}
    return [(name, what) for name, what in _MEANINGS.items() if name in there]


def transfer(found: Findings) -> list[Row]:
    """Each plant: what every model recovers there, in how many places. None for one plant alone."""
    if found.plants in ([], [LOGGED]):
        return []
    rows = []
    for plant in sorted(found.plants, key=lambda name: name != LOGGED):
        places = [place for place in found.gaps if place[3] == plant]
        gap = sum(found.gaps[place].state == "gap" for place in places)
        numbers = [(f"{gap} of {len(places)}", "")]
        for kind in found.compared:
            fraction, _ = _median_of([each.median for each in found.of(kind, plant)])
            ratios = _ratios(found, kind, [p for p in found.every_place if p[3] == plant])
            numbers.append(
                (fraction, f"{shown(float(np.median(ratios)))} × physics" if ratios else "")
            )
        rows.append(Row(plant, "", numbers))
    return rows


def measured(found: Findings, steps: Sequence[int]) -> list[tuple[str, list[Row]]]:
    """System, and each model's error [% of range] on logs of the real machine, by steps ahead."""
    rows = [r for r in found.rows if r["plant"] == MEASURED and r["state"] == "done"]
    tables = []
    for system in dict.fromkeys(row["system"] for row in rows):
        lines = []
        for kind in found.kinds:
            here = [r for r in rows if r["system"] == system and kind_of(r) == kind]
            numbers = []
            for k in steps:
                values = [100 * or_inf(float(r[column(k)])) for r in here if column(k) in r]
                numbers.append((f"{np.median(values):.3g}" if values else "–", ""))
            if here:
                lines.append(Row(called(kind), kind[0], numbers))
        tables.append((system, lines))
    return tables


def _ratios(found: Findings, kind: Kind, places: Sequence[Place]) -> list[float]:
    """Its cost over that of the physics."""
    floor = found.best(FLOOR)
    if floor is None:
        return []
    pairs = [tuple(found.cost(place, k) for k in (kind, floor)) for place in places]
    return [
        own / nominal for own, nominal in pairs if own is not None and nominal and nominal < np.inf
    ]


def failures(found: Findings) -> list[tuple[str, list[str]]]:
    """Error, and the cells that failed with it; the most frequent first."""
    by_error: dict[str, list[str]] = {}
    for row in found.rows:
        if row["state"] == "failed":
            error = str(row.get("error") or "no error was kept")
            by_error.setdefault(error, []).append(name_of(row))
    return sorted(by_error.items(), key=lambda item: -len(item[1]))


def name_of(row: Mapping[str, Any]) -> str:
    """The folder of a cell within the study's."""
    return Cell(**{axis: row[axis] for axis in AXES}).name


def settings(told: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The grid, and the versions, in groups of (name, value)."""
    apart = ("command", "machine", "versions", "seconds", "settings", "quick")
    grid = [(name, _text(value)) for name, value in told.items() if name not in apart]
    versions = told.get("versions")
    groups = [("Grid", grid)]
    if isinstance(versions, Mapping):
        groups.append(("Versions", [(name, str(value)) for name, value in versions.items()]))
    return [(title, entries) for title, entries in groups if entries]


def _median_of(values: Sequence[float]) -> tuple[str, str]:
    if not values:
        return "–", ""
    median, low, high = middle(values)
    return shown(median), f"{shown(low)} … {shown(high)}" if len(values) > 1 else ""


def _share(values: Sequence[bool]) -> str:
    return f"{100 * float(np.mean(values)):.0f} %" if values else "–"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items()) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
