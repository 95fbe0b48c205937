"""A quadrotor with a payload off its centre, in air that drags, on a fast figure eight."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hybridmodel import placement
from hybridmodel.baselines import Recipe
from hybridmodel.envs.effects import AerialEffects
from hybridmodel.excitation import GeometricFlight
from hybridmodel.tasks.following import Following, Lemniscate, Motions
from hybridmodel.tasks.task import Task
from physics.quadrotor import Quadrotor

_HEIGHT = 1.5  # m, of the place where all flights begin


_NOISE = (2e-3,) * 3 + (3e-3,) * 3 + (1e-2,) * 3 + (5e-3,) * 3
_AIR = AerialEffects(
    payload=0.1,
    payload_at=(0.02, -0.01, -0.05),
    linear_drag=(0.3, 0.2, 0.1),
    quadratic_drag=0.03,
    observation_noise=_NOISE,
)
_EFFECTS = {
    "parameters": AerialEffects(
        payload=0.15, payload_at=(0.03, -0.02, -0.05), observation_noise=_NOISE
    ),
    "friction": AerialEffects(
        linear_drag=(0.5, 0.4, 0.2), quadratic_drag=0.05, observation_noise=_NOISE
    ),
    "actuator": AerialEffects(input_gain=0.75, dead_zone=0.1, observation_noise=_NOISE),
    "lag": AerialEffects(input_lag=0.015, observation_noise=_NOISE),
    "all": replace(_AIR, input_gain=0.92, dead_zone=0.05),
}


def position(x: Any) -> Any:
    """Where the quadrotor is (3,) [m]."""
    return x[:3]


def task() -> Task:
    """The demonstration."""
    free = Quadrotor()
    room = {"x": (-4.0, 4.0), "y": (-4.0, 4.0), "z": (0.0, 4.0)}  # m; a flight out of it ends
    walls = tuple(replace(s, low=room[s.name][0], high=room[s.name][1]) for s in free.states[:3])
    system = Quadrotor(states=(*walls, *free.states[3:]))
    start = (0.0, 0.0, _HEIGHT, *system.neutral[3:])
    return Task(
        name="quadrotor",
        title="Quadrotor on a fast figure eight",
        system=system,
        hidden=_AIR,
        story="100 g (a fifth of its mass) hung 5 cm below and 2 cm beside its centre, drag of "
        "rotors and body, noisy sensors",
        dt=0.02,
        logging=Motions(
            follower=GeometricFlight,
            logs=12,
            held_out=4,
            steps=250,
            center=(0.0, 0.0, _HEIGHT, 0.0),
            reach=(1.8, 1.5, 0.8, 1.0),
            period=6.0,
            harmonics=4,
            start=start,
            dither=0.05,
        ),
        recipe=Recipe(
            fit_parameters=("mass", "drag_x", "drag_y", "drag_z"),
            features=(  # not where it is: air is the same everywhere
                "attitude",
                *(f"velocity_{axis}" for axis in "xyz"),
                *(f"rate_{axis}" for axis in "xyz"),
                *(s.name for s in system.inputs),
            ),
            placement=placement.acceleration,
            horizons=(1, 5, 20, 50),
            epochs=(40, 30, 10, 4),
            stride=1,
            starts=3,
            identify_horizon=20,
        ),
        control=Following(
            follows=position,
            what="position",
            reference=Lemniscate(
                center=(0.0, 0.0, _HEIGHT),
                long=(1.5, 0.0, 0.0),
                wide=(0.0, 0.75, 0.25),
                period=4.0,
            ),
            weight=1000.0,
            state={
                "attitude_z": 1.0,
                "velocity_x": 0.01,
                "velocity_y": 0.01,
                "velocity_z": 0.01,
                "rate_x": 0.02,
                "rate_y": 0.02,
                "rate_z": 0.02,
            },
            input={s.name: 0.02 for s in system.inputs},
            at=start,
            holding=system.hover,
            horizon=20,
            every=2,
            seconds=7.5,
            quick_seconds=5.5,
            tolerance=0.03,
        ),
        quick_epochs=(15, 10, 4, 1),
        error_stride=4,
        true_parameters={"mass": float(system.mass) + 0.1}
        | dict(zip(("drag_x", "drag_y", "drag_z"), (0.3, 0.2, 0.1), strict=True)),
        effects=_EFFECTS,
    )
