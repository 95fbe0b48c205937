"""The only loop that touches a plant.

    u_k = π(t_k, y_k),    y_{k+1} = plant(u_k)    →    Trajectory

Identification, validation and control differ in the policy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hybridmodel.data.trajectory import Array, Trajectory


class Policy(Protocol):
    """What commands the plant: an excitation, a controller, a person."""

    def reset(self, seed: int | None) -> None:
        """Forget the past; all randomness of the coming log follows from the seed."""
        ...

    def __call__(self, t: float, y: Array) -> Array:
        """u (nu,) to be held from time t [s], where y (ny,) was measured."""
        ...


class Environment(Protocol):
    """A plant with the Gymnasium interface and a fixed control step.

    `info` may hold "x" (nx,), the true state, and "d" (nd,), the exogenous signals that acted
    during the step; `reset` takes the initial state as `options={"state": x0}`.
    """

    @property
    def dt(self) -> float:
        """Control step [s]."""
        ...

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]: ...

    def step(self, action: Array, /) -> tuple[NDArray[Any], Any, bool, bool, dict[str, Any]]: ...


def collect(
    environment: Environment,
    policy: Policy,
    *,
    steps: int,
    seed: int | None = None,
    state: ArrayLike | None = None,
    progress: Callable[[int, int], None] | None = None,
    context: Mapping[str, float] | None = None,
) -> Trajectory:
    """Run `policy` on `environment` for `steps` steps, fewer where the episode ends before.

    `seed` goes to both; `state` (nx,) starts the plant there. `progress(done, steps)` is called
    after every step. The log holds the commanded u, and the true state where the plant tells it.

    Raises ValueError for commands that are not finite, before the plant sees them, and for
    measurements that are not.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    dt = environment.dt
    options = None if state is None else {"state": np.array(state, dtype=np.float64)}
    measured, info = environment.reset(seed=seed, options=options)
    policy.reset(seed)
    y, u = [_row("y", measured, 0, "the environment measured")], []
    x, d = _told("x", info), []
    for k in range(steps):
        u.append(_row("u", policy(k * dt, y[-1].copy()), k, "the policy commanded"))
        measured, _, terminated, truncated, info = environment.step(u[-1].copy())
        y.append(_row("y", measured, k + 1, "the environment measured"))
        x += _told("x", info)
        d += _told("d", info)
        if progress is not None:
            progress(k + 1, steps)
        if terminated or truncated:
            break
    return Trajectory(
        t=dt * np.arange(len(y), dtype=np.float64),
        u=np.array(u),
        y=np.array(y),
        d=np.array(d) if d else np.empty((len(u), 0)),
        x=np.array(x) if x else None,
        context=context or {},
    )


def _row(name: str, value: ArrayLike, k: int, who: str) -> Array:
    """An own float64 copy (n,), since a plant may reuse its buffers."""
    row = np.array(value, dtype=np.float64)
    if row.ndim != 1 or not np.isfinite(row).all():
        raise ValueError(f"{who} {name}[{k}] = {value}, wanted a vector of finite numbers")
    return row


def _told(name: str, info: Mapping[str, Any]) -> list[Array]:
    """What the plant says about itself, if it does."""
    return [np.array(info[name], dtype=np.float64)] if name in info else []
