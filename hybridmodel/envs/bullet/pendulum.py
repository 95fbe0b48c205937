"""The pendulum in PyBullet."""

from __future__ import annotations

from hybridmodel.envs.bullet import urdf
from hybridmodel.envs.bullet.plant import Body, BulletPlant
from physics import Pendulum


class BulletPendulum(BulletPlant):
    """`physics.Pendulum`: one revolute joint about −y, so that θ > 0 swings towards +x."""

    builds = Pendulum

    def _describe(self, system: Pendulum) -> Body:
        length = system.length
        thick = 0.06 * length
        parts = [
            urdf.link(
                "stand",
                visuals=[
                    urdf.box(
                        (0.5 * length, 3 * thick, 0.5 * length), (0, 3.2 * thick, 0), urdf.SLATE
                    ),
                    urdf.rod(0.8 * thick, 5 * thick, (0, 0, 0), urdf.STEEL, along="y"),
                ],
            ),
            urdf.joint("angle", kind="continuous", parent="stand", child="pole", axis=(0, -1, 0)),
            urdf.link(
                "pole",
                mass=system.mass,
                center=(0, 0, -length),
                inertia=system.inertia,
                visuals=[
                    *urdf.bar(0.9 * thick, length, 0.0, urdf.ORANGE),
                    urdf.ball(3 * thick, (0, 0, -length), urdf.BLUE),
                ],
            ),
        ]
        return Body(
            urdf=urdf.robot("pendulum", parts),
            damping=(system.damping,),
            gravity=system.gravity,
            reach=(1.5 * length, 1.5 * length),
        )
