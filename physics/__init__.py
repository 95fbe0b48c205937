"""Analytic dynamics, written once in CasADi: ẋ = f(x, u, p, d), or x⁺ of a discrete system."""

from physics import integrators
from physics.binding import FromCasadi
from physics.cartpole import CartPole
from physics.double_pendulum import DoublePendulum
from physics.from_casadi import from_casadi
from physics.input_delay import InputDelay
from physics.linear import Linear, Trivial
from physics.mechanical import Mechanical
from physics.parameter import Parameter
from physics.pendulum import Pendulum
from physics.system import Signal, System

__all__ = [
    "CartPole",
    "DoublePendulum",
    "FromCasadi",
    "InputDelay",
    "Linear",
    "Mechanical",
    "Parameter",
    "Pendulum",
    "Signal",
    "System",
    "Trivial",
    "from_casadi",
    "integrators",
]
