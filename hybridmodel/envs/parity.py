"""How closely a plant follows a System, in numbers."""

from __future__ import annotations

import casadi as ca
import numpy as np

from hybridmodel.envs.environment import Environment
from physics import System, integrators


def random_states(
    system: System, count: int, *, speed: float = 5.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Seeded x (count, nx) and u (count, nu), uniform.

    Angles lie in [−π, π], bounded signals within their bounds, all others within ± speed.
    """
    random = np.random.default_rng(seed)

    def draw(signals: tuple, reach: float) -> np.ndarray:
        limits = [(-np.pi, np.pi) if s.angle else (s.low, s.high) for s in signals]
        low, high = np.clip(np.array(limits), -reach, reach).T
        return random.uniform(low, high, (count, len(signals)))

    return draw(system.states, speed), draw(system.inputs, np.inf)


def acceleration_gap(
    environment: Environment, system: System | None = None, *, count: int = 1000, seed: int = 0
) -> np.ndarray:
    """|v̇_plant − v̇_system| / max(1, |v̇_system|), the largest row at each random state (count,).

    `system` is the environment's own unless given; give its `Disturbed` form to check an oracle.
    """
    system = environment.system if system is None else system
    states, inputs = random_states(system, count, seed=seed)
    rows = list(system.velocity_rows)
    modelled = np.asarray(_rate(system).map(count)(states.T, inputs.T)).T[:, rows]
    measured = np.array(
        [environment.acceleration(x, u) for x, u in zip(states, inputs, strict=True)]
    )
    return np.max(np.abs(measured - modelled) / np.maximum(1.0, np.abs(modelled)), axis=1)


def rollout_gap(
    environment: Environment,
    x0: np.ndarray,
    u: np.ndarray,
    system: System | None = None,
    *,
    substeps: int = 1000,
) -> np.ndarray:
    """|x_plant − x_system| (H, nx) after each control step under u (H, nu), both from x0.

    The System is integrated by RK4 with so many substeps that its own error vanishes; a discrete
    one steps as it is.
    """
    system = environment.system if system is None else system
    f = _rate(system)
    X = system.symbols
    x, command = X.sym("x", system.nx), X.sym("u", system.nu)
    method = integrators.rk4
    if system.dt is not None:
        method, substeps = integrators.discrete, 1
    after = method.advance(lambda x: f(x, command), x, environment.dt / substeps, 0.0)
    flow = ca.Function("flow", [x, command], [after]).mapaccum(substeps)
    environment.reset(options={"state": x0})
    here, gap = np.asarray(x0, dtype=np.float64), []
    for command_k in np.asarray(u, dtype=np.float64):
        here = np.asarray(flow(here, np.tile(command_k[:, None], substeps)))[:, -1]
        gap.append(np.abs(environment.step(command_k)[4]["x"] - here))
    return np.array(gap)


def _rate(system: System) -> ca.Function:
    X = system.symbols
    x, u = X.sym("x", system.nx), X.sym("u", system.nu)
    rate = system.dynamics(x, u, system.namespace(), X(0, 1))
    return ca.Function("rate", [x, u], [rate])
