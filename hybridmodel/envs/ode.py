"""Any System as its own plant, integrated finely; needs no physics engine, draws no pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import casadi as ca
import numpy as np

from hybridmodel.envs.environment import Environment, Reward
from hybridmodel.envs.hidden import HiddenEffects
from hybridmodel.envs.truth import Disturbed
from physics import Mechanical, System, integrators, tangent


class OdePlant(Environment):
    """The closed-form truth, ẋ = f(x, uᵃ) with `Disturbed`, by small explicit steps.

    Dry friction is smoothed over `smoothing` [rad/s, m/s]; 0 is the exact sign, which chatters
    around v = 0 by about c h/M. `integrator` is one of `physics.integrators`.

    A discrete system steps as it is, x⁺ = f(x, uᵃ): dt is its own and there are no substeps.
    Raises ValueError where it is given another dt or substeps.
    """

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
        integrator: integrators.Integrator = integrators.rk4,
        smoothing: float = 0.01,
    ) -> None:
        if system.dt is not None:
            own = f"{type(system).__name__} is discrete, x⁺ = f(x, u) every {system.dt:g} s"
            if abs(dt - system.dt) > 1e-6 * system.dt:
                raise ValueError(f"dt: {own}; got {dt!r}")
            if substeps not in (None, 1):
                raise ValueError(f"substeps: {own}, which has no parts; got {substeps}")
            dt, substeps, integrator = system.dt, 1, integrators.discrete
        super().__init__(
            system,
            dt=dt,
            substeps=substeps,
            hidden=hidden,
            reward=reward,
            initial_state=initial_state,
            episode_steps=episode_steps,
            render_mode=render_mode,
        )
        self.truth = Disturbed(system=system, hidden=self.hidden, smoothing=smoothing)
        self._integrator = integrator
        nv = system.nv if isinstance(system, Mechanical) else 0
        X = system.symbols
        x, u, force = X.sym("x", system.nx), X.sym("u", system.nu), X.sym("force", nv)
        p, d = self.truth.namespace(), X(0, 1)

        def f(x: Any) -> Any:
            return self.truth.flow(x, u, force, p, d)

        rows = system.velocity_rows
        is_rate = ca.DM([float(i in rows) for i in range(system.nx)])
        after = integrator.advance(f, x, dt / self.substeps, is_rate)
        after = tangent.normalise(system.states, after)
        step = ca.Function("step", [x, u, force], [after])
        self._steps = step.mapaccum(self.substeps)
        self._rate = ca.Function("rate", [x, u], [ca.substitute(f(x), force, 0 * force)])
        self._here = np.array(system.neutral)

    def _place(self, x: np.ndarray) -> None:
        self._here = x

    def _read(self) -> np.ndarray:
        return self._here

    def _advance(self, applied: np.ndarray, force: np.ndarray) -> None:
        states = self._steps(self._here, applied.T, force.T)
        self._here = np.asarray(states[:, -1], dtype=np.float64).reshape(-1)

    def _acceleration(self, x: np.ndarray, applied: np.ndarray) -> np.ndarray:
        if self.system.dt is not None:
            raise ValueError(
                f"{type(self.system).__name__} is discrete, x⁺ = f(x, u): it has no acceleration"
            )
        rate = np.asarray(self._rate(x, applied), dtype=np.float64).reshape(-1)
        return rate[list(self.system.velocity_rows)]

    def _engine_settings(self) -> dict[str, Any]:
        return {
            "engine": "ode",
            "integrator": self._integrator.name,
            "smoothing": float(self.truth.smoothing),
        }
