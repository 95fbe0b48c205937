"""`hybridmodel validate`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from rich.console import Console

from hybridmodel.cli import OK, WORSE


def validate(
    model: Path,
    *,
    logs: int = 5,
    seconds: float = 4.0,
    excitation: Literal["motion", "multisine", "chirp", "steps"] | None = None,
    amplitude: float = 0.5,
    hidden: Path | None = None,
    engine: Literal["pybullet", "mujoco", "ode"] = "pybullet",
    horizon: int = 50,
    at_most: float | None = None,
    seed: int = 0,
    system: str | None = None,
    residual: str | None = None,
) -> int:
    """Check a model against a fresh run of an engine, and its torch form against its CasADi form.

    Exits with 1 where the two forms differ, or the error is larger than asked.

    Parameters
    ----------
    model
        A .safetensors model.
    logs
        How many fresh logs.
    seconds
        Length of each [s].
    excitation
        What commands the plant. motion: a controller on the nominal physics leads it through a
        random motion inside its limits; default for robots on a fixed base and quadrotors, for
        others multisine.
    amplitude
        Share of the input bounds; of a motion, share of half the range of each joint up to 1 rad
        or 1 m, of a quadrotor 2 m to each side, 1 m up and down and 1 rad of yaw.
    hidden
        JSON file with the plant's hidden effects (the fields of HiddenEffects; of a robot
        RobotEffects, of a quadrotor AerialEffects, of a car VehicleEffects).
    engine
        The plant's simulator, built from the model's own parameters.
    horizon
        Longest free run [steps].
    at_most
        Exit with 1 where the scaled error at the horizon is larger.
    seed
        Of the excitation.
    system
        The nominal system the plant is built from, a name, a robot's .urdf or .xml file, or
        MODULE:CLASS; default: the model's.
    residual
        MODULE:FACTORY, where the model's residual is a torch.nn.Module of your own.
    """
    from hybridmodel import Dataset, check_agreement, envs
    from hybridmodel import evaluate as evaluate_model
    from hybridmodel.cli.choices import (
        excitation_named,
        hidden_effects,
        load_model,
        system_named,
    )
    from hybridmodel.collection import collect as run
    from physics import tangent

    if seed < 0:
        raise ValueError(f"--seed must be at least 0, got {seed}")
    given = None if system is None else system_named(system)
    own = system if system is not None and ":" in system else None
    loaded = load_model(model, own, residual)
    if hidden is not None and given is None and loaded.fit_parameters:
        raise ValueError(
            "--hidden needs --system: this model's parameters were fitted, and a plant made of "
            "them would have the hidden effects twice"
        )
    agreement = check_agreement(loaded)
    console = Console()
    console.print(str(agreement))
    plant_system = loaded.system if given is None else given
    effects = hidden_effects(hidden, plant_system)
    policy, start = excitation_named(excitation, plant_system, amplitude=amplitude, dt=loaded.dt)
    plant = envs.make(plant_system, engine=engine, dt=loaded.dt, hidden=effects)
    steps = max(horizon + plant_system.memory_steps, round(seconds / loaded.dt))
    trajectories = [
        run(plant, policy, steps=steps, seed=seed + k, state=start) for k in range(logs)
    ]
    plant.close()
    long_enough = [t for t in trajectories if t.steps >= horizon]
    if not long_enough:
        raise ValueError(f"no log reached --horizon {horizon} steps; lower --amplitude")
    found = evaluate_model(loaded, Dataset(long_enough), horizon=horizon)
    shown = plant_system.states if found.against == "x" else plant_system.outputs
    console.print(
        f"free run of {horizon} steps against {engine}: scaled RMSE {found.at(horizon):.4g}, "
        + ", ".join(
            f"{name} {value:.3g} {signal.unit}"
            for name, value, signal in zip(
                found.names, found.rmse[-1], tangent.signals(shown), strict=True
            )
        )
    )
    error = found.at(horizon)
    worse = not math.isfinite(error) or (at_most is not None and error > at_most)
    return WORSE if worse or not agreement.holds else OK
