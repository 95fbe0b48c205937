"""`hybridmodel evaluate`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from hybridmodel.cli import OK, WORSE


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
) -> int:
    """Prediction error of a model by step, on logs, beside its physics without the residual.

    Parameters
    ----------
    model
        A .safetensors model.
    logs
        .npz datasets or .csv logs.
    horizon
        Longest free run [steps].
    at_most
        Exit with 1 where the scaled error at the horizon is larger.
    system
        MODULE:CLASS, where the model's system is your own.
    residual
        MODULE:FACTORY, where its residual is a torch.nn.Module of your own.
    dt
        Resample uneven .csv logs to this step [s].
    """
    from hybridmodel import HybridModel
    from hybridmodel import evaluate as evaluate_model
    from hybridmodel.cli.choices import load_model, read_logs

    loaded = load_model(model, system, residual)
    data = read_logs(logs, loaded.system, dt)
    bare = HybridModel(
        loaded.system, dt=loaded.dt, integrator=loaded.integrator, substeps=loaded.substeps
    )
    found = evaluate_model(loaded, data, horizon=horizon)
    physics = evaluate_model(bare, data, horizon=horizon)
    table = Table(
        title=f"RMSE against {'the true state' if found.against == 'x' else 'measured outputs'}, "
        f"{found.windows} free runs"
    )
    table.add_column("steps", justify="right")
    for name in found.names:
        table.add_column(name, justify="right")
    table.add_column("scaled", justify="right")
    table.add_column("without residual", justify="right")
    steps = sorted({k for k in (1, 2, 5, 10, 20, 50, 100) if k <= horizon} | {horizon})
    for k in steps:
        cells = [f"{value:.4g}" for value in found.rmse[k - 1]]
        table.add_row(str(k), *cells, f"{found.at(k):.4g}", f"{physics.at(k):.4g}")
    Console().print(table)
    return WORSE if at_most is not None and not found.at(horizon) <= at_most else OK
