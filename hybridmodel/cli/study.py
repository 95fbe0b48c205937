"""`hybridmodel study`."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hybridmodel.cli import INTERRUPTED, OK, WORSE


def study(
    study: Path,
    *,
    out: Path | None = None,
    resume: bool = False,
    retry: bool = False,
    workers: int = 2,
    scheduler: str | None = None,
) -> int:
    """Which correction is worth it: a grid of models and planners on plants that hide something.

    Writes OUT/table.parquet and OUT/study.html; exits with 1 where cells failed.

    Parameters
    ----------
    study
        A TOML file: systems, effects, models, planners, data, seeds; see the documentation.
    out
        Folder of the study; default runs/NAME of the file.
    resume
        Go on with the study that the folder holds.
    retry
        Run cells that failed before again.
    workers
        Processes, or jobs at once on a cluster.
    scheduler
        Address of a Dask scheduler, tcp://HOST:PORT, or "local" for a cluster on this machine.
    """
    from hybridmodel.report import write_study
    from hybridmodel.study import Cell, dask, processes, read_study, run_study
    from hybridmodel.study.grid import AXES
    from hybridmodel.workers import handling

    if workers < 1:
        raise ValueError(f"--workers must be at least 1, got {workers}")
    folder = out or Path("runs") / study.stem
    asked = read_study(study)
    address = None if scheduler == "local" else scheduler
    engine = processes(workers) if scheduler is None else dask(workers, address=address)
    parts = ["hybridmodel", "study", str(study)]
    parts += ["--out", str(out)] if out else []
    parts += ["--workers", str(workers)] if workers != 2 else []
    parts += ["--scheduler", scheduler] if scheduler else []
    command = shlex.join(parts)
    console = Console()
    cells, jobs = len(asked.cells()), len(asked.jobs())
    console.print(f"[bold]{study}[/]  {cells} cells, {jobs} jobs → {folder}", soft_wrap=True)
    try:
        # batch systems send SIGTERM, which is as Ctrl-C
        with handling(signal.SIGTERM, signal.default_int_handler), _Watch(console) as watch:
            rows = run_study(
                asked,
                folder,
                engine=engine,
                workers=workers,
                resume=resume,
                retry=retry,
                command=command,
                progress=watch,
            )
    except KeyboardInterrupt:
        console.print(f"interrupted; what is finished is kept: {command} --resume", soft_wrap=True)
        return INTERRUPTED
    page = write_study(folder)
    for part in results(rows):
        console.print(part)
    failed = [row for row in rows if row["state"] == "failed"]
    for row in failed[:5]:
        where = folder / Cell(**{axis: row[axis] for axis in AXES}).name
        console.print(f"failed {where}: {row['error']}", markup=False, soft_wrap=True)
    if failed:
        console.print(
            f"{len(failed)} cells failed; run them again: {command} --resume --retry",
            soft_wrap=True,
        )
    console.print(f"report: {page}", soft_wrap=True)
    return WORSE if failed else OK


def results(rows: list[dict[str, Any]]) -> list[str | Table]:
    """How many places have a gap, and the median recovered of it by model and planner."""
    import numpy as np

    from hybridmodel.study import gaps, recovered

    places = gaps(rows)
    count = sum(gap.state == "gap" for gap in places.values())
    said = f"{count} of {len(places)} places have a gap between physics (0) and oracle (1)"
    table = Table(box=box.SIMPLE_HEAD)
    pooled: dict[tuple[str, float], dict[str, list[float]]] = {}
    for found in recovered(rows):
        model, placement, data = found.kind
        name = f"{model}, {placement}" if placement not in ("", "own") else model
        by_planner = pooled.setdefault((name, data), {})
        by_planner.setdefault(found.place[2], []).extend(found.fractions.values())
    planners = list(dict.fromkeys(row["planner"] for row in rows if row["planner"]))
    table.add_column("model")
    table.add_column("data \\[s]", justify="right")
    for planner in planners:
        table.add_column(planner, justify="right")
    for (name, data), by_planner in pooled.items():
        shown = [f"{np.median(by_planner[p]):.2f}" if p in by_planner else "–" for p in planners]
        table.add_row(name, f"{data:g}", *shown, style="bold" if name == "hybrid" else None)
    return [f"{said}; recovered of it, median:", table] if pooled else [said]


class _Watch:
    """Shows how far a study is, and how long it will take."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._line = self._progress.add_task("", total=None, news="")

    def __enter__(self) -> _Watch:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, news: Any) -> None:
        left = "" if news.left is None else f"about {_time(news.left)} left"
        failed = f"{news.failed} failed" if news.failed else ""
        text = "  ".join(filter(None, (left, failed)))
        done = news.done + news.failed
        self._progress.update(self._line, completed=done, total=news.total, news=text)
        if news.error:
            self._console.print(f"failed {news.name}: {news.error}", markup=False)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
