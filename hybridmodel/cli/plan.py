"""`hybridmodel plan`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hybridmodel.cli import OK, WORSE
from hybridmodel.cli.evaluate import MOST_COLUMNS

if TYPE_CHECKING:
    from hybridmodel import OptimalControlProblem, Planner

_PICTURES = (".png", ".svg", ".pdf")


PlannerName = Literal[
    "shooting",
    "collocation",
    "sqp",
    "ilqr",
    "descent",
    "cem",
    "icem",
    "mppi",
    "refined",
    "random",
    "portfolio",
    "gradient",
]


def plan(
    model: Path,
    *,
    start: Annotated[str, Parameter(allow_leading_hyphen=True)],
    state: str,
    input: str = "",
    terminal: str | None = None,
    target: str = "",
    horizon: int = 40,
    planner: PlannerName = "shooting",
    input_rate: str = "",
    balance: bool = False,
    deadline: float | None = None,
    seed: int = 0,
    system: str | None = None,
    residual: str | None = None,
    out: Path | None = None,
    picture: Path | None = None,
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
        By gradients: shooting (IPOPT; formerly gradient), collocation, sqp, ilqr, descent (Adam).
        By drawing: cem, icem, mppi, refined (cem with gradient steps), random. portfolio is cem,
        then sqp.
    input_rate
        Largest rates of inputs a second, like force=20; what is not named is free.
    balance
        End in the cost of keeping the target for ever (Riccati's) in place of --terminal.
    deadline
        Seconds.
    seed
        Of what is drawn.
    system
        A robot's .urdf or .xml file, or MODULE:CLASS, where the model's system is your own.
    residual
        MODULE:FACTORY, where its residual is a torch.nn.Module of your own.
    out
        Write the plan to this .npz file.
    picture
        Draw the plan to this .png, .svg or .pdf file.
    """
    import numpy as np

    from hybridmodel import (
        CEM,
        ICEM,
        ILQR,
        MPPI,
        SQP,
        Collocation,
        CostToGo,
        GradientDescent,
        MultipleShooting,
        OptimalControlProblem,
        Portfolio,
        Quadratic,
        RandomShooting,
        RefinedCEM,
    )
    from hybridmodel.cli.choices import load_model, numbers, weights
    from hybridmodel.files import write_atomically

    if out is not None and out.suffix != ".npz":
        raise ValueError(f"--out must be a .npz file, got {out}")
    if picture is not None and picture.suffix not in _PICTURES:
        raise ValueError(f"--picture must end in one of {', '.join(_PICTURES)}, got {picture}")
    if balance and terminal is not None:
        raise ValueError("--balance takes the place of --terminal, give one of them")
    loaded = load_model(model, system, residual)
    cost = Quadratic(
        loaded.system,
        state=weights("--state", state),
        input=weights("--input", input),
        terminal=None if terminal is None else weights("--terminal", terminal),
        target=weights("--target", target),
    )
    rates = weights("--input-rate", input_rate)
    names = [signal.name for signal in loaded.system.inputs]
    if unknown := [name for name in rates if name not in names]:
        raise ValueError(f"--input-rate names {unknown[0]!r}; inputs are {names}")
    problem = OptimalControlProblem(
        loaded,
        CostToGo(loaded, cost) if balance else cost,
        horizon=horizon,
        input_rate=[rates.get(name, np.inf) for name in names],
    )
    kinds: dict[PlannerName, Callable[[OptimalControlProblem], Planner]] = {
        "shooting": MultipleShooting,
        "gradient": MultipleShooting,
        "collocation": Collocation,
        "sqp": SQP,
        "ilqr": ILQR,
        "descent": GradientDescent,
        "cem": CEM,
        "icem": ICEM,
        "mppi": MPPI,
        "refined": RefinedCEM,
        "random": RandomShooting,
        "portfolio": lambda problem: Portfolio(CEM(problem), SQP(problem)),
    }
    x0 = np.array(numbers("--start", start, loaded.nx))
    found = kinds[planner](problem).plan(x0, seed=seed, deadline=deadline)
    console = Console()
    console.print(
        f"{found.status.value}: cost {found.cost:.6g}, {found.iterations} iterations, "
        f"{found.seconds:.2f} s"
    )
    signals = (*loaded.system.inputs, *problem.model.state_signals)
    names = [escape(f"{signal.name} [{signal.unit}]") for signal in signals]
    wide = len(signals) <= MOST_COLUMNS
    steps = range(0, horizon + 1, max(1, horizon // 10))
    steps = steps if wide else sorted({*np.linspace(0, horizon, 5).round().astype(int).tolist()})
    values = [
        [*(found.u[k] if k < horizon else [np.nan] * loaded.system.nu), *found.x[k]] for k in steps
    ]
    times = [f"{k * loaded.dt:.2f}" for k in steps]
    cells = [["" if np.isnan(v) else f"{v:.3f}" for v in row] for row in values]
    table = Table()
    table.add_column(escape("t [s]"), justify="right" if wide else "left", no_wrap=not wide)
    for heading in names if wide else times:
        table.add_column(heading, justify="right", no_wrap=not wide)
    if wide:
        for time, row in zip(times, cells, strict=True):
            table.add_row(time, *row)
    else:
        table.box, table.padding = box.SIMPLE_HEAD, (0, 1, 0, 0)
        for name, row in zip(names, zip(*cells, strict=True), strict=True):
            table.add_row(name, *row)
    console.print(table)
    if out is not None:
        buffer = io.BytesIO()
        np.savez(buffer, u=found.u, x=found.x, cost=found.cost, status=found.status.name)
        write_atomically(out, buffer.getvalue())
    if picture is not None:
        from hybridmodel.report import plot_plan

        buffer = io.BytesIO()
        plot_plan(problem, found).savefig(buffer, format=picture.suffix[1:])
        write_atomically(picture, buffer.getvalue())
    return OK if found.usable else WORSE
