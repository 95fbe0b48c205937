"""The quadrotor in PyBullet."""

from __future__ import annotations

import math

import casadi as ca
import numpy as np

from hybridmodel.envs.bullet import source, urdf
from hybridmodel.envs.bullet.plant import Body, BulletPlant
from hybridmodel.envs.payload import rigid_bias
from physics import Mechanical, Quadrotor
from physics.rigid_body.description import Link


class BulletQuadrotor(BulletPlant):
    """`physics.Quadrotor`: one free body, under the wrench of its rotors and of its drag.

    The engine knows mass, centre of mass, inertia and gravity, and integrates the attitude
    exactly for an ω that is constant in the world over h. All else is a force that is worked out
    in closed form at each engine step. The link's frame is the System's body frame; a payload
    beside the centre moves the centre of mass away from it.
    """

    builds = Quadrotor
    engine_step = 5e-4

    def _describe(self, system: Mechanical) -> Body:
        mass, center, inertia = _rigid_part(system)
        about_center = inertia - mass * (center @ center * np.eye(3) - np.outer(center, center))
        link = Link(name="body", inertia=_rows((about_center + about_center.T) / 2))
        moments, axes = source.principal(link)
        p = system.namespace()
        text = urdf.link(
            "body",
            mass=mass,
            center=tuple(center.tolist()),
            inertia=tuple(moments.tolist()),
            axes=source.roll_pitch_yaw(_rows(axes)),
            visuals=_pictures(float(p.arm)),
        )
        reach = 3.0 * float(p.arm)
        return Body(
            urdf=urdf.robot("quadrotor", [text]),
            damping=(),
            gravity=float(p.gravity),
            reach=(reach, 0.6 * reach),
            floating=True,
            direction=(-0.5, -0.8, 0.5),
        )

    def _force(self, system: Mechanical, x: ca.SX, u: ca.SX) -> ca.SX:
        q, v, p = x[:7], x[7:], system.namespace()
        mass, center, inertia = _rigid_part(system)
        known = rigid_bias(mass, ca.SX(center), ca.SX(inertia), p.gravity, q, v)
        return system.input_map(q, p) @ u - (system.bias(q, v, p) - known)


def _rigid_part(system: Mechanical) -> tuple[float, np.ndarray, np.ndarray]:
    """Mass, centre of mass (3,) and inertia about the origin (3, 3), as M at rest says."""
    upright = ca.DM([0, 0, 0, 1, 0, 0, 0])
    M = np.asarray(ca.DM(ca.densify(system.mass_matrix_function()(upright))))
    mass, coupling = float(M[0, 0]), M[3:, :3]  # m S(c)
    center = np.array([coupling[2, 1], coupling[0, 2], coupling[1, 0]]) / mass
    return mass, center, M[3:, 3:]


def _rows(matrix: np.ndarray) -> tuple:
    return tuple(tuple(row) for row in matrix.tolist())


def _pictures(arm: float) -> list[str]:
    lever, thick = arm / math.sqrt(2), 0.07 * arm
    parts = [urdf.box((0.8 * arm, 0.5 * arm, 0.3 * arm), (0, 0, 0), urdf.SLATE)]
    for x in (-1, 1):
        for y in (-1, 1):
            place = (x * lever, y * lever)
            color = urdf.ORANGE if x > 0 else urdf.BLUE  # the front can be told
            for blade in ((0.9 * arm, 0.1 * arm, thick / 3), (0.1 * arm, 0.9 * arm, thick / 3)):
                parts.append(urdf.box(blade, (*place, 0.24 * arm), color))
            parts.append(urdf.rod(thick, 0.3 * arm, (*place, 0.08 * arm), urdf.STEEL))
            parts.append(
                urdf.box((abs(place[0]), thick, thick), (place[0] / 2, place[1], 0), urdf.STEEL)
            )
        parts.append(urdf.box((thick, 2 * lever, thick), (x * lever, 0, 0), urdf.STEEL))
    return parts
