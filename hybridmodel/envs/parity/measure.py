"""Accelerations and rollouts of a plant and of a System, by row of v."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import casadi as ca
import numpy as np

from hybridmodel.envs.environment import Environment
from hybridmodel.envs.parity.gaps import measured_rollout, relative
from physics import Mechanical, System, tangent

_TOLERANCE = {"abstol": 1e-10, "reltol": 1e-9, "max_num_steps": 100_000}
_STILL = 0.1  # of the largest range among coordinates, or among rates: least scale of one


def rows(system: System) -> tuple[str, ...]:
    """Names of the rows of v: that of the coordinate, or of the rate where rotations have three."""
    rotations = {s.quaternion for s in system.states if s.quaternion}
    signals = [system.states[i] for i in system.velocity_rows]
    return tuple(
        s.name if s.rate_of is None or s.rate_of in rotations else s.rate_of for s in signals
    )


def changes(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Largest |after − before| / max(1, |before|) of each row (nv,)."""
    if not len(before):
        return np.zeros(before.shape[1])
    both_lost = ~np.isfinite(before) & ~np.isfinite(after)
    return np.where(both_lost, 0.0, relative(after - before, before)).max(axis=0)


def forces(system: Mechanical, states: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """|M(q) Δv̇| (N, nv) [N·m, N]."""
    q, a = ca.SX.sym("q", system.nq), ca.SX.sym("a", system.nv)
    M = system.mass_matrix(q, system.namespace())
    force = ca.Function("force", [q, a], [M @ a]).map(len(states))
    return np.abs(np.asarray(force(states[:, : system.nq].T, difference.T)).T)


@dataclass(frozen=True)
class Reference:
    """Rollouts of a System: starts (R, nx), inputs (R, H, nu), states (R, H, nx)."""

    system: System
    starts: np.ndarray
    inputs: np.ndarray
    states: np.ndarray

    @classmethod
    def of(cls, system: System, dt: float, starts: np.ndarray, inputs: np.ndarray) -> Reference:
        """Integrated by CVODES with tolerances of 1e-9, since smoothed dry friction is stiff.

        States after one that cannot be reached are NaN.
        """
        x, u = ca.SX.sym("x", system.nx), ca.SX.sym("u", system.nu)
        rate = system.dynamics(x, u, system.namespace(), ca.SX(0, 1))
        problem = {"x": x, "p": u, "ode": rate}
        flow = ca.integrator("flow", "cvodes", problem, 0.0, dt, _TOLERANCE)
        turned = ca.Function("turned", [x], [tangent.normalise(system.states, x)])
        states = np.full((*inputs.shape[:2], system.nx), np.nan)
        for start, drive, row in zip(starts, inputs, states, strict=True):
            here = start
            try:
                for k, command in enumerate(drive):
                    here = turned(flow(x0=here, p=command)["xf"])
                    row[k] = np.asarray(here).reshape(-1)
            except RuntimeError:
                continue
        return cls(system, starts, inputs, states)

    def gap(self, states: np.ndarray) -> np.ndarray:
        """Largest |states ⊟ own| of each row of v, over the range of the coordinate or its rate."""
        own, nv = self.states, len(self.system.velocity_rows)
        own, given = own.reshape(-1, own.shape[-1]), states.reshape(-1, states.shape[-1])
        differ = tangent.difference_function(self.system.states).map(len(own))
        error = np.abs(np.asarray(differ(given.T, own.T)).T)
        first = np.repeat(self.starts, self.inputs.shape[1], axis=0)
        moved = np.abs(np.asarray(differ(own.T, first.T)).T)
        speed = np.abs(own[:, list(self.system.velocity_rows)])
        error = np.where(np.isfinite(error), error, np.inf).max(axis=0)
        place = _scale(moved.max(axis=0)[:-nv])
        rate = _scale(speed.max(axis=0))
        return np.maximum(error[:-nv] / place, error[-nv:] / rate)

    def against(self, environment: Environment) -> np.ndarray:
        """`gap` of a plant's own rollouts."""
        return self.gap(self.rolled(environment))

    def rolled(self, environment: Environment) -> np.ndarray:
        """States (R, H, nx) of a plant from the same starts under the same inputs."""
        found = np.full_like(self.states, np.nan)
        for k, (x, u) in enumerate(zip(self.starts, self.inputs, strict=True)):
            with np.errstate(all="ignore"):  # an unstable engine overflows
                found[k] = measured_rollout(environment, x, u, seed=k)
        return found

    def between(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """`gap` of two plants' rollouts; what both have lost is no difference."""
        lost = [np.isnan(states.sum(axis=-1) * 0.0) for states in (before, after)]
        if np.any(lost[0] != lost[1]):
            return np.full(len(self.system.velocity_rows), np.inf)
        still = np.broadcast_to(self.starts[:, None, :], before.shape)
        before, after = (np.where(lost[0][..., None], still, s) for s in (before, after))
        return dataclasses.replace(self, states=before).gap(after)


def _scale(ranges: np.ndarray) -> np.ndarray:
    return np.maximum(np.maximum(ranges, _STILL * ranges.max(initial=0.0)), 1e-9)
