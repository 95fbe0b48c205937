"""Any Gymnasium environment whose state is known, as the plant of a System."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from physics import System

State = Callable[[Any], np.ndarray] | Sequence[int] | None
_SLACK = 1e-9  # how far a command may exceed its bounds by rounding, relative to the bound


class GymnasiumPlant(gymnasium.Env[np.ndarray, np.ndarray]):
    """An environment of somebody else's in the coordinates and units of a System.

        yₖ = xₖ = state(observationₖ),    actionₖ = action(uₖ)

    env     it is stepped as it is, wrappers, rewards and ends of episodes included; `close` closes
            it too
    system  whose states and inputs these are
    dt      seconds of one step; default: what the environment itself says (`dt` or `tau`)
    state   observation ↦ x (nx,), which may as well read `env.unwrapped`; or the rows of the
            observation that are x; None where it is x
    action  u (nu,) ↦ action; None maps bounds on bounds, row by row: identity where these are
            the same, and the scaling of normalised actions elsewhere
    place   x ↦ None, puts `env.unwrapped` there; without it the environment alone knows where an
            episode starts

    Angles go on from step to step without a jump, quaternions stay on their side. Spaces, rewards
    and pictures are the environment's, actions and observations the System's, `info["x"]` is x.
    Raises ValueError naming the argument: for a space of actions that is no Box, a System that
    has memory or other outputs than its states, shapes that do not fit, and in `reset` for a
    state where there is no `place`.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        system: System,
        *,
        dt: float | None = None,
        state: State = None,
        action: Callable[[np.ndarray], Any] | None = None,
        place: Callable[[np.ndarray], None] | None = None,
    ) -> None:
        if not isinstance(env, gymnasium.Env):
            raise ValueError(f"env must be a gymnasium.Env, got {type(env).__name__}")
        self.env, self.system = env, system
        self.name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
        self._space = _box(self.name, env.action_space)
        kind = type(system).__name__
        if system.memory or system.exogenous or system.outputs != system.states:
            raise ValueError(
                f"system: {kind} must measure its states, without memory or exogenous signals"
            )
        self.dt = _step(env, dt, system)
        self._state, self._place = state, place
        self._low, self._high = np.array([(s.low, s.high) for s in system.inputs]).reshape(-1, 2).T
        self._action = self._scaled() if action is None else action
        self.action_space = gymnasium.spaces.Box(self._low, self._high, dtype=np.float64)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (len(system.states),), dtype=np.float64
        )
        self.metadata, self.render_mode = env.metadata, env.render_mode
        self._x: np.ndarray | None = None

    @property
    def state(self) -> np.ndarray:
        """x (nx,). Raises RuntimeError before the first `reset`."""
        if self._x is None:
            raise RuntimeError("there is no state yet: call reset() first")
        return self._x.copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode, at options["state"] where that is given; x (nx,) and {…, "x": x}.

        What else `options` hold goes to the environment.
        """
        super().reset(seed=seed)
        own = dict(options or {})
        wanted = own.pop("state", None)
        if wanted is not None and self._place is None:
            raise ValueError(
                f"state: {self.name} chooses its own start; give place=, which puts it into a state"
            )
        observation, info = self.env.reset(seed=seed, options=own or None)
        self._x = self._read(observation)
        if wanted is not None and self._place is not None:
            x = np.array(wanted, dtype=float)
            if x.shape != self._x.shape or not np.isfinite(x).all():
                raise ValueError(
                    f"state must be {self._x.size} finite numbers "
                    f"{[s.name for s in self.system.states]}, got {wanted!r}"
                )
            self._place(x.copy())
            self._x = x
        self._known = np.nan_to_num(self._x)
        return self.state, {**info, "x": self.state}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Command u (nu,) for dt seconds.

        Raises ValueError where u is not finite, of another shape or outside the bounds.
        """
        u = self._input(action)
        observation, reward, terminated, truncated, info = self.env.step(self._action(u))
        self._x = self._continued(self._read(observation))
        self._known = np.where(np.isfinite(self._x), self._x, self._known)
        return self.state, float(reward), terminated, truncated, {**info, "x": self.state}

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()

    # ------------------------------------------------------------------------------------------

    def _read(self, observation: Any) -> np.ndarray:
        names = [s.name for s in self.system.states]
        if callable(self._state):
            found = self._state(observation)
        else:
            found = np.asarray(observation, dtype=float)
            if self._state is not None:
                found = found[list(self._state)]
        x = np.array(found, dtype=float)
        if x.shape != (len(names),):
            raise ValueError(
                f"state must give {len(names)} numbers {names} of {self.name}'s observation, "
                f"got shape {x.shape}"
            )
        return x

    def _continued(self, x: np.ndarray) -> np.ndarray:
        """x with angles and rotations as near to the last known ones as they can be told."""
        before, rows = self._known, list(self.system.angle_rows)
        x[rows] += 2 * np.pi * np.round((before[rows] - x[rows]) / (2 * np.pi))
        for row in self.system.quaternion_rows:
            if x[row : row + 4] @ before[row : row + 4] < 0:
                x[row : row + 4] *= -1
        return x

    def _input(self, action: np.ndarray) -> np.ndarray:
        names = [s.name for s in self.system.inputs]
        u = np.array(action, dtype=float)
        if u.shape != (len(names),) or not np.isfinite(u).all():
            raise ValueError(f"action must be {len(names)} finite numbers {names}, got {action!r}")
        inside = np.clip(u, self._low, self._high)
        if (np.abs(u - inside) > _SLACK * np.maximum(1.0, np.abs(inside))).any():
            raise ValueError(
                f"action {u} exceeds the bounds {self._low} … {self._high} of {names}; clip it in "
                "the policy"
            )
        return inside

    def _scaled(self) -> Callable[[np.ndarray], np.ndarray]:
        """Bounds on bounds; ValueError where they cannot be matched."""
        space, low, high = self._space, self._low, self._high
        if math.prod(space.shape) != len(low):
            raise ValueError(
                f"action: {self.name} takes {math.prod(space.shape)} numbers and "
                f"{type(self.system).__name__} has {len(low)} inputs; give action=, u ↦ action"
            )
        ends = space.low.ravel().astype(float), space.high.ravel().astype(float)
        same = (ends[0] == low) & (ends[1] == high)
        bounded = np.isfinite(np.stack([low, high, *ends])).all(0) & (high > low)
        if not (same | bounded).all():
            row = self.system.inputs[int(np.flatnonzero(~(same | bounded))[0])].name
            raise ValueError(
                f"action: bounds of {row!r} and of {self.name} cannot be matched, one is infinite "
                "or empty; give action=, u ↦ action"
            )

        def scaled(u: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore"):  # of rows that are taken as they are
                share = (u - low) / (high - low)
                found = np.where(same, u, ends[0] + share * (ends[1] - ends[0]))
            return np.clip(found, *ends).reshape(space.shape).astype(space.dtype)

        return scaled


def _box(name: str, space: gymnasium.Space[Any]) -> gymnasium.spaces.Box:
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return space
    raise ValueError(
        f"env: {name} takes actions from {space}, and plans have continuous inputs: wanted a Box "
        "of floating-point numbers"
    )


def _step(env: gymnasium.Env[Any, Any], dt: float | None, system: System) -> float:
    """Seconds of a step."""
    own = [getattr(env.unwrapped, name, None) for name in ("dt", "tau")]
    told = next((v for v in (dt, system.dt, *own) if v is not None), None)
    if not isinstance(told, int | float | np.number) or not 0 < told < math.inf:
        raise ValueError(f"dt must be seconds > 0, which the environment does not tell; got {dt!r}")
    return float(told)
