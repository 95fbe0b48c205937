"""`hybridmodel evaluate`."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from hybridmodel.cli import OK, WORSE

MOST_COLUMNS = 6  # signals; more are rows, so that a terminal of 80 columns shows them


def evaluate(
    model: Path,
    logs: tuple[Path, ...],
    /,
    *,
    horizon: int = 50,
    at_most: float | None = None,
    system: str | None = None,
    residual: str | None = None,
    dt: float | None = None,
    time: str = "time",
    columns: str = "",
    units: str = "",
) -> int:
    """Prediction error of a model by step, on logs, beside its physics without the residual.

    Parameters
    ----------
    model
        A .safetensors model.
    logs
        .npz datasets or recorded logs (.npz, .csv, .parquet, .h5, .bag, .mcap).
    horizon
        Longest free run [steps].
    at_most
        Exit with 1 where the scaled error at the horizon is larger.
    system
        A robot's .urdf or .xml file, or MODULE:CLASS, where the model's system is your own.
    residual
        MODULE:FACTORY, where its residual is a torch.nn.Module of your own.
    dt
        Resample uneven logs to this step [s].
    time
        The column of stamps [s]; of a ROS bag, header.stamp for those of its messages.
    columns
        Which column is which signal where names differ, SIGNAL=COLUMN,…; a number is a constant.
    units
        In what a column is, if not SI: SIGNAL=UNIT,… like angle=deg,torque=0.001,time=ms.
    """
    from hybridmodel import HybridModel
    from hybridmodel import evaluate as evaluate_model
    from hybridmodel.cli.choices import load_model, read_logs

    loaded = load_model(model, system, residual)
    data = read_logs(logs, loaded.system, dt, time=time, columns=columns, units=units)
    bare = HybridModel(
        loaded.system, dt=loaded.dt, integrator=loaded.integrator, substeps=loaded.substeps
    )
    found = evaluate_model(loaded, data, horizon=horizon)
    physics = evaluate_model(bare, data, horizon=horizon)
    table = Table(
        title=f"RMSE against {'the true state' if found.against == 'x' else 'measured outputs'}, "
        f"{found.windows} free runs"
    )
    wide = len(found.names) <= MOST_COLUMNS
    shown = (1, 2, 5, 10, 20, 50, 100) if wide else (1, 5, 20, 50, 100)
    steps = sorted({k for k in shown if k <= horizon} | {horizon})
    digits = 4 if wide else 3
    by_step = [
        [f"{value:.{digits}g}" for value in (*found.rmse[k - 1], found.at(k), physics.at(k))]
        for k in steps
    ]
    names = (*found.names, "scaled", "without residual")
    table.add_column("steps", justify="right" if wide else "left", no_wrap=not wide)
    for heading in names if wide else steps:
        table.add_column(str(heading), justify="right", no_wrap=not wide)
    if wide:
        for k, cells in zip(steps, by_step, strict=True):
            table.add_row(str(k), *cells)
    else:
        table.box, table.padding = box.SIMPLE_HEAD, (0, 1, 0, 0)
        for name, cells in zip(names, zip(*by_step, strict=True), strict=True):
            table.add_row(name, *cells)
    Console().print(table)
    return WORSE if at_most is not None and not found.at(horizon) <= at_most else OK
