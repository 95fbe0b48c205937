"""A cart-pole with dry friction and a weak motor, swung up."""

from __future__ import annotations

import math

from hybridmodel import placement
from hybridmodel.baselines import Recipe
from hybridmodel.envs import HiddenEffects
from hybridmodel.tasks.swing_up import Attempts, SwingUp
from hybridmodel.tasks.task import Task
from physics import CartPole

_NOISE = (1e-3, 2e-3, 5e-3, 1e-2)
_ALL = HiddenEffects(
    parameters={"pole_mass": 0.3},
    coulomb=(1.0, 0.02),
    ripple=0.5,
    ripple_waves=3.0,
    input_gain=0.8,
    dead_zone=0.4,
    observation_noise=_NOISE,
)

CARTPOLE = Task(
    name="cartpole",
    title="Cart-pole swing-up",
    system=CartPole(),
    hidden=_ALL,
    story="a pole half as heavy again, a motor with 80 % of its force and a dead zone, dry "
    "friction in rail and pivot that varies with position, noisy sensors",
    dt=0.04,
    logging=Attempts(
        excited=12,
        attempts=8,
        held_out=8,
        steps=75,
        amplitude=0.9,
        band=(0.2, 2.5),
        start=(0.4, 1.5, 0.0, 3.0),
        gains=((12.0, 0.0, 4.0, 0.0),),
    ),
    recipe=Recipe(
        fit_parameters=(
            "pole_mass",
            "pole_length",
            "cart_damping",
            "pole_damping",
            "motor_gain",
        ),
        placement=placement.input,
    ),
    control=SwingUp(
        state={"position": 0.5, "angle": 2.0, "velocity": 0.05, "rate": 0.05},
        input={"force": 0.005},
        terminal={"position": 5.0, "angle": 20.0, "velocity": 1.0, "rate": 1.0},
        target={"angle": math.pi},
        state_bounds=((-2.0, -math.inf, -math.inf, -math.inf), (2.0, math.inf, math.inf, math.inf)),
        horizon=40,
    ),
    effects={
        "parameters": HiddenEffects(
            parameters={"pole_mass": 0.4, "cart_mass": 1.2, "pole_inertia": 0.012},
            observation_noise=_NOISE,
        ),
        "friction": HiddenEffects(
            coulomb=(1.5, 0.03),
            ripple=0.5,
            ripple_waves=3.0,
            viscous=(0.5, 0.005),
            observation_noise=_NOISE,
        ),
        "actuator": HiddenEffects(input_gain=0.7, dead_zone=0.8, observation_noise=_NOISE),
        "lag": HiddenEffects(input_lag=0.05, input_delay=1, observation_noise=_NOISE),
        "all": _ALL,
    },
)
