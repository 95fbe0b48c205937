"""The page: numbers and pictures of one demonstration, filled into page.html.j2."""

from __future__ import annotations

import dataclasses
import importlib.resources
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from hybridmodel.baselines import ROWS
from hybridmodel.demo.record import STEPS, Record, read_record, shown
from hybridmodel.files import write_atomically
from hybridmodel.report import effects, errors, loops, motion
from hybridmodel.report.drawing import COLOURS, PLANNER_NAMES, or_inf, times
from hybridmodel.report.goals import goal_of
from hybridmodel.tasks.task import Figure
from physics import System

NAME = "report.html"
UNITS = {
    "dt": "s",
    "engine_step": "s",
    "episode_steps": "steps",
    "gravity": "m/s²",
    "max_joint_velocity": "rad/s",
    "band": "Hz",
    "ripple_waves": "per 2π",
    "input_lag": "s",
    "input_delay": "steps",
    "wind_time": "s",
    "steps": "per log",
    "horizon": "steps",
    "horizons": "steps",
    "seconds": "s",
    "hold_seconds": "s",
    "tolerance": "rad",
    "every": "steps",
}


@dataclass(frozen=True)
class Cell:
    """One number of a table: text, interval over seeds, whether it is the best of its column."""

    text: str
    interval: str = ""
    best: bool = False


def write_report(folder: str | Path) -> Path:
    """Write report.html into a demonstration's folder and return its path.

    One file below 1 MB that opens offline; the same record gives the same bytes. Raises
    ValueError where the folder holds no demonstration.
    """
    record = read_record(folder)
    path = record.folder / NAME
    write_atomically(path, page(record).encode())
    return path


def page(record: Record) -> str:
    """The whole page as HTML text."""
    source = importlib.resources.files("hybridmodel.report").joinpath("page.html.j2")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    summary, task = record.summary, record.task
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        colours=COLOURS,
        title=summary["title"],
        verdict=verdict_sentence(record),
        wins=summary["verdict"]["wins"],
        reasons=summary["verdict"]["reasons"],
        quick=summary["quick"],
        story=summary["story"],
        seeds=len(summary["seeds"]),
        seconds_of_data=f"{summary['seconds_of_data']:g}",
        logs=len(record.train) + len(record.validation),
        rate=f"{1 / task.dt:g}",
        success=task.control.success,
        figures=task.control.figures,
        steps=_steps(summary),
        planners=[(p, PLANNER_NAMES.get(p, p)) for p in loops.planners_of(record)],
        table=comparison(summary, task.control.figures),
        horizon=errors.error_by_horizon(record),
        learning=errors.learning_curves(record),
        log_force=effects.force_along_a_log(record),
        cuts=effects.force_on_cuts(record),
        parameters=parameters(record),
        motor="motor_gain" in task.system.parameters,
        plans=goal_of(task.control).plans(record),
        time=loops.planning_time(record),
        motion=motion.animation(record),
        settings=settings(record),
        command=summary["command"],
        engine=summary["engine"],
        machine=summary["machine"],
        wall=f"{summary['wall_seconds']:.0f}",
        seed=", ".join(summary["seeds"]),
    )


def verdict_sentence(record: Record) -> str:
    """Whether the hybrid wins, and by how much or where it does not."""
    summary = record.summary
    last = str(_steps(summary)[-1])
    error = {row: 100 * or_inf(numbers[last]) for row, numbers in summary["prediction"].items()}
    failed = [reason["text"] for reason in summary["verdict"]["reasons"] if not reason["holds"]]
    if failed:
        count = len(summary["verdict"]["reasons"])
        fail = "fails" if len(failed) == 1 else "fail"
        first = "" if len(failed) == 1 else ", the first"
        return (
            f"The hybrid does not win: {len(failed)} of {count} conditions {fail}{first}: "
            f"“{failed[0]}”."
        )
    rival = min((row for row in error if row != "hybrid"), key=error.__getitem__)
    factor = times(error[rival] / error["hybrid"])
    return (
        f"The hybrid wins: its error after {last} steps is {factor} times "
        f"smaller than the next best ({rival}), and it {_reached(record)}."
    )


def _reached(record: Record) -> str:
    """The goal, with how many planners or how well, and the same of the other rows."""
    control, found = record.task.control, record.summary["control"]
    if len(found) == 1:
        (by_row,), figure = found.values(), control.figures[0]
        others = ", ".join(
            f"{shown(figure, by_row[row][figure.name])} with {row}" for row in ROWS[:-1]
        )
        own = shown(figure, by_row["hybrid"][figure.name])
        return f"{control.goal}; it {figure.says} {own} {figure.heading} ({others})"
    held = {row: sum(found[p][row]["success"] == 1.0 for p in found) for row in ROWS}
    others = ", ".join(f"{row} with {held[row]}" for row in ROWS[:-1])
    number = "both" if len(found) == 2 else f"all {len(found)}"
    return f"{control.goal} with {number} planners ({others})"


def comparison(
    summary: Mapping[str, Any], figures: Sequence[Figure]
) -> list[tuple[str, list[Cell]]]:
    """The rows of the table: errors [% of range], then each planner's cost, success, times."""
    seeds = len(summary["seeds"])
    interval = summary["interval"]
    columns: list[dict[str, Cell]] = []

    def column(
        values: Callable[[Mapping[str, Any], str], float],
        text: Callable[[float], str],
        better: Callable[[Sequence[float]], float] = min,
        spread: bool = True,
        worthless: Sequence[float] = (math.inf,),
    ) -> None:
        found = {row: or_inf(values(summary, row)) for row in ROWS}
        best = text(better(list(found.values())))
        columns.append(
            {
                row: Cell(
                    text(value),
                    f"{text(values(interval['low'], row))} … {text(values(interval['high'], row))}"
                    if interval and spread
                    else "",
                    value not in worthless and text(value) == best,
                )
                for row, value in found.items()
            }
        )

    for step in _steps(summary):
        column(lambda s, row, k=str(step): 100 * s["prediction"][row][k], _short)
    for planner in summary["control"]:

        def number(name: str, planner: str = planner) -> Callable[[Mapping[str, Any], str], float]:
            return lambda s, row: s["control"][planner][row][name]

        for figure in figures:
            if figure.name != "success":
                column(number(figure.name), lambda v, f=figure: _short(f.factor * v))
            elif seeds > 1:
                column(
                    number("success"), lambda share: f"{round(share * seeds)}/{seeds}", max, False
                )
            else:
                column(number("success"), lambda s: "✓" if s else "✗", max, False, (0.0,))
        column(number("ms_per_plan_median"), lambda ms: f"{ms:.0f}")
        column(number("ms_per_plan_p99"), lambda ms: f"{ms:.0f}")
    return [(row, [column[row] for column in columns]) for row in ROWS]


def parameters(record: Record) -> list[tuple[str, str, list[str]]]:
    """Name, unit and nominal, true, identified, hybrid value of all that differ or were fitted.

    The true motor gain includes the hidden gain of the actuator, which acts in series.
    """
    values = record.summary["parameters"]
    nominal, system = values["nominal"], record.task.system
    true = {**nominal, **values["true"]}
    if "motor_gain" in true:
        true["motor_gain"] *= record.task.hidden.input_gain
    rows = []
    for name, parameter in system.parameters.items():
        fitted = [values[row].get(name) for row in ("identified", "hybrid")]
        if true[name] == nominal[name] and not any(fitted):
            continue
        numbers = [nominal[name], true[name], *fitted]
        texts = ["–" if number is None else f"{number:.3g}" for number in numbers]
        rows.append((name.replace("_", " "), parameter.unit or "–", texts))
    return rows


def settings(record: Record) -> list[tuple[str, list[tuple[str, str]]]]:
    """Everything that was set, in groups of (name, value)."""
    task, summary = record.task, record.summary
    engine = {
        k: v for k, v in summary["settings"].items() if k not in ("hidden", "system", "plant")
    }
    stages = {name: f"{seconds:.1f} s" for name, seconds in summary["seconds_by_stage"].items()}
    groups: list[tuple[str, Mapping[str, Any]]] = [
        ("Wall time, first seed", stages),
        ("Engine", engine),
        ("Hidden effects", _fields(task.hidden)),
        ("Logs", _fields(task.logging)),
        ("Fits", _fields(task.recipe) | {"placement": task.recipe.placement.name}),
        ("Control", _fields(task.control)),
        ("Versions", summary["versions"]),
    ]
    return [
        (
            title,
            [(name.replace("_", " "), _value(v, UNITS.get(name))) for name, v in entries.items()],
        )
        for title, entries in groups
    ]


def _fields(data: Any) -> dict[str, Any]:
    return {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}


def _value(value: Any, unit: str | None = None) -> str:
    if unit and isinstance(value, int | float | tuple):
        return f"{_value(value)} {unit}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(v)}" for name, v in value.items()) or "–"
    if dataclasses.is_dataclass(value) and not callable(value):
        return _value(_fields(value))
    if callable(value):
        fields = dataclasses.is_dataclass(value) and not isinstance(value, type)
        plain = fields and not any(isinstance(v, System) for v in _fields(value).values())
        name = getattr(value, "__name__", type(value).__name__)
        return f"{name}: {_value(_fields(value))}" if plain else name
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_value, value)) + ")" if value else "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}".replace("inf", "∞").replace("-", "−")
    return "–" if value is None else str(value)


def _steps(summary: Mapping[str, Any]) -> list[int]:
    known = summary["prediction"]["hybrid"]
    return [step for step in STEPS if str(step) in known]


def _short(value: float) -> str:
    """Three digits, without an exponent up to 10⁶."""
    if not abs(value) < 1e6:
        return "∞" if not math.isfinite(value) else f"{value:.0e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
