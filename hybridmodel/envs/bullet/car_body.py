"""A chassis on four wheels as a description."""

from __future__ import annotations

from typing import Any

from hybridmodel.envs.bullet import urdf

WHEELS = ("front_left", "front_right", "rear_left", "rear_right")


def car_body(p: Any, radius: float) -> str:
    """Chassis, two steered hubs, four wheels; mass and yaw inertia are the System's in all."""
    front, rear = float(p.front_length), float(p.rear_length)
    half = 0.4 * (front + rear)  # of the track
    wheel = 0.005 * float(p.mass)
    spin = 0.4 * wheel * radius**2
    outside = sum(2 * wheel * (length**2 + half**2) for length in (front, rear))
    yaw = float(p.inertia) - outside - 4 * spin
    # the wheels' common centre lies a little off; the chassis takes up the difference
    chassis = float(p.mass) - 4 * wheel
    center = (-2 * wheel * (front - rear) / chassis, 0.0, 0.0)
    yaw = max(yaw - chassis * center[0] ** 2, 0.1 * float(p.inertia))
    long, wide, thick = 1.3 * (front + rear), 1.5 * half, 0.3 * radius
    parts = [
        urdf.link(
            "chassis",
            mass=chassis,
            center=center,
            inertia=yaw,
            visuals=[
                urdf.box((long, wide, radius), (0.5 * (front - rear), 0, 0.4 * radius), urdf.BLUE),
                urdf.box((0.45 * long, 0.8 * wide, 0.8 * radius), (0, 0, 1.2 * radius), urdf.SLATE),
            ],
        )
    ]
    for side, y in (("left", half), ("right", -half)):
        parts += [
            urdf.joint(
                f"steer_{side}",
                kind="revolute",
                parent="chassis",
                child=f"hub_{side}",
                axis=(0, 0, 1),
                origin=(front, y, 0),
            ),
            urdf.link(f"hub_{side}", mass=1e-3 * wheel, inertia=spin),
        ]
        for axle, parent, place in (
            ("front", f"hub_{side}", (0.0, 0.0, 0.0)),
            ("rear", "chassis", (-rear, y, 0.0)),
        ):
            name = f"{axle}_{side}"
            parts.append(
                urdf.joint(
                    name,
                    kind="continuous",
                    parent=parent,
                    child=f"wheel_{name}",
                    axis=(0, 1, 0),
                    origin=place,
                )
            )
            picture = urdf.rod(radius, 2 * thick, (0, 0, 0), urdf.SLATE, along="y")
            ball = f'<collision><geometry><sphere radius="{radius:.17g}"/></geometry></collision>'
            parts.append(
                urdf.link(f"wheel_{name}", mass=wheel, inertia=spin, visuals=[picture, ball])
            )
    return urdf.robot("car", parts)
