"""The plant in a System's own coordinates and units, with the Gymnasium API."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import casadi as ca
import gymnasium
import numpy as np

from hybridmodel.envs.actuator import Actuator
from hybridmodel.envs.disturbance import Disturbance
from hybridmodel.envs.hidden import HiddenEffects
from physics import Mechanical, Signal, System, tangent

Reward = Callable[[np.ndarray, np.ndarray, int], float]
_UNIT = 1e-3  # how far the length of a given quaternion may be from 1
_SLACK = 1e-9  # how far a command may exceed its bounds by rounding, relative to the bound


class Environment(gymnasium.Env[np.ndarray, np.ndarray], ABC):
    """A plant that a policy steps every dt seconds.

        xₖ₊₁ = plant(xₖ, uₖ),    yₖ = h(xₖ, uₖ₋₁) + noise,    rₖ = reward(xₖ, uₖ, k)

    u commanded inputs (nu,), x true states (nx,), y observed outputs (ny,), all in the System's SI
    units; angles are unwrapped. Each control step is `substeps` engine steps of h = dt/substeps.

    An engine gives `_place` and `_read` (the state), `_advance` (one control step),
    `_acceleration` and `_engine_settings`; everything else is final.
    `terminated` is True where a state is not finite or leaves the bounds of its Signal,
    `truncated` after `episode_steps`.

    Raises ValueError on arguments that do not fit the system.
    """

    engine_step: ClassVar[float] = 1e-3  # the longest h where `substeps` is not given [s]
    render_modes: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        system: System,
        *,
        dt: float,
        substeps: int | None = None,
        hidden: HiddenEffects | None = None,
        reward: Reward | None = None,
        initial_state: Sequence[float] | np.ndarray | None = None,
        episode_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        hidden = HiddenEffects() if hidden is None else hidden
        _check_system(system)
        hidden.check(system)
        if not 0 < dt < math.inf:
            raise ValueError(f"dt must be seconds > 0, got {dt!r}")
        if substeps is None:
            substeps = max(1, math.ceil(dt / self.engine_step - 1e-9))
        for name, count in (("substeps", substeps), ("episode_steps", episode_steps)):
            if count is not None and not (isinstance(count, int | np.integer) and count >= 1):
                raise ValueError(f"{name} must be an integer ≥ 1, got {count!r}")
        modes = (None, *self.render_modes)
        if render_mode not in modes:
            raise ValueError(f"render_mode must be one of {modes}, got {render_mode!r}")
        self.system, self.hidden, self.render_mode = system, hidden, render_mode
        self.dt, self.substeps, self.episode_steps = float(dt), int(substeps), episode_steps
        self.metadata = {
            "render_modes": list(self.render_modes),
            "render_fps": max(1, round(1 / dt)),
        }
        self._initial = None if initial_state is None else self._as_state(initial_state)
        self._reward = reward
        self._bounds = _bounds(system.states)  # (2, nx)
        self._input_bounds = _bounds(system.inputs)  # (2, nu)
        low, high = self._input_bounds
        self.action_space = gymnasium.spaces.Box(low, high, dtype=np.float64)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (system.ny,), dtype=np.float64
        )
        slack = _SLACK * np.maximum(1.0, np.abs(self._input_bounds))
        self._allowed = self._input_bounds + slack * np.array([[-1.0], [1.0]])
        self._rest = np.clip(np.zeros(system.nu), low, high)
        self._actuator = Actuator(hidden, self._rest, dt / self.substeps, self.substeps)
        nv = system.nv if isinstance(system, Mechanical) else 0
        self._disturbance = Disturbance(hidden, nv, dt, self.substeps)
        self._output = _output_function(hidden.true_system(system))
        self._nudged = _retraction(system.states)
        self._noisy = _retraction(system.outputs)
        self._x: np.ndarray | None = None
        self._k = 0

    # -- what an engine gives ----------------------------------------------------------------

    @abstractmethod
    def _place(self, x: np.ndarray) -> None:
        """Put the plant into the state x (nx,), forgetting all else."""

    @abstractmethod
    def _read(self) -> np.ndarray:
        """The plant's state (nx,)."""

    @abstractmethod
    def _advance(self, applied: np.ndarray, force: np.ndarray) -> None:
        """One control step: applied inputs (substeps, nu), further forces (substeps, nv)."""

    @abstractmethod
    def _acceleration(self, x: np.ndarray, applied: np.ndarray) -> np.ndarray:
        """v̇ (nv,) at x under the applied inputs (nu,); may leave the plant anywhere."""

    @abstractmethod
    def _engine_settings(self) -> dict[str, Any]:
        """What the engine was set to, for the record."""

    # -- what follows is final ---------------------------------------------------------------

    @property
    def state(self) -> np.ndarray:
        """The true state x (nx,), angles unwrapped."""
        if self._x is None:
            raise RuntimeError("there is no state yet: call reset() first")
        return self._x.copy()

    @property
    def settings(self) -> dict[str, Any]:
        """All that was set explicitly, for the record in reports."""
        common = {
            "plant": type(self).__name__,
            "system": type(self.system).__name__,
            "dt": self.dt,
            "substeps": self.substeps,
            "engine_step": self.dt / self.substeps,
            "episode_steps": self.episode_steps,
            "initial_state": None if self._initial is None else self._initial.tolist(),
            "hidden": dataclasses.asdict(self.hidden),
        }
        return common | self._engine_settings()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode at options["state"], at `initial_state`, or near the neutral state.

        Returns y₀ (ny,) and {"x": true state, "t": 0.0}.
        """
        super().reset(seed=seed)
        options = options or {}
        if unknown := set(options) - {"state"}:
            raise ValueError(f"options may hold 'state', got {sorted(unknown)}")
        if "state" in options:
            x = self._as_state(options["state"])
        elif self._initial is not None:
            x = self._initial.copy()
        else:
            nudge = self.np_random.uniform(-0.01, 0.01, len(tangent.signals(self.system.states)))
            x = np.clip(self._nudged(np.array(self.system.neutral), nudge), *self._bounds)
        self._place(x)
        self._x, self._k = x, 0
        self._actuator.reset()
        self._disturbance.reset()
        return self._observe(self._rest), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Command u (nu,) for dt seconds: (y, reward, terminated, truncated, info).

        Raises ValueError where u is not finite, of another shape or outside the bounds.
        """
        u, x, k = self._as_input(action), self.state, self._k
        force = self._disturbance.advance(k, self.np_random)
        self._advance(self._actuator.advance(u), force)
        self._x, self._k = self._continued(self._read()), k + 1
        reward = 0.0 if self._reward is None else float(self._reward(x, u, k))
        # written so that NaN terminates
        inside = (self._x >= self._bounds[0]) & (self._x <= self._bounds[1])
        terminated = not bool(np.all(inside & np.isfinite(self._x)))
        truncated = self.episode_steps is not None and self._k >= self.episode_steps
        return self._observe(u), reward, terminated, truncated, self._info()

    def acceleration(
        self, x: Sequence[float] | np.ndarray, u: Sequence[float] | np.ndarray
    ) -> np.ndarray:
        """The plant's own v̇ (nv,) at state x under a settled command u (no delay, no lag).

        Dead zone, gain, friction and true parameters act; push and wind do not. The plant is put
        back to where it was.
        """
        x, u = self._as_state(x), self._as_input(u)
        acceleration = self._acceleration(x, self._actuator.settled(u))
        if self._x is not None:
            self._place(self._x)
        return acceleration

    def _info(self) -> dict[str, Any]:
        return {"x": self.state, "t": self._k * self.dt}

    def _observe(self, u: np.ndarray) -> np.ndarray:
        y = self.state if self._output is None else self._output(self.state, u)
        if np.any(self.hidden.observation_noise):
            noise = self.np_random.standard_normal(len(tangent.signals(self.system.outputs)))
            y = self._noisy(y, np.asarray(self.hidden.observation_noise) * noise)
        return y

    def _continued(self, x: np.ndarray) -> np.ndarray:
        """The state with each quaternion on the side of the one before (q and −q are the same)."""
        for row in self.system.quaternion_rows:
            if x[row : row + 4] @ self.state[row : row + 4] < 0:
                x[row : row + 4] *= -1
        return x

    def _as_state(self, x: Sequence[float] | np.ndarray) -> np.ndarray:
        state = _numbers("state", x, self.system.states)
        for row in self.system.quaternion_rows:
            length = float(np.linalg.norm(state[row : row + 4]))
            if abs(length - 1) > _UNIT:
                name = self.system.states[row].quaternion
                raise ValueError(
                    f"state: quaternion {name!r} (w, x, y, z) must have length 1, got {length:.6g}"
                )
            state[row : row + 4] /= length
        return state

    def _as_input(self, u: Sequence[float] | np.ndarray) -> np.ndarray:
        u = _numbers("action", u, self.system.inputs)
        if np.any(u < self._allowed[0]) or np.any(u > self._allowed[1]):
            low, high = self._input_bounds
            names = [signal.name for signal in self.system.inputs]
            raise ValueError(
                f"action {u} exceeds the bounds {low} … {high} of {names}; clip it in the policy"
            )
        return u


def _bounds(signals: tuple[Signal, ...]) -> np.ndarray:
    return np.array([(s.low, s.high) for s in signals], dtype=np.float64).reshape(-1, 2).T


def _numbers(name: str, value: object, signals: tuple[Signal, ...]) -> np.ndarray:
    """An own float64 copy (len(signals),) of finite numbers."""
    try:
        numbers = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.shape != (len(signals),) or not np.all(np.isfinite(numbers)):
        names = [signal.name for signal in signals]
        raise ValueError(f"{name} must be {len(names)} finite numbers {names}, got {value!r}")
    return numbers


def _retraction(signals: tuple[Signal, ...]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """x ⊞ ξ as numbers."""
    if not any(s.quaternion for s in signals):
        return lambda x, xi: x + xi
    x, xi = ca.SX.sym("x", len(signals)), ca.SX.sym("xi", len(tangent.signals(signals)))
    step = ca.Function("retract", [x, xi], [tangent.retract(signals, x, xi)])
    return lambda x, xi: np.asarray(step(x, xi), dtype=np.float64).reshape(-1)


def _check_system(system: System) -> None:
    if not isinstance(system, System):
        raise ValueError(f"system must be a physics.System, got {type(system).__name__}")
    if system.memory:
        raise ValueError(
            f"system: {type(system).__name__} has memory, and a plant has none; give the inner "
            "system and hidden=HiddenEffects(input_delay=…)"
        )
    if system.exogenous:
        names = [signal.name for signal in system.exogenous]
        raise ValueError(f"system: plants give no exogenous signals yet, got {names}")


def _output_function(
    system: System,
) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """h(x, u) as numbers, None where y = x."""
    X = system.symbols
    x, u = X.sym("x", system.nx), X.sym("u", system.nu)
    y = system.output(x, u, system.namespace(), X(0, 1))
    if ca.is_equal(X(y), x, 0):
        return None
    h = ca.Function("h", [x, u], [y])
    return lambda x, u: np.asarray(h(x, u), dtype=np.float64).reshape(-1)
