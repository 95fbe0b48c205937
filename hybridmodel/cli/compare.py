"""`hybridmodel compare`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from hybridmodel.cli import OK
from hybridmodel.cli.compare_studies import compare_studies, is_study


def compare(first: Path, second: Path, *, row: str | None = None) -> int:
    """Do two runs differ, in which figure, by which test?

    Parameters
    ----------
    first
        A folder that `hybridmodel demo` or `hybridmodel study` has written.
    second
        Another one of the same kind.
    row
        Which model: physics, identified, network, hybrid, or another one of a study; default the
        hybrid, and all models of studies.
    """
    if is_study(first) != is_study(second):
        study, other = (first, second) if is_study(first) else (second, first)
        raise ValueError(
            f"{study} holds a study and {other} does not: give two studies, or two run folders"
        )
    if is_study(first):
        return compare_studies(first, second, row=row)
    return _compare_runs(first, second, row or "hybrid")


def _compare_runs(first: Path, second: Path, row: str) -> int:
    from hybridmodel.comparison import compare as compare_figures

    seeds = [_seeds(path, row) for path in (first, second)]
    figures = [name for name in seeds[0] if name in seeds[1]]
    table = Table(title=f"{row}: A = {first}, B = {second}", box=box.SIMPLE_HEAD)
    for heading in ("figure", "A", "B", "p", "verdict"):
        table.add_column(heading, justify="left" if heading in ("figure", "verdict") else "right")
    used = set()
    for name in figures:
        result = compare_figures(seeds[0][name], seeds[1][name])
        used.add(f"{result.test}, {result.seeds} seeds")
        table.add_row(
            name, f"{result.first:.4g}", f"{result.second:.4g}", f"{result.p:.3f}", result.verdict
        )
    console = Console()
    console.print(table)
    console.print("test: " + "; ".join(sorted(used)))
    return OK


def _seeds(path: Path, row: str) -> dict[str, dict[str, float]]:
    """figure → seed → value of one model's row."""
    from hybridmodel.demo.record import read_summary

    found: dict[str, dict[str, float]] = {}
    for seed, numbers in read_summary(path)["seeds"].items():
        if row not in numbers["prediction"]:
            raise ValueError(f"--row is one of {list(numbers['prediction'])}, got {row!r}")
        for name, value in _figures(numbers, row):
            found.setdefault(name, {})[seed] = value
    return found


def _figures(numbers: Any, row: str) -> Iterator[tuple[str, float]]:
    for step, value in numbers["prediction"][row].items():
        yield f"prediction error, {step} steps", value
    for planner, rows in numbers["control"].items():
        yield f"{planner}: cost", rows[row]["cost"]
        yield f"{planner}: success", rows[row]["success"]
