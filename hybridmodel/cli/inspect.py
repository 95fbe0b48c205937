"""`hybridmodel inspect`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from hybridmodel.cli import OK


def inspect(path: Path, *, system: str | None = None, dt: float | None = None) -> int:
    """Say what a log (.npz, .csv), a model (.safetensors) or a run folder holds.

    Parameters
    ----------
    path
        The file or folder.
    system
        Names the channels of a log; needed for a .csv.
    dt
        Resample an uneven .csv to this step [s].
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.is_dir():
        return _inspect_run(path)
    if path.suffix == ".safetensors":
        return _inspect_model(path)
    return _inspect_log(path, system, dt)


def _inspect_log(path: Path, name: str | None, dt: float | None) -> int:
    import numpy as np

    from hybridmodel.cli.choices import read_logs, system_named

    system = None if name is None else system_named(name)
    data = read_logs((path,), system, dt)
    console = Console()
    console.print(f"{path}: {len(data)} logs, {data.seconds:.6g} s at dt = {data.dt:.6g} s")
    table = Table()
    for heading in ("channel", "unit", "least", "most", "deviation"):
        table.add_column(heading, justify="left" if heading in ("channel", "unit") else "right")
    groups = {"u": "inputs", "y": "outputs", "d": "exogenous", "x": "states"}
    for key, group in groups.items():
        parts = [getattr(log, key) for log in data]
        if any(part is None for part in parts):
            continue
        values = np.concatenate(parts)
        signals = getattr(system, group) if system is not None else None
        for i in range(values.shape[1]):
            known = signals[i] if signals is not None and i < len(signals) else None
            label = f"{key}[{i}]" if known is None else f"{key}: {known.name}"
            column = values[:, i]
            numbers = (column.min(), column.max(), column.std())
            table.add_row(label, known.unit if known else "", *(f"{v:.4g}" for v in numbers))
    console.print(table)
    for key, value in data[0].context.items():
        console.print(
            f"context {key}: {value:.6g}" + (" in the first log" if len(data) > 1 else "")
        )
    return OK


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
