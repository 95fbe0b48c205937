"""`hybridmodel inspect`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hybridmodel.cli import OK

if TYPE_CHECKING:
    from hybridmodel.data import Dataset, LogReport
    from hybridmodel.data import Table as LogTable
    from hybridmodel.data.trajectory import Array
    from physics import System


def inspect(
    path: Path,
    *,
    system: str | None = None,
    parameters: str = "",
    dt: float | None = None,
    time: str = "time",
    columns: str = "",
    units: str = "",
) -> int:
    """Say what a log, a model (.safetensors) or a run folder holds, and what is wrong with a log.

    Parameters
    ----------
    path
        The file or folder. Logs: .npz, .csv, .parquet, .h5, .bag, .mcap, the folder of a ROS 2 bag.
    system
        Names the channels of a log, and says their bounds and rates and what can be identified.
    parameters
        The system's parameters to tell that of, comma-separated; default: all.
    dt
        Resample an uneven log to this step [s].
    time
        The column of stamps [s]; of a ROS bag, header.stamp for those of its messages.
    columns
        Which column is which signal where names differ, SIGNAL=COLUMN,…; a number is a constant.
    units
        In what a column is, if not SI: SIGNAL=UNIT,… like angle=deg,torque=0.001,time=ms.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        return _inspect_run(path)
    if path.suffix == ".safetensors":
        return _inspect_model(path)
    return _inspect_log(path, system, parameters, dt, time, columns, units)


def _inspect_log(
    path: Path,
    name: str | None,
    parameters: str,
    dt: float | None,
    time: str,
    columns: str,
    units: str,
) -> int:
    from hybridmodel.cli.choices import is_dataset, named_values, names, read_logs, system_named
    from hybridmodel.cli.identifiable import identifiable
    from hybridmodel.data import inspect_log, read_table

    system = None if name is None else system_named(name)
    column, unit = named_values("--columns", columns), named_values("--units", units)
    if system is None and (column or unit):
        raise ValueError("--columns and --units name signals of a system: give --system")
    console = Console(soft_wrap=True, highlight=False)
    if is_dataset(path):
        data = read_logs((path,), system, dt)
        _show_dataset(console, path, data, system)
        _show_findings(console, inspect_log(data, system))
        if system is not None:
            identifiable(console, system, data, names(parameters))
        return OK
    # as recorded: what resampling mends is worth knowing
    table = read_table(path, time=time)
    _show_table(console, table)
    _show_findings(console, inspect_log(table, system, columns=column, units=unit))
    if system is not None:
        data = read_logs((path,), system, dt, time=time, columns=columns, units=units)
        _show_dataset(console, path, data, system)
        identifiable(console, system, data, names(parameters))
    return OK


def _show_dataset(console: Console, path: Path, data: Dataset, system: System | None) -> None:
    import numpy as np

    console.print(f"{path}: {len(data)} logs, {data.seconds:.6g} s at dt = {data.dt:.6g} s")
    groups = {"u": "inputs", "y": "outputs", "d": "exogenous", "x": "states"}
    rows = []
    for key, group in groups.items():
        parts = [getattr(log, key) for log in data]
        if any(part is None for part in parts):
            continue
        values = np.concatenate(parts)
        signals = getattr(system, group) if system is not None else None
        for i, column in enumerate(values.T):
            known = signals[i] if signals is not None and i < len(signals) else None
            label = f"{key}[{i}]" if known is None else f"{key}: {known.name}"
            rows.append((label, known.unit if known else "", column))
    _show_channels(console, rows)
    for key, value in data[0].context.items():
        console.print(
            f"context {key}: {value:.6g}" + (" in the first log" if len(data) > 1 else "")
        )


def _show_table(console: Console, table: LogTable) -> None:
    console.print(f"{table.path}: {len(table.header)} columns")
    _show_channels(console, [(name, "", table.column(name)) for name in table.names])


def _show_channels(console: Console, rows: Iterable[tuple[str, str, Array]]) -> None:
    import numpy as np

    shown = Table()
    for heading in ("channel", "unit", "least", "most", "deviation"):
        shown.add_column(heading, justify="left" if heading in ("channel", "unit") else "right")
    for label, unit, column in rows:
        column = column[np.isfinite(column)]
        numbers = (column.min(), column.max(), column.std()) if len(column) else ()
        shown.add_row(escape(label), unit, *(f"{v:.4g}" for v in numbers))
    console.print(shown)


def _show_findings(console: Console, report: LogReport) -> None:
    if not report.findings:
        console.print("nothing found wrong")
    for finding in report.findings:
        colour = "yellow" if finding.severity == "warning" else "dim"
        about = f"{finding.channel}: {finding.text}"
        console.print(f"[{colour}]{finding.severity:>7}[/]  {escape(about)}")


def _inspect_model(path: Path) -> int:
    from hybridmodel.checkpoint import describe

    about = describe(path)
    console = Console()
    residual = about["residual"]
    network = (
        "none (physics alone)" if residual is None else residual["module"] or residual["class"]
    )
    rows = {
        "system": about["system"]["class"],
        "residual": network,
        "placement": about["placement"]["name"],
        "dt": f"{about['dt']:g} s, {about['integrator']}, {about['substeps']} substeps"
        + (", residual held" if about["hold"] else ""),
        "sees": ", ".join(about["features"]),
        "fitted": ", ".join(f"{n} = {about['parameters'][n]:.5g}" for n in about["fit_parameters"])
        or "nothing",
        "written by": ", ".join(f"{k} {v}" for k, v in about["versions"].items()),
    }
    for name, value in rows.items():
        console.print(f"[bold]{name:>10}[/]  {value}", highlight=False)
    return OK


def _inspect_run(path: Path) -> int:
    from hybridmodel.cli.demo import results
    from hybridmodel.demo.record import read_summary

    summary = read_summary(path)
    console = Console()
    console.print(results(summary))
    console.print(f"{summary['command']}   {summary['wall_seconds']:.0f} s")
    return OK
