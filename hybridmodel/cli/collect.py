"""`hybridmodel collect`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import track

from hybridmodel.cli import OK


def collect(
    system: str,
    out: Path,
    *,
    logs: int = 10,
    seconds: float = 5.0,
    dt: float = 0.04,
    excitation: Literal["multisine", "chirp", "steps"] = "multisine",
    amplitude: float = 0.5,
    hidden: Path | None = None,
    engine: Literal["pybullet", "mujoco", "ode"] = "pybullet",
    seed: int = 0,
) -> int:
    """Log a simulated plant under an excitation.

    Parameters
    ----------
    system
        pendulum, cartpole, double-pendulum, acrobot, pendubot, or MODULE:CLASS of your own.
    out
        The .npz dataset, or a .csv (then one log) to write.
    logs
        How many.
    seconds
        Length of each [s].
    dt
        Control step [s].
    excitation
        What commands the plant.
    amplitude
        Share of the input bounds.
    hidden
        JSON file with what the physics does not know (the fields of HiddenEffects).
    engine
        The plant's simulator.
    seed
        Of the first log.
    """
    from hybridmodel import Chirp, Dataset, Multisine, RandomSteps, envs, save_npz, write_csv
    from hybridmodel.cli.choices import hidden_effects, system_named
    from hybridmodel.collection import collect as run

    if out.suffix not in (".npz", ".csv") or (out.suffix == ".csv" and logs != 1):
        raise ValueError(f"out must be a .npz, or a .csv with --logs 1, got {out}")
    if logs < 1 or not (seconds > 0 and dt > 0):
        raise ValueError("--logs, --seconds and --dt must be positive")
    plant_system = system_named(system)
    kinds = {"multisine": Multisine, "chirp": Chirp, "steps": RandomSteps}
    policy = kinds[excitation](plant_system.inputs, amplitude=amplitude)
    plant = envs.make(plant_system, engine=engine, dt=dt, hidden=hidden_effects(hidden))
    console = Console()
    trajectories = [
        run(plant, policy, steps=max(1, round(seconds / dt)), seed=seed + k)
        for k in track(range(logs), "collect", console=console, transient=True)
    ]
    plant.close()
    if out.suffix == ".npz":
        save_npz(Dataset(trajectories), out)
    else:
        write_csv(trajectories[0], out, plant_system)
    total = sum(trajectory.seconds for trajectory in trajectories)
    console.print(f"{out}: {logs} logs, {total:.1f} s")
    short = [t.seconds for t in trajectories if t.seconds < seconds - dt]
    if short:
        console.print(
            f"{len(short)} ended early at a limit of the plant (shortest {min(short):.2f} s); "
            "lower --amplitude keeps it inside"
        )
    return OK
