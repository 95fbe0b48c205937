"""`hybridmodel collect`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import track

from hybridmodel.cli import OK, WORSE


def collect(
    system: str,
    out: Path,
    *,
    logs: int = 10,
    seconds: float | None = None,
    dt: float | None = None,
    excitation: Literal["motion", "multisine", "chirp", "steps"] | Path | None = None,
    amplitude: float = 0.5,
    hidden: Path | None = None,
    engine: Literal["pybullet", "mujoco", "ode"] = "pybullet",
    seed: int = 0,
) -> int:
    """Log a simulated plant under an excitation; exits with 1 where no log has its full length.

    Parameters
    ----------
    system
        A name, a robot's .urdf or .xml file, or MODULE:CLASS of your own. Names: pendulum,
        cartpole, double-pendulum, acrobot, pendubot, quadrotor, planar-quadrotor,
        kinematic-bicycle, dynamic-bicycle, two-tanks.
    out
        The .npz dataset, or a .csv (then one log) to write.
    logs
        How many.
    seconds
        Length of each [s]; default: 5, or that of the excitation's file.
    dt
        Control step [s]; default: 0.04, or that of the excitation's file.
    excitation
        What commands the plant. motion: a controller on the nominal physics leads it through a
        random motion inside its limits; default for robots on a fixed base and quadrotors, for
        others multisine. Or the .npz or .csv file that `hybridmodel excite` wrote.
    amplitude
        Share of the input bounds; of a motion, share of half the range of each joint up to 1 rad
        or 1 m, of a quadrotor 2 m to each side, 1 m up and down and 1 rad of yaw.
    hidden
        JSON file with what the physics does not know (the fields of HiddenEffects; of a robot
        RobotEffects, of a quadrotor AerialEffects, of a car VehicleEffects).
    engine
        The plant's simulator.
    seed
        Of the first log.
    """
    from hybridmodel import Dataset, envs, save_npz, write_csv
    from hybridmodel.cli.choices import (
        excitation_named,
        hidden_effects,
        must_be_led,
        system_named,
    )
    from hybridmodel.cli.designed import Designed
    from hybridmodel.collection import Policy
    from hybridmodel.collection import collect as run

    if out.suffix not in (".npz", ".csv") or (out.suffix == ".csv" and logs != 1):
        raise ValueError(f"out must be a .npz, or a .csv with --logs 1, got {out}")
    plant_system = system_named(system, "SYSTEM")
    policy: Policy | None = None
    start: tuple[float, ...] | None = None
    if isinstance(excitation, Path):
        if excitation.suffix.lower() not in (".npz", ".csv") or not excitation.is_file():
            raise ValueError(
                "--excitation is motion, multisine, chirp, steps or a .npz or .csv file that "
                f"there is, got {str(excitation)!r}"
            )
        policy = designed = Designed(excitation, plant_system)
        length, step = len(designed.u) * designed.dt, designed.dt
        dt, seconds = step if dt is None else dt, length if seconds is None else seconds
        if abs(dt - step) > 1e-6 * step or seconds > length + dt / 2:
            raise ValueError(
                f"--excitation {excitation} is {length:g} s at --dt {step:g}, got --seconds "
                f"{seconds:g} --dt {dt:g}"
            )
    dt, seconds = 0.04 if dt is None else dt, 5.0 if seconds is None else seconds
    if logs < 1 or not (seconds > 0 and dt > 0):
        raise ValueError("--logs, --seconds and --dt must be positive")
    if seed < 0:
        raise ValueError(f"--seed must be at least 0, got {seed}")
    effects = hidden_effects(hidden, plant_system)
    if not isinstance(excitation, Path):
        policy, start = excitation_named(excitation, plant_system, amplitude=amplitude, dt=dt)
    assert policy is not None
    plant = envs.make(plant_system, engine=engine, dt=dt, hidden=effects)
    console = Console()
    trajectories = [
        run(plant, policy, steps=max(1, round(seconds / dt)), seed=seed + k, state=start)
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
        lead = must_be_led(plant_system) and start is None
        less = "--dt or --amplitude" if start else "--amplitude"
        remedy = "--excitation motion" if lead else f"lower {less}"
        console.print(
            f"{len(short)} ended early at a limit of the plant (shortest {min(short):.2f} s); "
            f"{remedy} keeps it inside"
        )
    return WORSE if len(short) == logs else OK
