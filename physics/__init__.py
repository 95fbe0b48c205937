"""Analytic dynamics, written once in CasADi: ẋ = f(x, u, p, d), or x⁺ of a discrete system."""

from physics import integrators, quaternion, tangent
from physics.around import Around
from physics.binding import FromCasadi
from physics.cartpole import CartPole
from physics.double_pendulum import DoublePendulum
from physics.dynamic_bicycle import DynamicBicycle
from physics.from_casadi import from_casadi
from physics.input_delay import InputDelay
from physics.input_lag import InputLag
from physics.kinematic_bicycle import KinematicBicycle
from physics.lagrangian import Lagrangian
from physics.linear import Linear, Trivial
from physics.mechanical import Mechanical
from physics.paced import Paced
from physics.parameter import Parameter
from physics.pendulum import Pendulum
from physics.planar_quadrotor import PlanarQuadrotor
from physics.quadrotor import Quadrotor
from physics.remembered_input import RememberedInput
from physics.rigid_body import RigidBody
from physics.system import Signal, System
from physics.tanks import TwoTanks

__all__ = [
    "Around",
    "CartPole",
    "DoublePendulum",
    "DynamicBicycle",
    "FromCasadi",
    "InputDelay",
    "InputLag",
    "KinematicBicycle",
    "Lagrangian",
    "Linear",
    "Mechanical",
    "Paced",
    "Parameter",
    "Pendulum",
    "PlanarQuadrotor",
    "Quadrotor",
    "RememberedInput",
    "RigidBody",
    "Signal",
    "System",
    "Trivial",
    "TwoTanks",
    "from_casadi",
    "integrators",
    "quaternion",
    "tangent",
]
