"""A KUKA iiwa that carries an unknown weight, with friction in its joints, drawing an eight."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel import placement
from hybridmodel.baselines import Recipe
from hybridmodel.envs.effects import RobotEffects
from hybridmodel.excitation import ComputedTorque, FourierMotion
from hybridmodel.tasks.following import Following, Lemniscate, Motions
from hybridmodel.tasks.task import Task
from physics import RigidBody

_HOME = (0.0, 0.6, 0.0, -1.3, 0.0, 0.9, 0.0)  # rad; the elbow bent, the flange before the robot
_TORQUES = (176.0, 176.0, 110.0, 110.0, 20.0, 10.0, 1.0)  # N·m; the file: 300. The wrist is light
_DAMPING = (0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.01)  # N·m·s/rad, a guess
_VISCOUS = (1.0, 1.0, 0.8, 0.8, 0.2, 0.1, 0.02)  # N·m·s/rad, beyond that
FLANGE = "lbr_iiwa_link_7"
_COULOMB = (3.0, 3.0, 2.0, 2.0, 0.6, 0.4, 0.08)  # N·m
_NOISE = (5e-5,) * 7 + (1e-3,) * 7
_LOAD = RobotEffects(
    payload=2.0,
    payload_at=(0.0, 0.0, 0.06),
    payload_link=FLANGE,
    coulomb=_COULOMB,
    viscous=_VISCOUS,
    observation_noise=_NOISE,
)
_EFFECTS = {
    "parameters": RobotEffects(
        payload=3.0, payload_at=(0.03, 0.0, 0.08), payload_link=FLANGE, observation_noise=_NOISE
    ),
    "friction": RobotEffects(
        coulomb=_COULOMB,
        ripple=0.4,
        ripple_waves=6.0,
        viscous=_VISCOUS,
        observation_noise=_NOISE,
    ),
    # no dead zone: it would be one number for motors of 1 N·m and of 176
    "actuator": RobotEffects(input_gain=0.8, observation_noise=_NOISE),
    "lag": RobotEffects(input_lag=0.02, input_delay=1, observation_noise=_NOISE),
    "all": replace(_LOAD, input_gain=0.92),
}


@dataclass(frozen=True)
class FramePosition:
    """x ↦ the place of a link's frame (3,) [m], in CasADi and for numbers alike."""

    robot: RigidBody
    link: str

    def __call__(self, x: Any) -> Any:
        return self._kinematics(x[: self.robot.nq])[0]

    @cached_property
    def _kinematics(self) -> Any:
        return self.robot.forward_kinematics(self.link)


def iiwa() -> RigidBody:
    """The arm of pybullet_data's URDF file with smaller torques and next to no friction.

    The file's 0.5 N·m·s/rad in every joint would brake the last one within 2 ms.

    Raises ImportError without pybullet_data.
    """
    found = importlib.util.find_spec("pybullet_data")
    if found is None or found.origin is None:
        raise ImportError("the arm's file comes with pybullet: pip install hybridmodel[sim]")
    arm = RigidBody.from_urdf(Path(found.origin).parent / "kuka_iiwa" / "model.urdf")
    for joint, damping in zip(arm.joints, _DAMPING, strict=True):
        arm = arm.with_joint(joint.name, damping=damping)
    motors = zip(arm.inputs, _TORQUES, strict=True)
    return replace(arm, inputs=tuple(replace(s, low=-tau, high=tau) for s, tau in motors))


def led(system: RigidBody, motion: FourierMotion) -> ComputedTorque:
    """What leads the arm through its logs."""
    return ComputedTorque(system, motion, bandwidth=20.0)


def task() -> Task:
    """The demonstration. Raises ImportError without pybullet_data."""
    arm = iiwa()
    rest = (*_HOME, *(7 * (0.0,)))
    holding = arm.bias_function()(_HOME, np.zeros(7)).full().ravel().tolist()
    place = FramePosition(arm, FLANGE)
    joints, rates = arm.states[:7], arm.states[7:]
    return Task(
        name="kuka",
        title="KUKA iiwa with an unknown load, drawing a figure eight",
        system=arm,
        hidden=_LOAD,
        story="2 kg at the flange, dry and viscous friction in all seven joints, noisy sensors",
        dt=0.01,
        logging=Motions(
            follower=led,
            logs=12,
            held_out=4,
            steps=500,
            center=_HOME,
            reach=(0.8, 0.5, 0.8, 0.5, 1.0, 0.7, 1.0),
            period=6.0,
            harmonics=4,
            start=rest,
            quick_logs=4,
        ),
        recipe=Recipe(
            fit_parameters=(f"{FLANGE}.mass", *(f"{s.name}.damping" for s in joints)),
            placement=placement.input,
            hidden=(32, 32),
            horizons=(1, 5, 20),
            epochs=(50, 12, 4),
            stride=3,
            starts=1,
            sweep=(1e-2,),
        ),
        control=Following(
            follows=place,
            what="flange",
            reference=Lemniscate(
                center=tuple(np.array(place(np.array(rest))).ravel().tolist()),
                long=(0.0, 0.2, 0.0),
                wide=(0.0, 0.0, 0.1),
                period=3.0,
            ),
            weight=1e4,
            state={s.name: 0.2 for s in joints} | {s.name: 0.02 for s in rates},
            input={s.name: 0.1 / s.high**2 for s in arm.inputs},
            target=dict(zip((s.name for s in joints), _HOME, strict=True)),
            at=rest,
            holding=tuple(holding),
            horizon=15,
            every=3,
            seconds=4.5,
            quick_seconds=3.0,
            tolerance=0.01,
        ),
        quick_epochs=(15, 5, 2),
        error_stride=10,
        true_parameters={
            f"{s.name}.damping": known + hidden
            for s, known, hidden in zip(joints, _DAMPING, _VISCOUS, strict=True)
        },
        effects=_EFFECTS,
        oracle_substeps=2,
    )
