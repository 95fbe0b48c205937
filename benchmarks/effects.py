"""What a mismatch does, worked out beside the check it tests: at other states, by other means."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass

import casadi as ca
import numpy as np

from hybridmodel.envs.bullet.robot import BulletRobot
from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.parity import random_states
from hybridmodel.envs.parity.constants import with_constants
from hybridmodel.envs.parity.gaps import (
    measured_accelerations,
    modelled_accelerations,
    rate_function,
    relative,
)
from hybridmodel.envs.parity.measure import Reference
from hybridmodel.envs.parity.probes import rollouts
from physics import integrators
from physics.rigid_body.system import RigidBody

_LEAST = 1e-5  # change of accelerations that is an effect
_STATES = 60


def engine_moves(system: RigidBody, before: BulletSettings, after: BulletSettings) -> bool:
    """Whether settings change what the engine does; ValueError where it cannot have them."""
    states, inputs = random_states(system, _STATES, seed=77)
    found = []
    for settings in (before, after):
        plant = BulletRobot(system, dt=1e-3, substeps=1, settings=settings)
        with contextlib.closing(plant):
            found.append(measured_accelerations(plant, states, inputs))
    return bool(relative(found[1] - found[0], found[0]).max() > _LEAST)


def moves(before: RigidBody, after: RigidBody) -> bool:
    """Whether constants change what the System does."""
    states, inputs = random_states(before, _STATES, seed=78)
    a, b = (modelled_accelerations(s, states, inputs) for s in (before, after))
    return bool(relative(b - a, a).max() > _LEAST)


@dataclass(frozen=True)
class Rolls:
    """Rollouts of another seed without dry friction, and what semi-implicit Euler makes of them."""

    system: RigidBody
    dt: float
    reference: Reference

    @classmethod
    def of(cls, system: RigidBody, dt: float) -> Rolls:
        smooth = without(system, "friction")
        starts, inputs = rollouts(smooth, dt, 5, 79)
        return cls(smooth, dt, Reference.of(smooth, dt, starts, inputs))

    def error(self, substeps: int) -> float:
        system, own = self.system, self.reference
        f, rates = rate_function(system), np.zeros(system.nx)
        rates[list(system.velocity_rows)] = 1.0
        x, u = ca.SX.sym("x", system.nx), ca.SX.sym("u", system.nu)
        method, h = integrators.semi_implicit_euler, self.dt / substeps
        after = method.advance(lambda x: f(x, u), x, h, ca.DM(rates))
        step = ca.Function("step", [x, u], [after])
        x, u = ca.MX.sym("x", system.nx), ca.MX.sym("u", system.nu)
        after = step.mapaccum(substeps)(x, ca.repmat(u, 1, substeps))[:, -1]
        whole = ca.Function("whole", [x, u], [after]).mapaccum(own.inputs.shape[1])
        pairs = zip(own.starts, own.inputs, strict=True)
        found = np.array([np.asarray(whole(start, drive.T)).T for start, drive in pairs])
        with np.errstate(all="ignore"):
            return float(own.gap(found).max())


def creeps(system: RigidBody, dt: float, bar: float) -> bool:
    """Whether the smoothing of dry friction shows in rollouts."""
    if not total(system, "friction"):
        return False
    starts, inputs = rollouts(system, dt, 5, 80)
    sharp = dataclasses.replace(system, smoothing=1e-5)
    own, other = (Reference.of(s, dt, starts, inputs) for s in (system, sharp))
    return not own.gap(other.states).max() < bar


def stiffness(system: RigidBody) -> float:
    """max eig(M⁻¹D) [1/s]."""
    given = system.parameters
    D = np.diag([float(given.get(f"{joint.name}.damping", 0)) for joint in system.joints])
    mass, found = system.mass_matrix_function(), 0.0
    for x in random_states(system, 20, seed=81)[0]:
        rates = np.linalg.eigvals(np.linalg.solve(np.asarray(mass(x[: system.nq])), D))
        found = max(found, float(rates.real.max()))
    return found


def without(system: RigidBody, kind: str) -> RigidBody:
    """A copy with no damping or no friction."""
    return with_constants(system, {f"{joint.name}.{kind}": 0.0 for joint in system.joints})


def total(system: RigidBody, kind: str) -> float:
    """Sum of the dampings or frictions of all joints."""
    return sum(float(v) for n, v in system.parameters.items() if n.endswith(f".{kind}"))
