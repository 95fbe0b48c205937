"""A small car on a road of unknown grip, driving an eight."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import casadi as ca
import numpy as np

from hybridmodel import placement
from hybridmodel.baselines import Recipe
from hybridmodel.envs.effects import VehicleEffects
from hybridmodel.excitation import FourierMotion
from hybridmodel.tasks.following import Following, Lemniscate, Motions
from hybridmodel.tasks.task import Task
from physics import DynamicBicycle

_NOISE = (1e-3, 1e-3, 3e-3, 1e-2, 1e-2, 3e-2)
_LONG, _WIDE = 1.0, 0.35  # m, of the eight
_HEADING = math.atan2(2 * _WIDE, _LONG)  # rad, along the eight where it begins
_ALL = VehicleEffects(
    parameters={"mass": 0.049, "inertia": 33e-6},
    tyre_friction=0.8,
    input_gain=0.9,
    dead_zone=0.01,
    observation_noise=_NOISE,
)


class Pursuit:
    """A driver who aims at where a motion of (x, y) will be `ahead` [s] later.

        δ = atan(2 (l_f + l_r) e_y / |e|²),   d = (F_r + k (v − v_x)) / (C_m1 − C_m2 v_x)

    e (2,) the way to that point in the body frame [m], v = |e|/τ and no more than `fastest` [m/s],
    so that the car does not spin; τ `ahead`, k = m/2τ, F_r the resistance
    that the nominal physics knows [N]. Coulter, Implementation of the pure pursuit path tracking
    algorithm, CMU-RI-TR-92-01, 1992.
    """

    def __init__(
        self,
        system: DynamicBicycle,
        motion: FourierMotion,
        *,
        ahead: float = 0.25,
        fastest: float = 1.2,
    ) -> None:
        self.system, self.motion, self.ahead, self.fastest = system, motion, ahead, fastest
        self._low = np.array([s.low for s in system.inputs])
        self._high = np.array([s.high for s in system.inputs])

    def reset(self, seed: int | None = None) -> None:
        """Draw the motion of the next log."""
        self.motion.reset(seed)

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        """u (2,), inside the bounds."""
        car, heading, speed = self.system, y[2], y[3]
        way = self.motion(t + self.ahead).value - y[:2]
        sideways = math.cos(heading) * way[1] - math.sin(heading) * way[0]
        forward = math.cos(heading) * way[0] + math.sin(heading) * way[1]
        square = max(float(way @ way), 1e-4)
        base = float(car.front_length + car.rear_length)
        steering = math.atan(2 * base * sideways / square)
        if forward < 0:  # behind: as sharply as it goes
            steering = math.copysign(math.inf, sideways)
        missing = min(math.sqrt(square) / self.ahead, self.fastest) - speed
        force = float(car.rolling_resistance) + float(car.mass) / (2 * self.ahead) * missing
        duty = force / (float(car.motor_force) - float(car.motor_damping) * speed)
        return np.clip([duty, steering], self._low, self._high)


def place(x: Any) -> Any:
    """Where the car is (3,) [m], on the ground."""
    return ca.vertcat(x[0], x[1], 0)


def task() -> Task:
    """The car on its eight."""
    duty, steering = DynamicBicycle.inputs  # gentle: the wheels do not spin, nor does the car
    system = DynamicBicycle(
        inputs=(replace(duty, low=-0.05, high=0.5), replace(steering, low=-0.25, high=0.25))
    )
    start = (0.0, 0.0, _HEADING, 0.0, 0.0, 0.0)
    return Task(
        name="car",
        title="A small car on a figure eight",
        system=system,
        hidden=_ALL,
        story="a fifth more mass, a road with 80 % of the grip, tyres that hold until they slide, "
        "a motor and a steering with 90 % of what they are told, noisy sensors",
        dt=0.02,
        substeps=20,
        logging=Motions(
            follower=Pursuit,
            logs=10,
            held_out=4,
            steps=250,
            center=(0.0, 0.0),
            reach=(1.0, 1.0),
            period=8.0,
            harmonics=2,
            start=start,
            dither=0.05,
        ),
        recipe=Recipe(
            fit_parameters=("mass", "motor_force", "front_stiffness", "rear_stiffness"),
            features=(  # not where it is: the road is the same everywhere
                "forward_velocity",
                "lateral_velocity",
                "yaw_rate",
                *(s.name for s in system.inputs),
            ),
            placement=placement.acceleration,
            horizons=(1, 5, 20),
            epochs=(40, 20, 8),
            starts=1,
            substeps=2,
        ),
        control=Following(
            follows=place,
            what="centre",
            reference=Lemniscate(
                center=(0.0, 0.0, 0.0),
                long=(_LONG, 0.0, 0.0),
                wide=(0.0, _WIDE, 0.0),
                period=5.5,
                rise=2.0,
            ),
            weight=2000.0,
            state={"lateral_velocity": 0.01, "yaw_rate": 1e-4},
            input={"duty": 0.01, "steering": 0.1},
            at=start,
            holding=(0.0, 0.0),
            horizon=20,
            every=2,
            seconds=6.5,
            settle=2.0,
            tolerance=0.02,
            sqp_tolerance=1e-2,
        ),
        quick_epochs=(10, 5, 2),
        error_stride=4,
        # the engine's wheels do not slip until they slide: tyres that are stiff, and do not fade
        engine_parameters={
            "front_stiffness": 20.0,
            "rear_stiffness": 20.0,
            "front_shape": 1.0,
            "rear_shape": 1.0,
        },
        oracle_substeps=6,
        effects={
            "parameters": VehicleEffects(
                parameters={"mass": 0.052, "inertia": 36e-6}, observation_noise=_NOISE
            ),
            "friction": VehicleEffects(tyre_friction=0.7, observation_noise=_NOISE),
            "actuator": VehicleEffects(input_gain=0.8, dead_zone=0.02, observation_noise=_NOISE),
            "lag": VehicleEffects(input_lag=0.04, input_delay=1, observation_noise=_NOISE),
            "all": _ALL,
        },
    )
