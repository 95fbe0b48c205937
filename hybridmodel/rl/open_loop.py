"""What a plant does under given inputs from a given state.

x₀ placed,   xₖ₊₁ = plant(xₖ, uₖ)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch

from hybridmodel.collection import Environment
from hybridmodel.deviation import deviations
from hybridmodel.model import HybridModel
from hybridmodel.planners import Plan
from physics import System

_SAME = 1e-6  # relative, of steps
_PLACED = 1e-3  # how far a placed state may be from the wanted one, relative to max(1, |x|)


def open_loop(
    environment: Environment,
    system: System,
    x0: np.ndarray,
    u: np.ndarray,
    *,
    seed: int | None = None,
) -> np.ndarray:
    """True states (k+1, n) after placing the plant at x0 (n,) and commanding u (H, nu).

    k is H, and less where the episode ended: its last state is the last row. Placing forgets what
    an actuator still holds, so delays and lags of a plant begin at rest; `at_rest` is the model's
    state of that kind. n counts the continuous states of the system. Raises ValueError where the
    plant tells neither its state nor outputs that are the state, and where `reset` did not put it
    at x0.
    """
    wanted = np.array(x0, dtype=float)
    measured, info = environment.reset(seed=seed, options={"state": wanted.copy()})
    states = [_state(system, measured, info)]
    if not _near(system, states[0], wanted):
        raise ValueError(
            f"environment: {type(environment).__name__} was asked to start at {wanted}, and is at "
            f"{states[0]}; its reset must take options={{'state': x}}"
        )
    for row in np.asarray(u, dtype=float):
        measured, _, terminated, truncated, info = environment.step(row.copy())
        states.append(_state(system, measured, info))
        if terminated or truncated:
            break
    return np.array(states)


def at_rest(model: HybridModel, x0: np.ndarray) -> np.ndarray:
    """The model's states (…, nx) of continuous ones (…, n) where nothing is under way.

    Inputs before were zero, or the bound next to it, as `open_loop` places a plant.
    """
    x, system = torch.as_tensor(np.array(x0), dtype=model.theta.dtype), model.system
    low, high = (x.new_tensor([getattr(s, b) for s in system.inputs]) for b in ("low", "high"))
    past = x.new_zeros(system.nu).clamp(low, high)
    with torch.no_grad():
        rest = model.initial_state(x, past.expand(*x.shape[:-1], system.memory_steps, -1))
    return rest.double().cpu().numpy()


def check_step(plant: Environment, model: HybridModel, name: str = "plant") -> None:
    """ValueError where a plant, the argument of that name, is none of this model's step."""
    dt = getattr(plant, "dt", None)
    if not isinstance(dt, Real) or not math.isfinite(dt):
        raise ValueError(
            f"{name}: {type(plant).__name__} tells no dt in seconds; Gymnasium's environments "
            "with continuous actions become plants by envs.GymnasiumPlant"
        )
    if abs(float(dt) - model.dt) > _SAME * model.dt:
        raise ValueError(
            f"{name}: a step of it lasts {float(dt):g} s, one of the model {model.dt:g} s"
        )


def check_plans(plans: Sequence[tuple[float, Plan]]) -> None:
    """ValueError where plans are not (t, plan), as `RecedingHorizon.plans` holds them."""
    for entry in plans:
        if not (isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], Plan)):
            raise ValueError(f"plans must hold (t, Plan) pairs, got a {type(entry).__name__}")


def _near(system: System, found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether two states are one, up to whole turns and to rounding."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return False
    apart = deviations(system.states, np.stack([wanted, found]))
    off = apart[1] - apart[0]
    if not system.quaternion_rows:
        rows = list(system.angle_rows)
        off[rows] -= 2 * np.pi * np.round(off[rows] / (2 * np.pi))
    return bool((np.abs(off) <= _PLACED * max(1.0, float(np.abs(wanted).max()))).all())


def _state(system: System, measured: object, info: dict) -> np.ndarray:
    if "x" in info:
        return np.array(info["x"], dtype=float)
    if system.outputs != system.states:
        raise ValueError(
            "environment: its info has no 'x', and its outputs are not the states of "
            f"{type(system).__name__}"
        )
    return np.array(measured, dtype=float)
