"""MuJoCo as the plant. Every class is reached as `hybridmodel.envs.<name>`.

settings   what the engine is told, and what it would do unasked
bodies     the trees of the systems that this engine builds
welded     links that no joint moves apart, as one body
mjcf       bodies as MJCF text
evaluated  CasADi functions of numbers, evaluated in place
plant      MujocoPlant, a Mechanical System as a Gymnasium environment
"""
