"""A double pendulum with motors in both joints, swung up."""

from __future__ import annotations

import math
from dataclasses import replace

from hybridmodel import placement
from hybridmodel.baselines import Recipe
from hybridmodel.envs import HiddenEffects
from hybridmodel.tasks.swing_up import Attempts, SwingUp
from hybridmodel.tasks.task import Task
from physics import DoublePendulum
from physics.double_pendulum import ELBOW, SHOULDER

_NOISE = (1e-3, 1e-3, 1e-2, 1e-2)
_ALL = HiddenEffects(
    parameters={"mass2": 0.7},
    coulomb=(0.08, 0.05),
    ripple=0.5,
    ripple_waves=2.0,
    input_gain=0.85,
    dead_zone=0.05,
    observation_noise=_NOISE,
)

DOUBLE_PENDULUM = Task(
    name="double-pendulum",
    title="Double pendulum swing-up",
    system=DoublePendulum(
        inputs=(replace(SHOULDER, low=-6.0, high=6.0), replace(ELBOW, low=-4.0, high=4.0))
    ),
    hidden=_ALL,
    story="100 g at the second link, motors with 85 % of their torque and a dead zone, dry "
    "friction in both joints that varies with the angle, noisy sensors",
    dt=0.02,
    logging=Attempts(
        excited=12,
        attempts=8,
        held_out=8,
        steps=150,
        amplitude=0.5,
        band=(0.2, 2.5),
        start=(1.0, 1.0, 2.0, 2.0),
        gains=((3.0, 0.0, 0.5, 0.0), (0.0, 2.0, 0.0, 0.3)),
    ),
    recipe=Recipe(
        fit_parameters=("mass2", "center2", "damping1", "damping2", "motor_gain"),
        placement=placement.input,
        horizons=(1, 8, 30),
        epochs=(15, 25, 40),
        stride=2,
    ),
    control=SwingUp(
        state={"shoulder": 2.0, "elbow": 1.0, "shoulder_rate": 0.02, "elbow_rate": 0.02},
        input={"shoulder_torque": 0.01, "elbow_torque": 0.01},
        terminal={"shoulder": 20.0, "elbow": 10.0, "shoulder_rate": 1.0, "elbow_rate": 1.0},
        target={"shoulder": math.pi},
        state_bounds=((-math.inf,) * 4, (math.inf,) * 4),
        horizon=40,
        every=3,
        seconds=4.0,
        samples=500,
        elites=40,
        iterations=6,
        knots=6,
    ),
    effects={
        "parameters": HiddenEffects(
            parameters={"mass2": 0.9, "inertia2": 0.02}, observation_noise=_NOISE
        ),
        "friction": HiddenEffects(
            coulomb=(0.4, 0.2),
            ripple=0.5,
            ripple_waves=2.0,
            viscous=(0.05, 0.03),
            observation_noise=_NOISE,
        ),
        "actuator": HiddenEffects(input_gain=0.7, dead_zone=0.2, observation_noise=_NOISE),
        "lag": HiddenEffects(input_lag=0.04, input_delay=1, observation_noise=_NOISE),
        "all": _ALL,
    },
)
