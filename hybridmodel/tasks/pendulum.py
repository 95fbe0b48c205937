"""A pendulum whose motor cannot lift it at once, swung up."""

from __future__ import annotations

import math

from hybridmodel import placement
from hybridmodel.baselines import Recipe
from hybridmodel.envs import HiddenEffects
from hybridmodel.tasks.swing_up import Attempts, SwingUp
from hybridmodel.tasks.task import Task
from physics import Pendulum, Signal

_NOISE = (2e-3, 1e-2)
_ALL = HiddenEffects(
    parameters={"mass": 1.15},
    coulomb=(0.25,),
    ripple=0.6,
    ripple_waves=2.0,
    input_gain=0.85,
    dead_zone=0.25,
    observation_noise=_NOISE,
)

PENDULUM = Task(
    name="pendulum",
    title="Pendulum swing-up with a weak motor",
    system=Pendulum(inputs=(Signal("torque", "N·m", -3.0, 3.0),)),
    hidden=_ALL,
    story="15 % more mass, a motor with 85 % of its torque and a dead zone, dry friction that "
    "varies with the angle, noisy sensors",
    dt=0.04,
    logging=Attempts(
        excited=12,
        attempts=8,
        held_out=8,
        steps=75,
        amplitude=1.0,
        band=(0.2, 2.0),
        start=(1.5, 4.0),
    ),
    recipe=Recipe(
        fit_parameters=("mass", "length", "damping", "motor_gain"), placement=placement.input
    ),
    control=SwingUp(
        state={"angle": 2.0, "rate": 0.05},
        input={"torque": 0.05},
        terminal={"angle": 20.0, "rate": 1.0},
        target={"angle": math.pi},
        state_bounds=((-math.inf, -math.inf), (math.inf, math.inf)),
        horizon=60,
    ),
    effects={
        "parameters": HiddenEffects(
            parameters={"mass": 1.3, "inertia": 0.04}, observation_noise=_NOISE
        ),
        "friction": HiddenEffects(
            coulomb=(0.5,),
            ripple=0.6,
            ripple_waves=2.0,
            viscous=(0.05,),
            observation_noise=_NOISE,
        ),
        "actuator": HiddenEffects(input_gain=0.75, dead_zone=0.4, observation_noise=_NOISE),
        "lag": HiddenEffects(input_lag=0.1, input_delay=1, observation_noise=_NOISE),
        "all": _ALL,
    },
)
