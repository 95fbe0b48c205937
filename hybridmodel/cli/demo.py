"""`hybridmodel demo`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hybridmodel.cli import OK, WORSE

_SWING_UP = (  # of summaries that do not say
    {"name": "cost", "heading": "cost", "unit": "", "factor": 1.0},
    {"name": "success", "heading": "holds", "unit": "", "factor": 1.0},
)


def demo(
    task: Literal["cartpole", "pendulum", "double-pendulum", "quadrotor", "kuka"] = "cartpole",
    *,
    quick: bool = False,
    seeds: int = 1,
    seed: int = 0,
    engine: Literal["pybullet", "ode"] = "pybullet",
    workers: int = 2,
    out: Path | None = None,
) -> int:
    """Log a plant with hidden effects, fit four models, plan with each, close the loop.

    Writes OUT/summary.json and OUT/report.html; exits with 1 where the hybrid does not win.

    Parameters
    ----------
    task
        Which plant.
    quick
        A shorter version.
    seeds
        How many seeds; the table then shows medians.
    seed
        The first seed.
    engine
        The plant's simulator.
    workers
        Processes.
    out
        Run folder; default runs/TASK.
    """
    from hybridmodel.demo.pipeline import run_task
    from hybridmodel.demo.record import summarize, write_record
    from hybridmodel.report import write_report
    from hybridmodel.tasks.named import TASKS

    if seeds < 1 or workers < 1:
        raise ValueError(f"--seeds and --workers must be at least 1, got {seeds} and {workers}")
    if seed < 0:
        raise ValueError(f"--seed must be at least 0, got {seed}")
    console = Console()
    chosen = TASKS[task]().quick() if quick else TASKS[task]()
    folder = out or Path("runs") / (task + ("-quick" if quick else ""))
    options = [
        ("--quick", quick),
        (f"--seeds {seeds}", seeds > 1),
        (f"--seed {seed}", seed),
        (f"--engine {engine}", engine != "pybullet"),
        (f"--out {shlex.quote(str(out))}", out),
    ]
    command = " ".join(["hybridmodel demo", task, *(text for text, given in options if given)])
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"[bold]{chosen.title}[/]  hidden from the physics: {chosen.story}")
    started, outcomes = time.perf_counter(), []
    for s in range(seed, seed + seeds):
        with _Watch(console, f"seed {s}" if seeds > 1 else "") as watch:
            outcomes.append(run_task(chosen, seed=s, engine=engine, workers=workers, report=watch))
    summary = summarize(
        outcomes, quick=quick, command=command, wall_seconds=time.perf_counter() - started
    )
    write_record(folder, outcomes[0], summary)
    page = write_report(folder)
    console.print(results(summary))
    for reason in summary["verdict"]["reasons"]:
        console.print(f"  {'[green]✓[/]' if reason['holds'] else '[red]✗[/]'} {reason['text']}")
    wins = summary["verdict"]["wins"]
    console.print(
        f"[bold]{'The hybrid wins.' if wins else 'The hybrid does not win.'}[/] "
        f"{time.perf_counter() - started:.0f} s, report: {page}"
    )
    if quick and not wins:
        console.print(
            "A quick run shows that everything works, not which model wins: that needs the whole "
            "demonstration, without --quick."
        )
    return OK if wins else WORSE


def results(summary: Mapping[str, Any]) -> Table:
    """The four rows as a table: scaled RMSE after so many steps; the task's figures and median
    milliseconds of a plan by planner."""
    prediction, control = summary["prediction"], summary["control"]
    figures = summary.get("figures", _SWING_UP)
    title = f"{summary['title']}, {summary['seconds_of_data']:.0f} s of data"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("\nmodel", no_wrap=True)
    for i, k in enumerate(prediction["hybrid"]):
        table.add_column(f"{'' if i else 'error'}\n{k}", justify="right", no_wrap=True)
    for planner in control:
        short = {"gradient": "shooting", "cem": "CEM"}[planner]
        for i, figure in enumerate(figures):
            unit = f" [{figure['unit']}]" if figure["unit"] else ""
            heading = f"{'' if i else short}\n{figure['heading']}{unit}"
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("\nms", justify="right", no_wrap=True)
    for row, errors in prediction.items():
        cells = [f"{error:.3g}" for error in errors.values()]
        for by_row in control.values():
            c = by_row[row]
            cells += [_shown(figure, c[figure["name"]]) for figure in figures]
            cells.append(f"{c['ms_per_plan_median']:.0f}")
        table.add_row(row, *cells, style="bold" if row == "hybrid" else None)
    return table


def _shown(figure: Mapping[str, Any], value: float) -> str:
    if figure["name"] == "success":
        return {1.0: "yes", 0.0: "no"}.get(value, f"{value:.0%}")
    return f"{figure['factor'] * value:.{1 if figure['unit'] else 2}f}"


class _Watch:
    """Shows the stages of one seed as they happen."""

    def __init__(self, console: Console, prefix: str) -> None:
        self._prefix = prefix
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[news]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._lines: dict[str, Any] = {}

    def __enter__(self) -> _Watch:
        self._progress.start()
        self._line("log", total=1)
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, stage: str, what: Mapping[str, Any]) -> None:
        if stage == "log":
            self._update("log", f"{what['seconds']:.0f} s logged", completed=1)
        elif stage == "fit":
            news = (
                f"H = {what['horizon']:.0f}  error {what['best']:.3f}, "
                f"physics alone {what['physics']:.3f}"
            )
            self._line(f"fit {what['row']}")
            self._update(f"fit {what['row']}", news, advance=1)
        elif stage == "control":
            run = what["run"]
            name = f"control {what['planner']}"
            self._line(name, total=4)
            self._update(name, f"{what['row']}: cost {run.score.cost:.2f}", advance=1)

    def _line(self, name: str, total: int | None = None) -> None:
        if name not in self._lines:
            label = " ".join(filter(None, (self._prefix, name)))
            self._lines[name] = self._progress.add_task(label, total=total, news="")

    def _update(self, name: str, news: str, **change: Any) -> None:
        self._progress.update(self._lines[name], news=news, **change)
