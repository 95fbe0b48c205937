"""Robots as rigid bodies: read from URDF or MJCF, with small graphs of their dynamics."""

from physics.rigid_body.system import RigidBody

__all__ = ["RigidBody"]
