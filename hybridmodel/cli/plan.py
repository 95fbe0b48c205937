"""`hybridmodel plan`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from hybridmodel.cli import OK, WORSE


def plan(
    model: Path,
    *,
    start: Annotated[str, Parameter(allow_leading_hyphen=True)],
    state: str,
    input: str = "",
    terminal: str | None = None,
    target: str = "",
    horizon: int = 40,
    planner: Literal["gradient", "cem", "descent"] = "gradient",
    deadline: float | None = None,
    seed: int = 0,
    system: str | None = None,
    residual: str | None = None,
    out: Path | None = None,
) -> int:
    """Plan with a model and print the plan; exits with 1 where it is not usable.

    Parameters
    ----------
    model
        A .safetensors model.
    start
        x0, comma-separated numbers, one a state.
    state
        Stage weights, like angle=2,rate=0.05.
    input
        Input weights, like force=0.01.
    terminal
        Terminal weights; default: those of --state.
    target
        Target, like angle=3.1416.
    horizon
        Steps.
    planner
        gradient: multiple shooting with IPOPT; cem; descent: gradient descent through torch.
    deadline
        Seconds.
    seed
        Of what is drawn.
    system
        MODULE:CLASS, where the model's system is your own.
    residual
        MODULE:FACTORY, where its residual is a torch.nn.Module of your own.
    out
        Write the plan to this .npz file.
    """
    import numpy as np

    from hybridmodel import (
        CEM,
        GradientDescent,
        MultipleShooting,
        OptimalControlProblem,
        Quadratic,
    )
    from hybridmodel.cli.choices import load_model, numbers, weights
    from hybridmodel.files import write_atomically

    if out is not None and out.suffix != ".npz":
        raise ValueError(f"--out must be a .npz file, got {out}")
    loaded = load_model(model, system, residual)
    cost = Quadratic(
        loaded.system,
        state=weights("--state", state),
        input=weights("--input", input),
        terminal=None if terminal is None else weights("--terminal", terminal),
        target=weights("--target", target),
    )
    problem = OptimalControlProblem(loaded, cost, horizon=horizon)
    kinds = {"gradient": MultipleShooting, "cem": CEM, "descent": GradientDescent}
    x0 = np.array(numbers("--start", start, loaded.system.nx))
    found = kinds[planner](problem).plan(x0, seed=seed, deadline=deadline)
    console = Console()
    console.print(
        f"{found.status.value}: cost {found.cost:.6g}, {found.iterations} iterations, "
        f"{found.seconds:.2f} s"
    )
    table = Table()
    table.add_column("t [s]", justify="right")
    signals = (*loaded.system.inputs, *loaded.system.states, *loaded.system.memory)
    for signal in signals:
        table.add_column(f"{signal.name} [{signal.unit}]", justify="right")
    for k in range(0, horizon + 1, max(1, horizon // 10)):
        u = found.u[k] if k < horizon else [np.nan] * loaded.system.nu
        values = [*u, *found.x[k]]
        table.add_row(f"{k * loaded.dt:.2f}", *("" if np.isnan(v) else f"{v:.3f}" for v in values))
    console.print(table)
    if out is not None:
        buffer = io.BytesIO()
        np.savez(buffer, u=found.u, x=found.x, cost=found.cost, status=found.status.name)
        write_atomically(out, buffer.getvalue())
    return OK if found.usable else WORSE
