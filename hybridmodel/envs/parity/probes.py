"""States and inputs at which a plant is asked what it does.

`PROBES` are those of the diagnosis, each made to bring one kind of culprit to light.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.parity.gaps import modelled_accelerations, random_states
from physics import Mechanical, System

_COUNT = 96  # states of a probe
_FASTER = 1.5  # than the clamp
_ABOVE = 1.001  # × the clamp: a bound from which the clamp is met
_BEYOND = 0.1  # of the joint's range
_GENTLE = 20.0  # accelerations that rollouts are driven with [rad/s², m/s²]
_SECONDS = 0.25  # longest rollout
_STEPS = 30
SHORT = 1e-5  # engine step in which dry friction stops nothing that slides [s]
_SLIDING = 12.0  # × the smoothing of dry friction: tanh(12) is 1 to 1e-10
_ROOM = 1.3  # states drawn for each one wanted, as some come to rest

Samples = tuple[np.ndarray, np.ndarray]  # x (N, nx), u (N, nu)


def idle(system: System) -> np.ndarray:
    """The input nearest to 0 (nu,)."""
    return np.array([min(max(0.0, s.low), s.high) for s in system.inputs])


def moving(system: System, settings: BulletSettings, seed: int) -> Samples:
    """A third at rest, a third coasting, a third driven."""
    states, inputs = random_states(system, _COUNT, seed=seed)
    states[::3, system.velocity_rows] = 0.0
    inputs[np.arange(_COUNT) % 3 < 2] = idle(system)
    return states, inputs


def fast(system: System, settings: BulletSettings, seed: int) -> Samples:
    """One joint at a time beyond the engine's clamp, all others at rest.

    Within the bounds of its rate where these reach beyond the clamp.
    """
    rows = _joints(system)
    states, _ = random_states(system, 4 * len(rows), seed=seed)
    states[:, system.velocity_rows] = 0.0
    for i, state in enumerate(states):
        row = rows[i % len(rows)]
        bound = system.states[row].high
        speed = _FASTER * settings.max_joint_velocity
        if bound > _ABOVE * settings.max_joint_velocity:  # the System itself may go so fast
            speed = min(speed, bound)
        state[row] = (-1) ** (i // len(rows)) * speed
    return states, np.tile(idle(system), (len(states), 1))


def beyond(system: System, settings: BulletSettings, seed: int) -> Samples:
    """One joint at a time beyond a limit and on its way out."""
    found = []
    names = {s.name: i for i, s in enumerate(system.states)}
    for row in _joints(system):
        at = names[system.states[row].rate_of or ""]
        low, high = system.states[at].low, system.states[at].high
        if np.isfinite([low, high]).all():
            step = _BEYOND * max(high - low, 0.1)
            found += [(at, row, high + step, 1.0), (at, row, low - step, -1.0)]
    states, _ = random_states(system, max(1, len(found)), seed=seed)
    states = states[: len(found)]
    states[:, system.velocity_rows] = 0.0
    for state, (at, row, q, v) in zip(states, found, strict=True):
        state[at], state[row] = q, v
    return states, np.tile(idle(system), (len(states), 1))


PROBES: Mapping[str, Callable[[System, BulletSettings, int], Samples]] = {
    "moving": moving,
    "fast": fast,
    "beyond": beyond,
}


def bounded(system: System, states: np.ndarray) -> np.ndarray:
    """Which states (N, nx) lie within the bounds of all signals (N,)."""
    low, high = np.array([(s.low, s.high) for s in system.states]).T
    slack = 1e-9 * np.maximum(1.0, np.abs(states))
    return np.all((states >= low - slack) & (states <= high + slack), axis=1)


def rubs(system: System) -> bool:
    """Whether a System has dry friction."""
    return any(value for name, value in system.parameters.items() if name.endswith("friction"))


def sliding(system: Mechanical, count: int, seed: int) -> Samples:
    """Random states in which no joint is near rest, nor comes to it within a `SHORT` step."""
    states, inputs = random_states(system, int(_ROOM * count) + 20, seed=seed)
    least = _SLIDING * float(system.parameters.get("smoothing", 0.01))
    rows = list(system.velocity_rows)
    v = states[:, rows]
    v = np.where(v < 0, -1.0, 1.0) * np.maximum(np.abs(v), least)
    states[:, rows] = v
    after = v + SHORT * modelled_accelerations(system, states, inputs)
    kept = np.flatnonzero(np.all(after * np.sign(v) > 0.5 * least, axis=1))[:count]
    return states[kept], inputs[kept]


def _joints(system: System) -> list[int]:
    """Rows of x that are rates of ordinary coordinates."""
    rotations = {s.quaternion for s in system.states if s.quaternion}
    return [i for i in system.velocity_rows if system.states[i].rate_of not in rotations]


def rollouts(system: Mechanical, dt: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Seeded starts (count, nx) within the middle of the bounds and smooth inputs (count, H, nu).

    Inputs are about what moves each joint alone by 20 rad/s², so that light joints do not fly
    away; H dt is at most 0.25 s, H at most 30.
    """
    random = np.random.default_rng(seed)
    states, _ = random_states(system, count, speed=1.0, seed=seed + 1)
    middle = np.array(system.neutral)
    for i, signal in enumerate(system.states):
        if signal.quaternion is None and np.isfinite([signal.low, signal.high]).all():
            middle[i] = (signal.low + signal.high) / 2
            states[:, i] = middle[i] + 0.5 * (states[:, i] - middle[i])
    steps = int(np.clip(np.floor(_SECONDS / dt), 1, _STEPS))
    mass, drive = system.mass_matrix_function(), system.input_map_function()
    inputs = np.zeros((count, steps, system.nu))
    time = dt * np.arange(steps)[:, None]
    bounds = np.array([(s.low, s.high) for s in system.inputs]).reshape(-1, 2)
    for k, x in enumerate(states):
        M, B = (np.asarray(f(x[: system.nq])) for f in (mass, drive))
        share = np.abs(B) / np.maximum(np.diag(M), 1e-12)[:, None]
        size = _GENTLE / np.maximum(share.max(axis=0, initial=0.0), 1e-12)
        omega = random.uniform(0.5, 2.0, system.nu) * np.pi / max(steps * dt, 1e-9)
        wave = np.sin(omega * time + random.uniform(0, 2 * np.pi, system.nu))
        inputs[k] = np.clip(size * wave, bounds[:, 0], bounds[:, 1])
    return states, inputs
