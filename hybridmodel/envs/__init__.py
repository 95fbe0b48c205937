"""Plants: a System with what it does not know, behind the Gymnasium API.

    OdePlant     the closed-form truth, integrated finely: any System
    BulletPlant  PyBullet: BulletPendulum, BulletCartPole, BulletDoublePendulum

Names are loaded when they are first used, so that importing this package needs no engine.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import physics

if TYPE_CHECKING:
    import numpy as np

    from hybridmodel.envs.bullet import Body, BulletPlant
    from hybridmodel.envs.bullet_cartpole import BulletCartPole
    from hybridmodel.envs.bullet_double_pendulum import BulletDoublePendulum
    from hybridmodel.envs.bullet_pendulum import BulletPendulum
    from hybridmodel.envs.environment import Environment, Reward
    from hybridmodel.envs.hidden import HiddenEffects
    from hybridmodel.envs.ode import OdePlant
    from hybridmodel.envs.parity import acceleration_gap, random_states, rollout_gap
    from hybridmodel.envs.truth import Disturbed

_MODULES = {
    "Body": "bullet",
    "BulletCartPole": "bullet_cartpole",
    "BulletDoublePendulum": "bullet_double_pendulum",
    "BulletPendulum": "bullet_pendulum",
    "BulletPlant": "bullet",
    "Disturbed": "truth",
    "Environment": "environment",
    "HiddenEffects": "hidden",
    "OdePlant": "ode",
    "acceleration_gap": "parity",
    "random_states": "parity",
    "rollout_gap": "parity",
}
_BULLET = {
    physics.CartPole: "BulletCartPole",
    physics.DoublePendulum: "BulletDoublePendulum",
    physics.Pendulum: "BulletPendulum",
}
__all__ = [
    "Body",
    "BulletCartPole",
    "BulletDoublePendulum",
    "BulletPendulum",
    "BulletPlant",
    "Disturbed",
    "Environment",
    "HiddenEffects",
    "OdePlant",
    "acceleration_gap",
    "make",
    "random_states",
    "rollout_gap",
]


def make(
    system: physics.System,
    *,
    engine: Literal["pybullet", "ode"] = "pybullet",
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
        raise ValueError(f"engine must be 'pybullet' or 'ode', got {engine!r}")
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
        if error.name not in ("pybullet", "gymnasium"):
            raise
        raise ImportError(f"{name} needs {error.name}: pip install hybridmodel[sim]") from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
