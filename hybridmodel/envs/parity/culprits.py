"""What is known to make PyBullet differ from a System, as a table.

A culprit is a choice that an engine makes or a constant that it has, with the settings and the
constants by which it is switched, the states that bring it to light, and what removes it.
Measured with PyBullet 3.2.7.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Culprit:
    """One known cause.

    settings   fields of BulletSettings that it is; their clean values are the defaults
    constants  endings of the names of constants that it is, as of `parity.constants`
    probe      which of `parity.probes.PROBES` show it
    beside     culprits that stay as they are in the plant while this one is switched, since they
               cannot be told from it or the engine cannot have both
    holds      culprits that the engine cannot have where this one is off
    remedy     the PyBullet call or the setting that removes it; {} take what `remedies` knows
    """

    name: str
    sentence: str
    remedy: str
    settings: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    probe: str = "moving"
    beside: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()


GRAVITY = Culprit(
    name="gravity",
    sentence="the engine's gravity is {engine_gravity} m/s², the System's {gravity}",
    remedy="p.setGravity(0, 0, {minus_gravity})",
    settings=("gravity",),
    constants=("gravity",),
)
INVENTED = Culprit(
    name="invented inertials",
    sentence="links without <inertial> are loaded with 1 kg and 1 kg·m²: {links}",
    remedy="write an <inertial> with mass 0 and an inertia of zeros into the file for each",
)
SHAPES = Culprit(
    name="inertia from shapes",
    sentence="inertia tensors are made anew from the collision shapes, as if solid and uniform",
    remedy="p.loadURDF(file, flags=p.URDF_USE_INERTIA_FROM_FILE)",
    settings=("inertia",),
    beside=("invented inertials",),
)
ZEROED = Culprit(
    name="inertia zeroed",
    sentence="tensors that break the triangle inequality are loaded as 0: {links}",
    remedy="p.changeDynamics(body, link, localInertiaDiagonal=moments) for each, "
    'or RigidBody.from_urdf(file, inertia="pybullet")',
    settings=("inertia",),
    beside=("invented inertials",),
)
LINEAR_DAMPING = Culprit(
    name="linear damping",
    sentence="every link is braked by {linear_damping} m v (1 + |v|) at its centre of mass",
    remedy="for j in range(-1, p.getNumJoints(body)): p.changeDynamics(body, j, linearDamping=0)",
    settings=("linear_damping",),
)
ANGULAR_DAMPING = Culprit(
    name="angular damping",
    sentence="every link is braked by {angular_damping} I ω (1 + |ω|)",
    remedy="for j in range(-1, p.getNumJoints(body)): p.changeDynamics(body, j, angularDamping=0)",
    settings=("angular_damping",),
)
MOTORS = Culprit(
    name="default motors",
    sentence="every joint's velocity motor stays on and brakes with up to 1 N·m·s a step",
    remedy="for j in joints: p.setJointMotorControl2(body, j, p.VELOCITY_CONTROL, force=0)",
    settings=("motors",),
    beside=("dry friction",),
)
JOINT_DAMPING = Culprit(
    name="joint damping",
    sentence="viscous damping of joints differs: {damping}",
    remedy="p.changeDynamics(body, j, jointDamping=…) in a call of its own, or "
    "system.with_joint(name, damping=…)",
    settings=("joint_damping",),
    constants=("damping",),
)
DRY_FRICTION = Culprit(
    name="dry friction",
    sentence="dry friction of joints differs, of which the engine reads a file's and uses none: "
    "{friction}",
    remedy="p.setJointMotorControl2(body, j, p.VELOCITY_CONTROL, targetVelocity=0, force=…), or "
    "system.with_joint(name, friction=…)",
    settings=("dry_friction",),
    constants=("friction",),
    holds=("default motors",),
)
CLAMP = Culprit(
    name="velocity clamp",
    sentence="joint rates are cut to ±{max_joint_velocity} rad/s, m/s after every step",
    remedy="p.changeDynamics(body, j, maxJointVelocity=1e6) in a call of its own",
    settings=("max_joint_velocity",),
    probe="fast",
)
LIMITS = Culprit(
    name="position limits",
    sentence="the file's joint limits are stops, met once they are crossed",
    remedy="p.changeDynamics(body, j, jointLowerLimit=-1e9, jointUpperLimit=1e9)",
    settings=("position_limits",),
    probe="beyond",
)
COLLISIONS = Culprit(
    name="self-collision",
    sentence="links of the robot collide with each other",
    remedy="p.loadURDF(file) without p.URDF_USE_SELF_COLLISION",
    settings=("self_collision",),
)
SOLVER = Culprit(
    name="constraint solver",
    sentence="dry friction is solved softly or not to the end",
    remedy="p.setPhysicsEngineParameter(numSolverIterations=50, solverResidualThreshold=0, "
    "globalCFM=0)",
    settings=("solver_iterations", "residual_threshold", "global_cfm"),
)
# found by rollouts instead of by switching settings
EXPLICIT_DAMPING = Culprit(
    name="explicit joint damping",
    sentence="joint damping is integrated explicitly, and h·max eig(M⁻¹D) = {stiffness}: beyond 1 "
    "a damped rate changes its sign each step, beyond 2 it grows",
    remedy="p.setPhysicsEngineParameter(fixedTimeStep={h}), {substeps} engine steps a control step",
)
SUBSTEPS = Culprit(
    name="substeps",
    sentence="the engine's error of order h is too large at h = {own_h} s",
    remedy="p.setPhysicsEngineParameter(fixedTimeStep={h}), {substeps} engine steps a control step",
)
SMOOTHING = Culprit(
    name="friction smoothing",
    sentence="the System's dry friction c tanh(v/ε) with ε = {smoothing} creeps where the engine "
    "sticks",
    remedy="a System with smoothing={finer}",
)
ARMATURE = Culprit(
    name="armature",
    sentence="the engine has no armature, and the System has: {armature}",
    remedy="envs.MujocoPlant, which has; or system.with_joint(name, armature=0)",
)
AXIS = Culprit(
    name="axis",
    sentence="axes are not of unit length, which the engine's forward dynamics does not mend: "
    "{axes}",
    remedy="write unit vectors into the file's <axis xyz=…>",
    settings=("inertia",),
    beside=("invented inertials", "inertia from shapes", "inertia zeroed"),
)
TREE = Culprit(
    name="tree",
    sentence="links are joined in another way: {tree}",
    remedy="read both from the same file",
)
PLACE = Culprit(
    name="place",
    sentence="joint {joint}: place differs: {place}",
    remedy="give joint {joint} the same <origin> and <axis> in both descriptions",
)
HIDDEN = Culprit(
    name="hidden effects",
    sentence="the plant hides effects of its own: {hidden}",
    remedy="hidden=HiddenEffects(), or compare envs.Disturbed(system=…, hidden=…)",
)
CONSTANT = Culprit(
    name="constant",
    sentence="{name} is {theirs} in the plant and {ours} in the System",
    remedy="give both the same {name}",
)

SWITCHED = (
    GRAVITY,
    INVENTED,
    SHAPES,
    ZEROED,
    LINEAR_DAMPING,
    ANGULAR_DAMPING,
    MOTORS,
    JOINT_DAMPING,
    DRY_FRICTION,
    CLAMP,
    LIMITS,
    COLLISIONS,
    SOLVER,
)
