"""The machines with their friction, stepped as published.

    w = v + dt a(q, v, u),    v⁺ = clip(w),    q⁺ = q + dt v⁺    or  q + dt w

Rates of the rod are clipped before its angle moves, those of the two links after their angles have
moved with w. Friction is the hidden effect. Angles are kept unwrapped where one of the environments
wraps them: neither motions nor rewards know the difference. Observations are not rounded to single
precision. The signs are those of the published code: friction of the shoulder has that of a motor
there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, pi, sin
from typing import Any, Literal

import gymnasium
import numpy as np

from physics import System

Accelerations = Callable[[np.ndarray, np.ndarray], np.ndarray]
Score = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def rod(friction: float = 0.5) -> Accelerations:
    """… − η / (m l²) θ̇, η [N·m·s/rad]."""

    def accelerations(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        return np.array([3 * 10.0 / 2 * sin(x[0]) + 3 * u[0] - friction * x[1]])

    return accelerations


def cart(friction: tuple[float, float] = (0.1, 0.02)) -> Accelerations:
    """Dry friction of the cart [N], viscous friction of the pole [N·m·s/rad]."""
    total, moment, length = 1.1, 0.05, 0.5

    def accelerations(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        _, angle, velocity, rate = x
        a = (u[0] + moment * rate**2 * sin(angle) - friction[0] * np.sign(velocity)) / total
        pull = 9.8 * sin(angle) - cos(angle) * a - friction[1] * rate / moment
        turning = pull / (length * (4 / 3 - 0.1 * cos(angle) ** 2 / total))
        return np.array([a - moment * turning * cos(angle) / total, turning])

    return accelerations


def two_links(friction: tuple[float, float] = (0.01, 0.05)) -> Accelerations:
    """Viscous friction of shoulder and elbow [N·m·s/rad], that of the shoulder as published."""

    def accelerations(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        first, second, rate1, rate2 = x
        torque1 = (u[1] if len(u) > 1 else 0.0) - friction[0] * rate1
        torque2 = u[0] - friction[1] * rate2
        d1 = 0.25 + 1.25 + cos(second) + 2.0
        d2 = 0.25 + 0.5 * cos(second) + 1.0
        phi2 = 4.9 * cos(first + second - pi / 2)
        phi1 = -0.5 * rate2**2 * sin(second) - rate2 * rate1 * sin(second)
        phi1 += 14.7 * cos(first - pi / 2) + phi2
        pull = torque2 + d2 / d1 * phi1 - 0.5 * rate1**2 * sin(second) - phi2
        elbow = pull / (1.25 - d2**2 / d1)
        return np.array([-(torque1 + d2 * elbow + phi1) / d1, elbow])

    return accelerations


@dataclass(eq=False)
class Plant(gymnasium.Env[np.ndarray, np.ndarray]):
    """One of the machines as `collect` wants it, in SI units.

    system         whose states and inputs these are
    accelerations  (x, u) ↦ v̇
    score          (x, u, x⁺) ↦ reward
    start          generator ↦ x₀
    fastest        (nv,) bounds of the rates, inf where there are none
    moves          q with the "clipped" rates or with those that were "free"
    ends           x⁺ ↦ whether the episode ends there
    """

    system: System
    accelerations: Accelerations
    score: Score
    start: Callable[[np.random.Generator], np.ndarray]
    dt: float
    episode_steps: int
    fastest: tuple[float, ...] = (np.inf, np.inf)
    ends: Callable[[np.ndarray], bool] = field(default=lambda x: False)
    moves: Literal["clipped", "free"] = "clipped"

    def __post_init__(self) -> None:
        low, high = np.array([(s.low, s.high) for s in self.system.inputs]).T
        self.action_space = gymnasium.spaces.Box(low, high, dtype=np.float64)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (self.system.nx,), dtype=np.float64
        )
        self.metadata = {"render_modes": []}
        self._x, self._k = np.zeros(self.system.nx), 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        state = (options or {}).get("state")
        self._x = self.start(self.np_random) if state is None else np.array(state, dtype=float)
        self._k = 0
        return self._x.copy(), {"x": self._x.copy()}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        u = np.clip(action, self.action_space.low, self.action_space.high)  # type: ignore[attr-defined]
        x, n = self._x, self.system.nx // 2
        w = x[n:] + self.dt * self.accelerations(x, u)
        v = np.clip(w, np.negative(self.fastest[:n]), self.fastest[:n])
        q = x[:n] + self.dt * (v if self.moves == "clipped" else w)
        self._x, self._k = np.concatenate([q, v]), self._k + 1
        reward, told = self.score(x, u, self._x), {"x": self._x.copy()}
        ended = self.ends(self._x)
        return self._x.copy(), reward, ended, self._k >= self.episode_steps, told
