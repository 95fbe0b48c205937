"""`hybridmodel fit`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

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
    residual: str = "mlp",
    hidden: str = "32,32",
    limit: float | None = None,
    memory: int = 8,
    members: int = 5,
    support: bool = False,
    features: str = "",
    parameters: str = "",
    horizons: str = "1,5,20",
    epochs: int = 40,
    rate: float = 5e-3,
    penalty: float = 1e-4,
    loss: Literal["mse", "likelihood"] = "mse",
    initial: Literal["measured", "estimated"] = "measured",
    noise: str = "",
    per_log: str = "",
    substeps: int = 1,
    hold: bool = False,
    dt: float | None = None,
    time: str = "time",
    columns: str = "",
    units: str = "",
    seed: int = 0,
    checkpoint: Path | None = None,
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
        Where the residual enters: acceleration, force, derivative, input, parameters,
        dissipation, gyroscopic, potential, next_state, output; with :A,B the rows that it corrects.
    residual
        Its family: mlp, ensemble, window, gru, potential; linear and gp have a closed form.
    hidden
        Widths of the network's hidden layers; empty with mlp fits the parameters alone.
    limit
        Hard bound on the residual.
    memory
        Steps that window remembers, or that gru is warmed up over.
    members
        Of an ensemble.
    support
        Fade the residual to zero outside the data.
    features
        Signals that the residual sees, comma-separated; default: all.
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
    loss
        likelihood also trains the variance of an ensemble.
    initial
        Windows start from the measured state, or from one estimated from their own samples.
    noise
        Deviations of the outputs' noise for that, as angle=0.01,rate=0.1.
    per_log
        Parameters, among the fitted, with a value of their own in each log.
    substeps
        Integrator steps in one dt.
    hold
        Evaluate the network once a step.
    dt
        Resample uneven logs to this step [s].
    time
        The column of stamps of logs that are no .npz dataset.
    columns
        Their columns, as signal=column,… (or signal=number for a constant).
    units
        Their units, as signal=unit,… or signal=factor,….
    seed
        Of split, weights and batches.
    checkpoint
        Written after every epoch; the same command goes on from it where it was stopped.
    """
    from hybridmodel import HybridModel, save
    from hybridmodel import fit as fit_model
    from hybridmodel import identify as identify_model
    from hybridmodel import regress as regress_model
    from hybridmodel.cli.choices import (
        named_numbers,
        names,
        placement_named,
        read_logs,
        residual_named,
        system_named,
    )
    from hybridmodel.files import write_atomically
    from residuals import Regressed

    if out.suffix != ".safetensors":
        raise ValueError(f"--out must be a .safetensors file, got {out}")
    physics = system_named(system)
    data = read_logs(logs, physics, dt, time=time, columns=columns, units=units)
    train, validation = data.split((0.85, 0.15), seed)
    widths, stages = _whole("--hidden", hidden), _whole("--horizons", horizons)
    learned = residual_named(
        residual, widths, limit=limit, memory=memory, members=members, support=support, seed=seed
    )
    model = HybridModel(
        physics,
        learned,
        dt=data.dt,
        placement=placement_named(placement),
        fit_parameters=names(parameters),
        features=names(features) or None,
        substeps=substeps,
        hold=hold,
    )
    solved = isinstance(model.residual, Regressed)
    if solved or learned is None:
        given = {"--loss": loss != "mse", "--initial": initial != "measured", "--noise": noise}
        given |= {"--per-log": per_log, "--checkpoint": checkpoint}
        if unused := [option for option, value in given.items() if value]:
            how = f"--residual {residual} is solved for" if solved else "parameters are identified"
            raise ValueError(f"{unused[0]} is for what is trained in steps, and {how} at once")
    console = Console()
    out.parent.mkdir(parents=True, exist_ok=True)
    shown = (
        TextColumn("fit"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[news]}"),
        TimeElapsedColumn(),
    )
    rows: list[str] = []
    with Progress(*shown, console=console, transient=True) as bar:
        line = bar.add_task(
            "fit", total=epochs * len(stages) if learned is not None else 5, news=""
        )

        def progress(row: Mapping[str, float]) -> None:
            # whole and readable at any time, and the old one stays until there is a first row
            rows.append(json.dumps(dict(row)) + "\n")
            write_atomically(out.with_suffix(".metrics.jsonl"), "".join(rows).encode())
            news = (
                f"H = {row['horizon']:.0f}  error {row['best']:.4f}, physics {row['physics']:.4f}"
            )
            bar.update(line, advance=1, news=news)

        if solved:
            if model.fit_parameters:  # first what parameters can do, then what is left
                bare = model.rebuilt()
                found = identify_model(bare, train, validation, horizon=stages[-1], seed=seed)
                model = model.rebuilt(found.model.system)
            result = regress_model(model, train, validation, spans=(1, 2, 4), horizon=stages[-1])
            rows += [json.dumps(dict(row)) + "\n" for row in result.history]
            write_atomically(out.with_suffix(".metrics.jsonl"), "".join(rows).encode())
        elif learned is None:
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
                loss=loss,
                initial=initial,
                noise=named_numbers("--noise", noise),
                per_log=names(per_log),
                seed=seed,
                checkpoint=checkpoint,
                progress=progress,
            )
    save(result.model, out)
    for name, value in result.model.parameter_values().items():
        parameter = physics.parameters[name]
        each = result.per_log.get(name, ())
        own = f", by log {', '.join(f'{v:.5g}' for v in each)}" if len(each) else ""
        console.print(f"  {name}: {float(parameter):.5g} → {value:.5g} {parameter.unit}{own}")
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


def _whole(option: str, text: str) -> tuple[int, ...]:
    from hybridmodel.cli.choices import numbers

    values = numbers(option, text)
    if any(value != int(value) for value in values):
        raise ValueError(f"{option} must hold whole numbers, got {text!r}")
    return tuple(int(value) for value in values)
