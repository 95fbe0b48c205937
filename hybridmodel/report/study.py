"""The page of a study: what was recovered, where, with how much data, and what went wrong.

write_study(folder)          folder/study.html, from table.parquet and study.json
write_matrix(folder, path)   the heat map alone, as a picture for a README
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from hybridmodel.files import write_atomically
from hybridmodel.report.study_curves import learning_picture, pareto_picture
from hybridmodel.report.study_drawing import MODEL_COLOURS, shown
from hybridmodel.report.study_effects import attribution, effect_picture
from hybridmodel.report.study_errors import horizons, prediction_picture, promise_picture
from hybridmodel.report.study_findings import GOOD, Findings, called, middle, read_findings
from hybridmodel.report.study_matrix import matrix_picture, write_matrix
from hybridmodel.report.study_tables import (
    failures,
    meanings,
    measured,
    settings,
    summary,
    transfer,
)
from hybridmodel.report.study_worst import COUNT, worst_cells
from hybridmodel.study.measures import better

__all__ = ["write_matrix", "write_study"]

NAME = "study.html"


@dataclass(frozen=True)
class Reason:
    """A sentence of the verdict, and whether that is good; None where it is neither."""

    text: str
    holds: bool | None


def write_study(folder: str | Path) -> Path:
    """Write study.html into a study's folder and return its path.

    One file that opens offline; the same table gives the same bytes. Raises ValueError where the
    folder holds no table of a study.
    """
    path = Path(folder) / NAME
    write_atomically(path, page(read_findings(folder)).encode())
    return path


def page(found: Findings) -> str:
    """The whole page as HTML text."""
    source = importlib.resources.files("hybridmodel.report").joinpath("study.html.j2")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    reasons = verdict(found)
    worst = worst_cells(found)
    hybrids = worst_cells(found, "hybrid", COUNT // 2)
    told, seconds = found.told, found.told.get("seconds")
    states = [row["state"] for row in found.rows]
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        colours=MODEL_COLOURS,
        title=_title(found),
        sentence=reasons[0],
        reasons=reasons[1:],
        quick=bool(told.get("quick")),
        models=[called(kind) for kind in found.compared],
        planners=found.planners,
        summary=summary(found),
        covers=found.covers,
        meanings=meanings(found),
        matrix=matrix_picture(found),
        learning=learning_picture(found),
        pareto=pareto_picture(found),
        effects=effect_picture(found),
        parts=[
            (system, effect, [(name, shown(value)) for name, value in regained])
            for system, effect, regained in attribution(found)
        ],
        prediction=prediction_picture(found),
        promises=promise_picture(found),
        transfer=transfer(found),
        steps=horizons(found),
        measured=measured(found, horizons(found)),
        worst=worst,
        hybrids=[each for each in hybrids if each.title not in {w.title for w in worst}],
        failures=failures(found),
        failed=states.count("failed"),
        missing=states.count("missing"),
        total=len(states),
        settings=settings(told),
        command=told.get("command"),
        machine=told.get("machine"),
        wall=_duration(seconds) if isinstance(seconds, int | float) else None,
    )


def verdict(found: Findings) -> list[Reason]:
    """The sentence that comes first, then what stands beside it."""
    parts = (_places(found), _beats(found), _beyond(found), _failed(found))
    return [_recovered(found), *(reason for part in parts for reason in part)]


def _recovered(found: Findings) -> Reason:
    kind = found.best("hybrid") or next(iter(found.compared), None)
    if kind is None:
        return Reason("Nothing was compared: there is no model but physics and oracle.", None)
    name = f"The {called(kind)} with {kind[2]:g} s of data" if kind[2] else f"The {called(kind)}"
    values = [each.median for each in found.of(kind)]
    if not values:
        return Reason(f"{name} cannot be judged: no place has a gap in which it has run.", None)
    median, low, high = middle(values)
    where = f"median over {_counted(len(values), 'place')}"
    where += f", 95 % interval {shown(low)} … {shown(high)}" if len(values) > 1 else ""
    return Reason(
        f"{name} recovers {shown(median)} of the gap between physics (0) and oracle (1): {where}.",
        median >= GOOD,
    )


def _places(found: Findings) -> list[Reason]:
    judged = [place for place in found.places if place in found.gaps]
    gap, none, worse = (found.count(state) for state in ("gap", "no gap", "oracle worse"))
    text = (
        f"places (system, effect, planner) with a gap: {gap} of {len(judged)}; physics and oracle "
        f"differ by less than a tenth: {none}; oracle worse: {worse}"
    )
    if diverged := found.count("diverged"):
        text += f"; diverged: {diverged}"
    unjudged = len(found.places) - len(judged)
    text += f"; one of the two is missing: {unjudged}" if unjudged else ""
    return [Reason(text, None)]


def _beats(found: Findings) -> list[Reason]:
    hybrid, network = found.best("hybrid"), found.best("network")
    if hybrid is None or network is None:
        return []
    tests = [
        test
        for place, test in better(found.rows, hybrid, network).items()
        if place[3] == found.plant
    ]
    if not tests:
        return []
    wins = sum(test.first < test.second for test in tests)
    text = (
        f"hybrid beats network in {100 * wins / len(tests):.0f} % of places ({wins} of "
        f"{len(tests)}, by the median cost)"
    )
    if any(test.least <= 0.05 for test in tests):
        differ = sum(test.verdict == "different" for test in tests)
        text += f"; by a test on the seeds the two differ in {differ}"
    else:
        text += "; too few seeds to test any one place"
    return [Reason(text, 2 * wins > len(tests))]


def _beyond(found: Findings) -> list[Reason]:
    """A study without an effect that no residual of (x, u) can represent flatters its models."""
    if found.told.get("effects with memory") != []:
        return []
    text = "none of the effects has a memory (a lag or a delay), which is what models fail at"
    return [Reason(text, None)]


def _failed(found: Findings) -> list[Reason]:
    states = [row["state"] for row in found.rows]
    failed, missing = states.count("failed"), states.count("missing")
    if not states:
        return [Reason("the table is empty", False)]
    text = f"{failed or 'none'} of {_counted(len(states), 'cell')} failed"
    text += f", {missing} have not run yet" if missing else ""
    return [Reason(text, not failed and not missing)]


def _title(found: Findings) -> str:
    def counted(names: list[str], what: str) -> str:
        return f"{len(names)} {what}{'s' if len(names) != 1 else ''}"

    models = list(dict.fromkeys(kind[0] for kind in found.kinds))
    parts: Mapping[str, Any] = {
        "system": found.systems,
        "effect": found.effects,
        "model": models,
        "planner": found.planners,
    }
    return "Sim-to-real study: " + " × ".join(counted(v, k) for k, v in parts.items())


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
