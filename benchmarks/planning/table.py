"""Which planner, when: what each is for, beside what it measured in `benchmarks.planners`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.planning.swing_up_tasks import TASKS


@dataclass(frozen=True)
class Planner:
    """One line: its names, what it is for, what to beware of, its name in "leaving the data"."""

    name: str
    told: str
    best: str
    beware: str
    leaving: str = ""


PLANNERS = (
    Planner(
        "MultipleShooting",
        "`MultipleShooting` (IPOPT or FATROP), `Collocation`",
        "accuracy, state bounds, constraints, a `risk`, free time",
        "local optima: give the first plan a `CEM` warm start",
        "IPOPT",
    ),
    Planner(
        "SQP",
        "`SQP` (the kernel's exact Hessians)",
        "the same problems in milliseconds; `rti=True`, or `prepare` and `feedback`, for a loop",
        "no search where a start fails; no `risk`",
    ),
    Planner(
        "ILQR",
        "`ILQR`",
        "a feedback law beside the plan (`plan.gains`; `tvlqr` gives any plan one)",
        "constraints through an augmented Lagrangian, slower than `SQP` where they act; no `risk`",
        "iLQR",
    ),
    Planner(
        "CEM",
        "`CEM`",
        "swing-ups, kinks, costs without slope, a `policy=` that proposes",
        "needs input bounds; constraints but those of inputs only as a penalty",
        "CEM",
    ),
    Planner("ICEM", "`ICEM`", "the same with few samples: coloured noise, kept elites", "as `CEM`"),
    Planner(
        "MPPI",
        "`MPPI`, smooth with `knots=Rates()`",
        "loops at a high rate: one small update a step",
        "as `CEM`; its temperature is in units of the cost",
        "MPPI",
    ),
    Planner(
        "Portfolio",
        "`Portfolio(wide, fine)`",
        "one deadline for a search and for a finish that starts from it",
        "as its two planners",
    ),
    Planner(
        "GradientDescent",
        "`GradientDescent`",
        "many starts in one batch, a `risk`, costs that only torch can run",
        "slow to converge; constraints only as a penalty",
        "Adam",
    ),
)


def table(content: Mapping[str, Any]) -> str:
    """Markdown, from the results of `benchmarks.planners`; a dash where a figure is missing."""
    found = {row["figure"]: row for row in content["rows"]}
    head = ["planner", "good for", "beware", *TASKS, "outside its data"]
    lines = [_line(head), _line(["---"] * len(head))]
    for planner in PLANNERS:
        swings = [_swing(found, task, planner.name) for task in TASKS]
        lines.append(
            _line([planner.told, planner.best, planner.beware, *swings, _leaving(found, planner)])
        )
    return "\n".join(lines)


def _swing(found: Mapping[str, Any], task: str, name: str) -> str:
    held = found.get(f"swing-up, {task}, {name}: held upright")
    spent = found.get(f"swing-up, {task}, {name}: one plan")
    if held is None or spent is None:
        return "–"
    return f"{held['value']:.0f}/{held['seeds']}, {spent['value']:.2g} ms"


def _leaving(found: Mapping[str, Any], planner: Planner) -> str:
    rows = [
        found.get(f"leaving the data: {planner.leaving}, {kind}, success")
        for kind in ("plain", "cautious")
    ]
    known = [f"{row['value']:.0f} %" for row in rows if row is not None]
    return " → ".join(known) if len(known) == len(rows) else "–"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
