"""Plants: a System with what it does not know, behind the Gymnasium API.

    OdePlant        the closed-form truth, integrated finely: any System
    BulletPlant     PyBullet: BulletPendulum, BulletCartPole, BulletDoublePendulum, BulletRobot,
                    BulletQuadrotor; BulletCar beside them
    GymnasiumPlant  any Gymnasium environment whose state is known
    MujocoPlant     MuJoCo: pendulum, cart-pole, double pendulum and robots
    Pixels          a PyBullet plant seen through its camera
    Corrected       a plant in whose engine the residual of a fitted model acts
    Randomized      parameters and hidden effects drawn from `Interval`s, one draw a plant
    HiddenEffects   what the physics does not know; RobotEffects, AerialEffects, VehicleEffects
    BulletSettings  what the engine is told

Names are loaded when they are first used, so that importing this package needs no engine.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import physics

if TYPE_CHECKING:
    import numpy as np

    from hybridmodel.envs.bullet.car import BulletCar
    from hybridmodel.envs.bullet.cartpole import BulletCartPole
    from hybridmodel.envs.bullet.double_pendulum import BulletDoublePendulum
    from hybridmodel.envs.bullet.pendulum import BulletPendulum
    from hybridmodel.envs.bullet.plant import Body, BulletPlant
    from hybridmodel.envs.bullet.quadrotor import BulletQuadrotor
    from hybridmodel.envs.bullet.robot import BulletRobot
    from hybridmodel.envs.bullet.settings import BulletSettings
    from hybridmodel.envs.corrected import Corrected
    from hybridmodel.envs.effects import AerialEffects, RobotEffects, VehicleEffects
    from hybridmodel.envs.environment import Environment, Reward
    from hybridmodel.envs.gymnasium_plant import GymnasiumPlant
    from hybridmodel.envs.hidden import HiddenEffects
    from hybridmodel.envs.mujoco.plant import MujocoPlant
    from hybridmodel.envs.mujoco.settings import MujocoSettings
    from hybridmodel.envs.ode import OdePlant
    from hybridmodel.envs.parity import (
        ParityReport,
        acceleration_gap,
        check_parity,
        random_states,
        rollout_gap,
    )
    from hybridmodel.envs.pixels import Pixels
    from hybridmodel.envs.randomized import Interval, Randomized
    from hybridmodel.envs.truth import Disturbed

_MODULES = {
    "AerialEffects": "effects",
    "Body": "bullet.plant",
    "BulletCar": "bullet.car",
    "BulletCartPole": "bullet.cartpole",
    "BulletDoublePendulum": "bullet.double_pendulum",
    "BulletPendulum": "bullet.pendulum",
    "BulletPlant": "bullet.plant",
    "BulletQuadrotor": "bullet.quadrotor",
    "BulletRobot": "bullet.robot",
    "BulletSettings": "bullet.settings",
    "Corrected": "corrected",
    "Disturbed": "truth",
    "Environment": "environment",
    "GymnasiumPlant": "gymnasium_plant",
    "HiddenEffects": "hidden",
    "Interval": "randomized",
    "MujocoPlant": "mujoco.plant",
    "MujocoSettings": "mujoco.settings",
    "OdePlant": "ode",
    "ParityReport": "parity",
    "Pixels": "pixels",
    "Randomized": "randomized",
    "RobotEffects": "effects",
    "VehicleEffects": "effects",
    "acceleration_gap": "parity",
    "check_parity": "parity",
    "random_states": "parity",
    "rollout_gap": "parity",
}
_BULLET = {
    physics.CartPole: "BulletCartPole",
    physics.DoublePendulum: "BulletDoublePendulum",
    physics.DynamicBicycle: "BulletCar",
    physics.Pendulum: "BulletPendulum",
    physics.Quadrotor: "BulletQuadrotor",
    physics.RigidBody: "BulletRobot",
}
_EXTRAS = {"gymnasium": "sim", "mujoco": "mujoco", "pybullet": "sim"}
__all__ = [
    "AerialEffects",
    "Body",
    "BulletCar",
    "BulletCartPole",
    "BulletDoublePendulum",
    "BulletPendulum",
    "BulletPlant",
    "BulletQuadrotor",
    "BulletRobot",
    "BulletSettings",
    "Corrected",
    "Disturbed",
    "Environment",
    "GymnasiumPlant",
    "HiddenEffects",
    "Interval",
    "MujocoPlant",
    "MujocoSettings",
    "OdePlant",
    "ParityReport",
    "Pixels",
    "Randomized",
    "RobotEffects",
    "VehicleEffects",
    "acceleration_gap",
    "check_parity",
    "make",
    "random_states",
    "rollout_gap",
]


def make(
    system: physics.System,
    *,
    engine: Literal["pybullet", "mujoco", "ode"] = "pybullet",
    dt: float,
    substeps: int | None = None,
    hidden: HiddenEffects | None = None,
    reward: Reward | None = None,
    initial_state: Sequence[float] | np.ndarray | None = None,
    episode_steps: int | None = None,
    render_mode: str | None = None,
) -> Environment:
    """The plant of a system; the arguments are those of `Environment`.

    Raises ValueError where the engine does not build systems of this type.
    """
    if engine == "ode":
        plant = __getattr__("OdePlant")
    elif engine == "mujoco":
        plant = __getattr__("MujocoPlant")
    elif engine == "pybullet":
        name = _BULLET.get(type(system))
        if name is None:
            known = sorted(kind.__name__ for kind in _BULLET)
            raise ValueError(
                f"system: PyBullet plants are there for {known}, got {type(system).__name__}; "
                "engine='ode' takes any System"
            )
        plant = __getattr__(name)
    else:
        raise ValueError(f"engine must be 'pybullet', 'mujoco' or 'ode', got {engine!r}")
    return plant(
        system,
        dt=dt,
        substeps=substeps,
        hidden=hidden,
        reward=reward,
        initial_state=initial_state,
        episode_steps=episode_steps,
        render_mode=render_mode,
    )


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        if extra is None:
            raise
        hint = f"{name} needs {error.name}: pip install hybridmodel[{extra}]"
        raise ImportError(hint) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
