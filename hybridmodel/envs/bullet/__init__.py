"""PyBullet as the plant. Every class is reached as `hybridmodel.envs.<name>`.

settings   what the engine is told, and what it would do unasked
world      one client: its clock, its solver, its camera
tree       one articulated body, in the coordinates and conventions of `physics`
plant      BulletPlant, a Mechanical System as a Gymnasium environment
"""
