"""`hybridmodel excite`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console

from hybridmodel.cli import OK, WORSE


def excite(
    system: str,
    out: Path,
    *,
    parameters: str,
    noise: str,
    seconds: float = 5.0,
    dt: float = 0.04,
    amplitude: float = 0.5,
    substeps: int = 2,
    criterion: Literal["A", "D", "E"] = "A",
    iterations: int = 30,
    seed: int = 0,
) -> int:
    """Design an input that identifies parameters better than a multisine of the same size.

    Prints the standard errors that one log should give, before and after. Exits with 1 where
    nothing better was found, or the design leaves the limits of the states.

    Parameters
    ----------
    system
        A name, a robot's .urdf or .xml file, or MODULE:CLASS of your own.
    out
        The .npz (t, u) or .csv (time and a column an input) to write; collect --excitation OUT
        commands a plant with it.
    parameters
        What is to be identified, comma-separated.
    noise
        Standard deviation of each output, comma-separated, or one for all.
    seconds
        Length of the log [s].
    dt
        Control step [s].
    amplitude
        Share of the input bounds.
    substeps
        Integrator steps in one dt.
    criterion
        A: sum of relative variances, D: volume of the ellipsoid, E: its longest axis.
    iterations
        Of the search.
    seed
        Of the search.
    """
    import io

    import numpy as np

    from hybridmodel import HybridModel
    from hybridmodel.cli.choices import numbers, system_named
    from hybridmodel.cli.identifiable import information_table
    from hybridmodel.files import write_atomically
    from hybridmodel.identification import excite as design

    if out.suffix not in (".npz", ".csv"):
        raise ValueError(f"out must be a .npz or a .csv, got {out}")
    if not (seconds > 0 and dt > 0):
        raise ValueError("--seconds and --dt must be positive")
    physics = system_named(system, "SYSTEM")
    names = tuple(name.strip() for name in parameters.split(",") if name.strip())
    if not names:
        raise ValueError("--parameters names what is to be identified")
    spread: tuple[float, ...] = numbers("--noise", noise)
    if len(spread) not in (1, physics.ny):
        raise ValueError(f"--noise wants 1 or {physics.ny} numbers, got {len(spread)}")
    model = HybridModel(physics, dt=dt, fit_parameters=names, substeps=substeps)
    found = design(
        model,
        seconds=seconds,
        noise=np.resize(np.array(spread), physics.ny),
        amplitude=amplitude,
        horizon=min(25, round(seconds / dt)),
        criterion=criterion,
        iterations=iterations,
        seed=seed,
    )
    nothing = np.zeros(physics.ny)
    t = dt * np.arange(round(seconds / dt))
    u = np.array([found.policy(moment, nothing) for moment in t])
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npz":
        with io.BytesIO() as content:
            np.savez(content, t=t, u=u, inputs=[s.name for s in physics.inputs])
            write_atomically(out, content.getvalue())
    else:
        head = ",".join(["time", *(s.name for s in physics.inputs)])
        rows = [",".join(repr(float(v)) for v in row) for row in np.column_stack([t, u])]
        write_atomically(out, ("\n".join([head, *rows]) + "\n").encode())
    console = Console()
    console.print(information_table(found.before, "under a multisine"))
    console.print(information_table(found.after, f"under {out}"))
    console.print(f"standard errors {found.factor:.2f} times smaller (geometric mean)")
    if found.exceeded > 0:
        console.print(f"states leave their limits by {found.exceeded:.2g} of half their range")
    return OK if found.factor > 1 and found.exceeded == 0 else WORSE
