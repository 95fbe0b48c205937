"""Any robot arm with a motor in each joint, drawing a figure eight with its last link.

What a study hides from its model is scaled to the arm: τᵢ is the root mean square of the torque
that a lively motion takes in joint i, m the mass of all that moves.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel import placement
from hybridmodel.baselines import Recipe
from hybridmodel.envs.effects import RobotEffects
from hybridmodel.tasks.following import Following, Lemniscate, Motions
from hybridmodel.tasks.kuka import FramePosition, led
from hybridmodel.tasks.task import Task
from physics import RigidBody

_PERIOD, _HARMONICS, _REACH = 6.0, 4, 0.5  # of the motions that logs are led through; rad, m
_ACCELERATION = 5.0  # rad/s², m/s², of a lively motion
_PAYLOAD, _COULOMB, _VISCOUS, _GAIN, _DEAD, _LAG = 0.1, 0.15, 0.05, 0.85, 0.05, 0.02


def robot_task(
    name: str,
    file: str | Path,
    *,
    dt: float = 0.01,
    link: str = "",
    payload: float | None = None,
) -> Task:
    """The task of a robot's file, .urdf or .xml, with the five effects of studies.

    dt       control step [s]
    link     whose frame draws; default the last of the file
    payload  mass that is hidden there [kg]; default a tenth of what moves

    Friction is 0.15 τᵢ dry and 0.05 τᵢ s/rad viscous, the motors give 85 % and swallow 0.05 of the
    smallest τᵢ, the lag is 20 ms and a step of delay. The eight is a tenth of the arm's length, in
    the two directions in which it moves the tip most easily.
    Raises ValueError where the robot floats or has a joint without a motor, or has no such link.
    """
    if not 0 < dt < math.inf:
        raise ValueError(f"dt must be a number of seconds > 0, got {dt}")
    build = RigidBody.from_urdf if Path(file).suffix.lower() == ".urdf" else RigidBody.from_mjcf
    robot = build(file)
    n = robot.nq
    if robot.floating or not robot.nq == robot.nv == robot.nu:
        raise ValueError(
            f"{file}: studies are of arms on a fixed base with a motor in each joint, got "
            f"{robot.nu} motors for {robot.nv} joints"
        )
    tip = link or robot.description.links[-1].name
    robot.description.link(tip)
    home, reach = _inside(robot)
    place = FramePosition(robot, tip)
    typical = _torques(robot, home, reach)
    mass = payload if payload is not None else _PAYLOAD * _moving(robot)
    noise = (5e-5,) * n + (1e-3,) * n
    load: dict[str, Any] = {"payload": mass, "payload_link": tip}
    friction: dict[str, Any] = {
        "coulomb": tuple((_COULOMB * typical).tolist()),
        "viscous": tuple((_VISCOUS * typical).tolist()),
    }
    motor: dict[str, Any] = {"input_gain": _GAIN, "dead_zone": float(_DEAD * typical.min())}
    hidden = RobotEffects(**load, **friction, **motor, observation_noise=noise)
    rest = (*home.tolist(), *(n * (0.0,)))
    names = [s.name for s in robot.states]
    return Task(
        name=name,
        title=f"{robot.description.name or name}, drawing a figure eight",
        system=robot,
        hidden=hidden,
        story=f"{mass:.2g} kg at {tip}, dry and viscous friction, weak motors, noisy sensors",
        dt=dt,
        logging=Motions(
            follower=led,
            logs=12,
            held_out=4,
            steps=round(5.0 / dt),
            center=tuple(home.tolist()),
            reach=tuple(reach.tolist()),
            period=_PERIOD,
            harmonics=_HARMONICS,
            start=rest,
        ),
        recipe=Recipe(
            fit_parameters=tuple(f"{joint}.damping" for joint in names[:n]),
            placement=placement.input,
            horizons=(1, 5, 20),
            epochs=(30, 8, 3),
            stride=3,
            starts=1,
            sweep=(1e-2,),
        ),
        control=Following(
            follows=place,
            what=tip,
            reference=_eight(robot, place, rest),
            weight=1e4,
            state=dict.fromkeys(names[:n], 0.2) | dict.fromkeys(names[n:], 0.02),
            input={s.name: 0.1 / (10 * t) ** 2 for s, t in zip(robot.inputs, typical, strict=True)},
            target=dict(zip(names[:n], home.tolist(), strict=True)),
            at=rest,
            holding=tuple(robot.bias_function()(home, np.zeros(n)).full().ravel().tolist()),
            horizon=15,
            every=3,
            seconds=4.5,
            quick_seconds=3.0,
            tolerance=0.01,
        ),
        quick_epochs=(10, 3, 1),
        error_stride=10,
        effects={
            "parameters": RobotEffects(**load, observation_noise=noise),
            "friction": RobotEffects(**friction, observation_noise=noise),
            "actuator": RobotEffects(**motor, observation_noise=noise),
            "lag": RobotEffects(input_lag=_LAG, input_delay=1, observation_noise=noise),
            "all": hidden,
        },
    )


def _inside(robot: RigidBody) -> tuple[np.ndarray, np.ndarray]:
    """A bent pose well inside the joints' limits, and how far the logs may go from it."""
    low, high = (
        np.array([getattr(s, end) for s in robot.states[: robot.nq]]) for end in ("low", "high")
    )
    low, high = np.maximum(low, -math.pi), np.minimum(high, math.pi)
    reach = np.minimum(_REACH, (high - low) / 4)
    bend = np.where(np.arange(robot.nq) % 2, 1.0, -1.0) * np.minimum(0.6, (high - low) / 5)
    rates = np.array([min(-s.low, s.high) for s in robot.states[robot.nq :]])
    fastest = 2 * math.pi * _HARMONICS / _PERIOD
    return (low + high) / 2 + bend, np.minimum(reach, 0.8 * rates / fastest)


def _torques(robot: RigidBody, home: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """τ (n,) of poses about home at lively accelerations [N·m, N]."""
    generator, inverse = np.random.default_rng(0), robot.inverse_dynamics()
    draws = generator.uniform(-1, 1, (64, 3, robot.nq))
    torques = [
        np.array(inverse(home + reach * q, reach * v, _ACCELERATION * a)).ravel()
        for q, v, a in draws
    ]
    return np.sqrt(np.mean(np.square(torques), axis=0))


def _moving(robot: RigidBody) -> float:
    """Mass of all links but the base [kg]."""
    links = robot.description.links
    return float(sum(link.mass for link in links if link.name != robot.description.root))


def _eight(robot: RigidBody, place: FramePosition, rest: tuple[float, ...]) -> Lemniscate:
    """About where the tip is at rest, along the largest two directions of its Jacobian."""
    home = np.array(rest[: robot.nq])
    J = np.array(robot.frame_jacobian(place.link)(home))[:3]
    directions, sizes, _ = np.linalg.svd(J)
    tip = np.array(place(np.array(rest)), dtype=float).ravel()
    length = 0.1 * float(sizes[0])  # a joint's motion moves the tip by the lever that it has
    second = 0.5 * length if len(sizes) > 1 and sizes[1] > 0.05 * sizes[0] else 0.0
    return Lemniscate(
        center=tuple(tip.tolist()),
        long=tuple((length * directions[:, 0]).tolist()),
        wide=tuple((second * directions[:, 1]).tolist()),
        period=3.0,
    )
