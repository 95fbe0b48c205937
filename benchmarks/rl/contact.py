"""A pendulum in PyBullet whose ball meets a table, which no model here knows."""

from __future__ import annotations

import numpy as np

from hybridmodel.envs.bullet import urdf
from hybridmodel.envs.bullet.plant import Body, BulletPlant
from hybridmodel.envs.bullet.quiet import pybullet
from physics import Pendulum

RADIUS = 0.04  # m, of the ball
HEIGHT = -0.3  # m, of the table below the pivot
_NEAR = 3e-3  # m


class PendulumOverTable(BulletPlant):
    """`physics.Pendulum` with a ball at its tip, over a table that it cannot pass.

    The ball touches at cos θ = −(HEIGHT + RADIUS) / l, 58.7° to each side of hanging for
    l = 0.5 m, so that the arm moves above that.
    """

    builds = Pendulum

    def _describe(self, system: Pendulum) -> Body:
        at = f"0 0 {-system.length:.17g}"
        ball = (
            f'<collision><origin xyz="{at}" rpy="0 0 0"/><geometry>'
            f'<sphere radius="{RADIUS:.17g}"/></geometry></collision>'
        )
        parts = [
            urdf.link("stand"),
            urdf.joint("angle", kind="continuous", parent="stand", child="pole", axis=(0, -1, 0)),
            urdf.link(
                "pole",
                mass=system.mass,
                center=(0, 0, -system.length),
                inertia=system.inertia,
                visuals=[
                    *urdf.bar(0.015, system.length, 0.0, urdf.ORANGE),
                    urdf.ball(RADIUS, (0, 0, -system.length), urdf.BLUE),
                    ball,
                ],
            ),
        ]
        return Body(
            urdf=urdf.robot("pendulum_over_table", parts),
            damping=(system.damping,),
            gravity=system.gravity,
            reach=(1.5 * system.length, 1.5 * system.length),
        )

    def _furnish(self) -> None:
        client = self._client
        shape = pybullet.createCollisionShape(pybullet.GEOM_PLANE, physicsClientId=client)
        pybullet.createMultiBody(0, shape, -1, (0, 0, HEIGHT), physicsClientId=client)


def touches(system: Pendulum, dt: float, x: np.ndarray) -> np.ndarray:
    """(T,) whether the ball touches the table in each step between states x (T+1, 2).

    It does where it is within 3 mm of the table at either end of the step, or where the rate
    changed by more than motor and weight together can change it.
    """
    gap = -system.length * np.cos(x[:, 0]) - RADIUS - HEIGHT
    near = gap < _NEAR
    strongest = max(abs(system.inputs[0].low), abs(system.inputs[0].high))
    inertia = float(system.inertia + system.mass * system.length**2)
    most = (strongest + system.mass * system.gravity * system.length) / inertia * dt
    knocked = np.abs(np.diff(x[:, 1])) > 1.5 * most
    return near[:-1] | near[1:] | knocked
