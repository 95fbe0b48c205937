"""What a plant does under given inputs from a given state.

x₀ placed,   xₖ₊₁ = plant(xₖ, uₖ)
"""

from __future__ import annotations

import numpy as np

from hybridmodel.collection import Environment
from physics import System


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
    an actuator still holds, so delays and lags of a plant begin at rest. n counts the continuous
    states of the system. Raises ValueError where the plant tells neither its state nor outputs
    that are the state.
    """
    measured, info = environment.reset(seed=seed, options={"state": np.array(x0, dtype=float)})
    states = [_state(system, measured, info)]
    for row in np.asarray(u, dtype=float):
        measured, _, terminated, truncated, info = environment.step(row.copy())
        states.append(_state(system, measured, info))
        if terminated or truncated:
            break
    return np.array(states)


def _state(system: System, measured: object, info: dict) -> np.ndarray:
    if "x" in info:
        return np.array(info["x"], dtype=float)
    if system.outputs != system.states:
        raise ValueError(
            "environment: its info has no 'x', and its outputs are not the states of "
            f"{type(system).__name__}"
        )
    return np.array(measured, dtype=float)
