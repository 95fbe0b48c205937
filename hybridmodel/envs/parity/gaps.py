"""How closely a plant follows a System, in numbers."""

from __future__ import annotations

import casadi as ca
import numpy as np

from hybridmodel.envs.environment import Environment
from physics import System, integrators, tangent

_UNBOUNDED = 10.0  # inputs without a bound are drawn within this [N, N·m]


def random_states(
    system: System, count: int, *, speed: float = 5.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Seeded x (count, nx) and u (count, nu), uniform.

    Angles lie in [−π, π], rotations anywhere, bounded signals within their bounds, all others
    within ± speed, inputs without a bound within ± 10.
    """
    random = np.random.default_rng(seed)

    def draw(signals: tuple, reach: float, free: float) -> np.ndarray:
        limits = [(-np.pi, np.pi) if s.angle else (s.low, s.high) for s in signals]
        limits = np.array(limits, dtype=float).reshape(-1, 2)
        limits[np.isinf(limits)] = np.sign(limits[np.isinf(limits)]) * free
        low, high = np.clip(limits, -reach, reach).T
        return random.uniform(low, high, (count, len(signals)))

    states = draw(system.states, speed, speed)
    for row in system.quaternion_rows:
        q = random.standard_normal((count, 4))
        states[:, row : row + 4] = q / np.linalg.norm(q, axis=1, keepdims=True)
    return states, draw(system.inputs, np.inf, _UNBOUNDED)


def modelled_accelerations(system: System, states: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """v̇ (N, nv) of a System at x (N, nx) and u (N, nu)."""
    rows = list(system.velocity_rows)
    return np.asarray(rate_function(system).map(len(states))(states.T, inputs.T)).T[:, rows]


def measured_accelerations(
    environment: Environment, states: np.ndarray, inputs: np.ndarray
) -> np.ndarray:
    """v̇ (N, nv) of a plant at x (N, nx) and u (N, nu)."""
    found = [environment.acceleration(x, u) for x, u in zip(states, inputs, strict=True)]
    return np.array(found).reshape(len(states), len(environment.system.velocity_rows))


def relative(difference: np.ndarray, of: np.ndarray) -> np.ndarray:
    """|difference| / max(1, |of|); inf where it is no number."""
    found = np.abs(difference) / np.maximum(1.0, np.abs(of))
    return np.where(np.isnan(found), np.inf, found)


def acceleration_gap(
    environment: Environment, system: System | None = None, *, count: int = 1000, seed: int = 0
) -> np.ndarray:
    """|v̇_plant − v̇_system| / max(1, |v̇_system|), the largest row at each random state (count,).

    `system` is the environment's own unless given; give its `Disturbed` form to check an oracle.
    """
    system = environment.system if system is None else system
    states, inputs = random_states(system, count, seed=seed)
    modelled = modelled_accelerations(system, states, inputs)
    measured = measured_accelerations(environment, states, inputs)
    return np.max(relative(measured - modelled, modelled), axis=1)


def rollout_gap(
    environment: Environment,
    x0: np.ndarray,
    u: np.ndarray,
    system: System | None = None,
    *,
    substeps: int = 1000,
) -> np.ndarray:
    """|x_plant ⊟ x_system| (H, tangent rows) after each control step under u (H, nu), both from x0.

    The System is integrated by RK4 with so many substeps that its own error vanishes; a discrete
    one steps as it is.
    """
    system = environment.system if system is None else system
    modelled = modelled_rollout(system, environment.dt, x0, u, substeps=substeps)
    measured = measured_rollout(environment, x0, u)
    differ = tangent.difference_function(system.states).map(len(modelled))
    return np.abs(np.asarray(differ(measured.T, modelled.T)).T)


def modelled_rollout(
    system: System, dt: float, x0: np.ndarray, u: np.ndarray, *, substeps: int
) -> np.ndarray:
    """x (H, nx) of a System after each step of dt [s] under u (H, nu)."""
    flow = flow_function(system, dt, substeps)
    here, states = np.asarray(x0, dtype=np.float64), []
    for command in np.asarray(u, dtype=np.float64):
        here = np.asarray(flow(here, command)).reshape(-1)
        states.append(here)
    return np.array(states)


def measured_rollout(
    environment: Environment, x0: np.ndarray, u: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """x (H, nx) of a plant after each control step under u (H, nu); `seed` is that of its wind."""
    environment.reset(seed=seed, options={"state": x0})
    return np.array([environment.step(command)[4]["x"] for command in np.asarray(u, dtype=float)])


def flow_function(system: System, dt: float, substeps: int) -> ca.Function:
    """(x, u) ↦ x after dt [s], by so many steps of RK4; a discrete system steps as it is."""
    f = rate_function(system)
    X = system.symbols
    x, u = X.sym("x", system.nx), X.sym("u", system.nu)
    method = integrators.rk4
    if system.dt is not None:
        method, substeps = integrators.discrete, 1
    after = method.advance(lambda x: f(x, u), x, dt / substeps, 0.0)
    after = tangent.normalise(system.states, after)
    step = ca.Function("step", [x, u], [after])
    start, command = ca.MX.sym("x", system.nx), ca.MX.sym("u", system.nu)
    end = step.mapaccum(substeps)(start, ca.repmat(command, 1, substeps))[:, -1]
    return ca.Function("flow", [start, command], [end])


def rate_function(system: System) -> ca.Function:
    """(x, u) ↦ ẋ, or x⁺ of a discrete system, at its own parameter values."""
    X = system.symbols
    x, u = X.sym("x", system.nx), X.sym("u", system.nu)
    rate = system.dynamics(x, u, system.namespace(), X(0, 1))
    return ca.Function("rate", [x, u], [rate])
