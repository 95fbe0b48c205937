"""Models of the examples of acados.

Their form: a bag of expressions (x, u, p, f_expl_expr), in SX or MX. A Function of it is one
line, `function_of`, and no part of acados is needed.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import casadi as ca
import numpy as np

from benchmarks.models.borrowed import Borrowed
from physics import Signal


def function_of(model: SimpleNamespace) -> ca.Function:
    """ẋ = f(x, u, p) of an AcadosModel."""
    return ca.Function(
        model.name, [model.x, model.u, model.p], [model.f_expl_expr], ["x", "u", "p"], ["xdot"]
    )


def pendulum_on_cart(cart: float = 1.0, friction: float = 0.0) -> ca.Function:
    """Pole of 0.8 m and 0.1 kg on a cart, θ = 0 upright; published with 1 kg, no friction. SX."""
    m, length, g = 0.1, 0.8, 9.81
    p1, theta, v, omega = (ca.SX.sym(name) for name in ("x1", "theta", "v1", "dtheta"))
    command = ca.SX.sym("F")
    sine, cosine = ca.sin(theta), ca.cos(theta)
    force = command - friction * v
    shared = cart + m - m * cosine**2
    model = SimpleNamespace(name="pendulum_ode", x=ca.vertcat(p1, theta, v, omega), u=command)
    model.p = ca.SX(0, 1)
    spin = m * length * sine * omega**2
    turning = force * cosine - spin * cosine + (cart + m) * g * sine
    model.f_expl_expr = ca.vertcat(
        v,
        omega,
        (force - spin + m * g * cosine * sine) / shared,
        turning / (length * shared),
    )
    return function_of(model)


def race_car(motor: float = 0.28, steering: float = 15.5) -> ca.Function:
    """Car of scale 1:43 along a track (s, n, α, v, throttle, steering angle), MX.

    The track's curvature is a B-spline table; here of a made-up smooth course.
    """
    stations = np.linspace(-3.0, 9.0, 61)  # m
    bends = 1.2 * np.sin(stations) * np.cos(0.5 * stations)  # 1/m
    curvature = ca.interpolant("kapparef_s", "bspline", [stations.tolist()], bends.tolist())
    m, lever = 0.043, 0.5
    s, n, alpha, v, throttle, delta = (
        ca.MX.sym(name) for name in ("s", "n", "alpha", "v", "D", "delta")
    )
    rates = ca.vertcat(ca.MX.sym("derD"), ca.MX.sym("derDelta"))
    force = (motor - 0.05 * v) * throttle - 0.006 * v**2 - 0.011 * ca.tanh(5 * v)
    along = v * ca.cos(alpha + lever * delta) / (1 - curvature(s) * n)
    model = SimpleNamespace(name="Spatialbicycle_model", u=rates, p=ca.MX(0, 1))
    model.x = ca.vertcat(s, n, alpha, v, throttle, delta)
    model.f_expl_expr = ca.vertcat(
        along,
        v * ca.sin(alpha + lever * delta),
        v * steering * delta - curvature(s) * along,
        force / m * ca.cos(lever * delta),
        rates,
    )
    return function_of(model)


BALLS = 2  # between the fixed end and the driven end


def hanging_chain(stiffness: float = 1.0, rest: float = 0.033) -> ca.Function:
    """Masses of 33 g between springs, one end fixed, the other moved by its velocity u, SX.

    p is a disturbing acceleration of each mass, known for each stage.
    """
    positions, velocities = ca.SX.sym("xpos", 3 * (BALLS + 1)), ca.SX.sym("xvel", 3 * BALLS)
    u, w = ca.SX.sym("u", 3), ca.SX.sym("w", 3 * BALLS)
    points = [ca.SX.zeros(3), *ca.vertsplit(positions, 3)]
    pulls = []
    for before, after in itertools.pairwise(points):
        distance = after - before
        pulls.append(stiffness / 0.033 * (1 - rest / ca.norm_2(distance)) * distance)
    gravity = ca.DM([0.0, 0.0, -9.81])
    falls = [right - left + gravity for left, right in itertools.pairwise(pulls)]
    model = SimpleNamespace(name="chain_mass_ds_4", x=ca.vertcat(positions, velocities), u=u, p=w)
    model.f_expl_expr = ca.vertcat(velocities, u, ca.vertcat(*falls) + w)
    return function_of(model)


def furuta_pendulum(hub: float = 4e-3, joint: float = 0.098) -> ca.Function:
    """Rotary pendulum, θ₂ = 0 upright: M(θ₂) θ̈ = τ − C(θ, θ̇) θ̇ − g(θ₂), solved by CasADi. SX."""
    x, torque = ca.SX.sym("x", 4), ca.SX.sym("tau1")
    L1, l2, m2, g = 0.1035, 0.0955, 0.192, 9.81
    J2 = 7.653e-4 + m2 * l2**2
    J0 = 5.3875e-4 + 0.75e-4 + m2 * L1**2
    angle, rates = x[1] - np.pi, x[2:]
    sine, cosine, double = ca.sin(angle), ca.cos(angle), ca.sin(2 * angle)
    k = m2 * L1 * l2
    M = ca.blockcat([[J0 + J2 * sine**2, k * cosine], [k * cosine, J2]])
    C = ca.blockcat(
        [
            [
                hub + 0.5 * x[3] * J2 * double,
                0.5 * x[2] * J2 * double - k * sine * x[3],
            ],
            [-0.5 * x[2] * J2 * double, 2 * joint * J2],
        ]
    )
    rhs = ca.vertcat(torque, 0) - C @ rates - ca.vertcat(0, g * m2 * l2 * sine)
    model = SimpleNamespace(name="furuta_model", x=x, u=torque, p=ca.SX(0, 1))
    model.f_expl_expr = ca.vertcat(rates, ca.solve(M, rhs))
    return function_of(model)


CHAIN_STATES = tuple(
    Signal(f"p{i}{axis}", "m") for i in range(1, BALLS + 2) for axis in "xyz"
) + tuple(
    Signal(f"v{i}{axis}", "m/s", rate_of=f"p{i}{axis}")
    for i in range(1, BALLS + 1)
    for axis in "xyz"
)
CHAIN_START = (0.33, 0.0, -0.5, 0.67, 0.0, -0.5, 1.0, 0.0, 0.0) + (0.0,) * 6

MODELS = (
    Borrowed(
        name="pendulum on a cart",
        source="acados, examples/acados_python/getting_started/common/pendulum_model.py",
        function=pendulum_on_cart(),
        plant=pendulum_on_cart(cart=1.3, friction=0.5),
        states=(
            Signal("x1", "m"),
            Signal("theta", "rad", angle=True),
            Signal("v1", "m/s", rate_of="x1"),
            Signal("dtheta", "rad/s", rate_of="theta"),
        ),
        inputs=(Signal("F", "N", -80.0, 80.0),),
        dt=0.05,
        corrected=("v1", "dtheta"),
        start=(0.0, 0.3, 0.0, 0.0),
        region=((-1.0, 1.0), (-3.0, 3.0), (-1.0, 1.0), (-2.0, 2.0)),
        idle=(0.0,),
        swing=0.1,
        hold=(0.1, 0.5),
        state={"x1": 1.0, "theta": 10.0, "v1": 0.1, "dtheta": 0.1},
        input={"F": 1e-3},
        target={},
        horizon=30,
        closed_loop=True,
    ),
    Borrowed(
        name="race car",
        source="acados, examples/acados_python/race_cars/bicycle_model.py (D. Kloeser)",
        changed="curvature of a made-up course, the track's file is not taken; no bounds on "
        "accelerations",
        function=race_car(),
        plant=race_car(motor=0.24, steering=13.0),
        states=(
            Signal("s", "m"),
            Signal("n", "m", -0.12, 0.12),
            Signal("alpha", "rad"),
            Signal("v", "m/s"),
            Signal("D", "", -1.0, 1.0),
            Signal("delta", "rad", -0.4, 0.4),
        ),
        inputs=(Signal("derD", "1/s", -10.0, 10.0), Signal("derDelta", "rad/s", -2.0, 2.0)),
        dt=0.02,
        corrected=("alpha", "v"),
        start=(0.0, 0.0, 0.0, 0.5, 0.2, 0.0),
        region=((-2.0, 2.0), (-0.05, 0.05), (-0.2, 0.2), (0.2, 1.5), (0.0, 0.6), (-0.1, 0.1)),
        idle=(0.0, 0.0),
        swing=0.3,
        hold=(0.04, 0.2),
        state={"n": 100.0, "alpha": 1.0, "v": 1.0},
        input={"derD": 1e-4, "derDelta": 1e-3},
        target={"v": 1.2},
        horizon=40,
    ),
    Borrowed(
        name="hanging chain",
        source="acados, examples/acados_python/chain_mass/export_disturbed_chain_mass_model.py",
        changed="4 masses instead of 5, steps of 0.05 s instead of 0.2 s, no wall",
        function=hanging_chain(),
        plant=hanging_chain(stiffness=1.15, rest=0.05),
        states=CHAIN_STATES,
        inputs=tuple(Signal(f"u_{axis}", "m/s", -1.0, 1.0) for axis in "xyz"),
        exogenous=tuple(
            Signal(f"w{i}{axis}", "m/s²") for i in range(1, BALLS + 1) for axis in "xyz"
        ),
        arguments=("x", "u", "d"),
        dt=0.05,
        corrected=tuple(s.name for s in CHAIN_STATES if s.rate_of),
        start=CHAIN_START,
        region=tuple(
            (x - width, x + width)
            for x, width in zip(CHAIN_START, (0.1,) * 9 + (0.3,) * 6, strict=True)
        ),
        idle=(0.0, 0.0, 0.0),
        hold=(0.1, 0.5),
        disturbance=(0.5,) * 6,
        state={"p3x": 25.0, "p3y": 25.0, "p3z": 25.0} | {s.name: 1.0 for s in CHAIN_STATES[9:]},
        input={f"u_{axis}": 0.01 for axis in "xyz"},
        target={"p3x": 1.0, "p3y": 0.3, "p3z": 0.2},
        horizon=20,
    ),
    Borrowed(
        name="Furuta pendulum",
        source="acados, examples/acados_python/furuta_pendulum/furuta_model.py",
        function=furuta_pendulum(),
        plant=furuta_pendulum(hub=6e-3, joint=0.5),
        states=(
            Signal("theta1", "rad", angle=True),
            Signal("theta2", "rad", angle=True),
            Signal("dtheta1", "rad/s", rate_of="theta1"),
            Signal("dtheta2", "rad/s", rate_of="theta2"),
        ),
        inputs=(Signal("tau1", "N·m", -0.45, 0.45),),
        dt=0.025,
        corrected=("dtheta1", "dtheta2"),
        start=(0.0, 0.2, 0.0, 0.0),
        region=((-1.0, 1.0), (-2.0, 2.0), (-3.0, 3.0), (-5.0, 5.0)),
        logs=(16, 20),
        idle=(0.0,),
        swing=0.3,
        hold=(0.02, 0.2),
        state={"theta1": 50.0, "theta2": 500.0, "dtheta1": 1.0, "dtheta2": 1.0},
        input={"tau1": 1e3},
        target={},
        horizon=30,
        closed_loop=True,
    ),
)
