"""`hybridmodel fit`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hybridmodel.cli import OK, WORSE


def fit(
    logs: tuple[Path, ...],
    /,
    *,
    system: str,
    out: Path,
    placement: str = "acceleration",
    hidden: str = "32,32",
    limit: float | None = None,
    parameters: str = "",
    horizons: str = "1,5,20",
    epochs: int = 40,
    rate: float = 5e-3,
    penalty: float = 1e-4,
    substeps: int = 1,
    hold: bool = False,
    dt: float | None = None,
    seed: int = 0,
) -> int:
    """Fit a hybrid model to logs and write OUT, and OUT's name with .metrics.jsonl beside it.

    Exits with 1 where the fitted model predicts no better than the physics alone.

    Parameters
    ----------
    logs
        .npz datasets or .csv logs, split by trajectory.
    system
        The physics: a name, a robot's .urdf or .xml file, or MODULE:CLASS of your own.
    out
        The .safetensors model to write.
    placement
        Where the residual enters: acceleration, derivative, input, next_state.
    hidden
        Widths of the network's hidden layers; empty fits the parameters alone.
    limit
        Hard bound on the residual.
    parameters
        Physical parameters to fit, comma-separated.
    horizons
        Steps of each stage of the curriculum.
    epochs
        Of each stage.
    rate
        Step size.
    penalty
        Price of the residual.
    substeps
        Integrator steps in one dt.
    hold
        Evaluate the network once a step.
    dt
        Resample uneven .csv logs to this step [s].
    seed
        Of split, weights and batches.
    """
    from hybridmodel import HybridModel, save
    from hybridmodel import fit as fit_model
    from hybridmodel import identify as identify_model
    from hybridmodel.cli.choices import numbers, placement_named, read_logs, system_named
    from hybridmodel.files import write_atomically
    from residuals import MLP

    if out.suffix != ".safetensors":
        raise ValueError(f"--out must be a .safetensors file, got {out}")
    physics = system_named(system)
    data = read_logs(logs, physics, dt)
    train, validation = data.split((0.85, 0.15), seed)
    widths = tuple(int(w) for w in numbers("--hidden", hidden))
    residual = MLP(widths, limit=limit, seed=seed) if widths else None
    model = HybridModel(
        physics,
        residual,
        dt=data.dt,
        placement=placement_named(placement),
        fit_parameters=tuple(name.strip() for name in parameters.split(",") if name.strip()),
        substeps=substeps,
        hold=hold,
    )
    stages = tuple(int(h) for h in numbers("--horizons", horizons))
    console = Console()
    out.parent.mkdir(parents=True, exist_ok=True)
    columns = (
        TextColumn("fit"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[news]}"),
        TimeElapsedColumn(),
    )
    rows: list[str] = []
    with Progress(*columns, console=console, transient=True) as bar:
        line = bar.add_task("fit", total=epochs * len(stages) if widths else 5, news="")

        def progress(row: Mapping[str, float]) -> None:
            # whole and readable at any time, and the old one stays until there is a first row
            rows.append(json.dumps(dict(row)) + "\n")
            write_atomically(out.with_suffix(".metrics.jsonl"), "".join(rows).encode())
            news = (
                f"H = {row['horizon']:.0f}  error {row['best']:.4f}, physics {row['physics']:.4f}"
            )
            bar.update(line, advance=1, news=news)

        if residual is None:
            result = identify_model(
                model, train, validation, horizon=stages[-1], seed=seed, progress=progress
            )
        else:
            result = fit_model(
                model,
                train,
                validation,
                horizons=stages,
                epochs=epochs,
                rate=rate,
                residual_penalty=penalty,
                seed=seed,
                progress=progress,
            )
    save(result.model, out)
    for name, value in result.model.parameter_values().items():
        parameter = physics.parameters[name]
        console.print(f"  {name}: {float(parameter):.5g} → {value:.5g} {parameter.unit}")
    console.print(
        f"{out}: error over {stages[-1]} steps {result.validation:.4f}, "
        f"physics alone {result.physics:.4f} (held-out logs, in deviations); "
        f"{result.stopped}, {result.seconds:.1f} s"
    )
    if not math.isfinite(result.physics):
        console.print(
            f"the physics alone diverges at dt = {train.dt:g} s: stiff rates, as of friction on a "
            f"light joint, want more than --substeps {substeps}"
        )
    return OK if result.validation < result.physics else WORSE
