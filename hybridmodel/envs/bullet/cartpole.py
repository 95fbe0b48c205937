"""The cart-pole in PyBullet."""

from __future__ import annotations

import math

from hybridmodel.envs.bullet import urdf
from hybridmodel.envs.bullet.plant import Body, BulletPlant
from physics import CartPole


class BulletCartPole(BulletPlant):
    """`physics.CartPole`: a prismatic joint along x carries a revolute one about −y."""

    builds = CartPole

    def _describe(self, system: CartPole) -> Body:
        length = system.pole_length  # to the centre of mass; a uniform pole is twice as long
        position = system.states[0]
        half = min(max(abs(position.low), abs(position.high)), 10 * length)
        half = half if math.isfinite(half) else 5 * length
        rail, thick = half + 0.4 * length, 0.1 * length
        ends = [
            urdf.box((thick, 6 * thick, 6 * thick), (side * rail, 0, 0), urdf.SLATE)
            for side in (-1, 1)
        ]
        parts = [
            urdf.link(
                "rail",
                visuals=[urdf.rod(0.7 * thick, 2 * rail, (0, 0, 0), urdf.STEEL, along="x"), *ends],
            ),
            urdf.joint("position", kind="prismatic", parent="rail", child="cart", axis=(1, 0, 0)),
            urdf.link(
                "cart",
                mass=system.cart_mass,
                inertia=1.0,  # a cart does not turn
                visuals=[
                    urdf.box((1.2 * length, 0.6 * length, 0.6 * length), (0, 0, 0), urdf.BLUE),
                    urdf.rod(1.4 * thick, length, (0, 0, 0), urdf.STEEL, along="y"),
                ],
            ),
            urdf.joint("angle", kind="continuous", parent="cart", child="pole", axis=(0, -1, 0)),
            urdf.link(
                "pole",
                mass=system.pole_mass,
                center=(0, 0, -length),
                inertia=system.pole_inertia,
                visuals=urdf.bar(thick, 2 * length, -0.42 * length, urdf.ORANGE),
            ),
        ]
        return Body(
            urdf=urdf.robot("cartpole", parts),
            damping=(system.cart_damping, system.pole_damping),
            gravity=system.gravity,
            reach=(1.06 * rail, 2.4 * length),
        )
