"""The double pendulum (acrobot, pendubot) in PyBullet."""

from __future__ import annotations

from hybridmodel.envs.bullet import urdf
from hybridmodel.envs.bullet.plant import Body, BulletPlant
from physics import DoublePendulum


class BulletDoublePendulum(BulletPlant):
    """`physics.DoublePendulum`: two revolute joints about −y, the second on the first link."""

    builds = DoublePendulum

    def _describe(self, system: DoublePendulum) -> Body:
        l1, r1, r2 = system.length1, system.center1, system.center2
        l2 = 1.5 * r2  # only drawn
        thick = 0.09 * l1
        parts = [
            urdf.link(
                "stand",
                visuals=[
                    urdf.box((6 * thick, 3 * thick, 6 * thick), (0, 3 * thick, 0), urdf.SLATE),
                    urdf.rod(0.9 * thick, 5 * thick, (0, 0, 0), urdf.STEEL, along="y"),
                ],
            ),
            urdf.joint(
                "shoulder", kind="continuous", parent="stand", child="link1", axis=(0, -1, 0)
            ),
            urdf.link(
                "link1",
                mass=system.mass1,
                center=(0, 0, -r1),
                inertia=system.inertia1,
                visuals=[
                    *urdf.bar(thick, l1, 0.0, urdf.BLUE),
                    urdf.rod(0.7 * thick, 4 * thick, (0, -thick, -l1), urdf.STEEL, along="y"),
                ],
            ),
            urdf.joint(
                "elbow",
                kind="continuous",
                parent="link1",
                child="link2",
                axis=(0, -1, 0),
                origin=(0, 0, -l1),
            ),
            urdf.link(
                "link2",
                mass=system.mass2,
                center=(0, 0, -r2),
                inertia=system.inertia2,
                visuals=urdf.bar(0.8 * thick, l2, -2 * thick, urdf.ORANGE),
            ),
        ]
        return Body(
            urdf=urdf.robot("double_pendulum", parts),
            damping=(system.damping1, system.damping2),
            gravity=system.gravity,
            reach=(1.15 * (l1 + l2), 1.15 * (l1 + l2)),
        )
