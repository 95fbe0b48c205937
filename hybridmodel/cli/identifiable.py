"""What a log can identify, before anything is fitted: a part of `hybridmodel inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from hybridmodel.data import Dataset
    from hybridmodel.identification import Information
    from physics import System

_COLOURS = {"identifiable": "green", "weak": "yellow", "not": "red"}


def identifiable(
    console: Console,
    system: System,
    data: Dataset,
    parameters: Sequence[str] = (),
    *,
    horizon: int = 10,
) -> Information | None:
    """Print which of `parameters` (all of the system's unless named) the log can identify.

    At their given values, with the noise taken from what short free runs leave unexplained: a
    forecast, good as far as the given values are. Returns None where the log is too short.
    """
    from hybridmodel import HybridModel
    from hybridmodel.identification import information

    names = tuple(parameters) or tuple(system.parameters)
    if not names:
        return None
    model = HybridModel(system, dt=data.dt, fit_parameters=names)
    longest = min(log.steps for log in data) - model.memory_steps
    if longest < 2:
        return None
    about = information(model, data, horizon=min(horizon, longest))
    console.print(information_table(about, "what this log can identify"))
    for direction in about.unidentifiable:
        console.print(f"not told apart: {direction}", highlight=False)
    return about


def information_table(about: Information, title: str) -> Table:
    """Parameter, value, standard error, verdict."""
    table = Table(title=title)
    for heading in ("parameter", "value", "unit", "standard error", ""):
        table.add_column(
            heading, justify="right" if heading in ("value", "standard error") else "left"
        )
    for k, name in enumerate(about.names):
        error, verdict = 100 * about.relative_errors[k], about.verdict(name)
        shown = f"{error:.2g} %" if error < 1e4 else "∞"
        table.add_row(
            name,
            f"{about.values[k]:.5g}",
            about.units[k],
            shown,
            f"[{_COLOURS[verdict]}]{verdict}[/]",
        )
    return table
