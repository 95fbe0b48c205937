"""Models of CasADi's own examples and of others who write plain casadi.Functions.

Their form: expressions in SX or MX, `Function('f', [x, u], [rhs])`, mostly without names.
"""

from __future__ import annotations

import casadi as ca

from benchmarks.models.borrowed import Borrowed
from physics import Parameter, Signal


def van_der_pol(stiffness: float = 1.0) -> ca.Function:
    """ẋ₁ = (1 − x₂²) x₁ − k x₂ + u,  ẋ₂ = x₁,  and the running cost as second output.

    MX; published with k = 1.
    """
    x1, x2, u = (ca.MX.sym(name) for name in ("x1", "x2", "u"))
    rhs = ca.vertcat((1 - x2**2) * x1 - stiffness * x2 + u, x1)
    return ca.Function("f", [ca.vertcat(x1, x2), u], [rhs, x1**2 + x2**2 + u**2])


def rocket(drag: float = 0.05, burn: float = 0.1) -> ca.Function:
    """ṡ = v,  v̇ = (u − c v²)/m,  ṁ = −b u², by 20 Euler steps of 0.01 to x⁺.

    MX, and the step calls the ode as a Function.
    """
    x, u = ca.MX.sym("x", 3), ca.MX.sym("u")
    rhs = ca.vertcat(x[1], (u - drag * x[1] ** 2) / x[2], -burn * u**2)
    f = ca.Function("f", [x, u], [rhs])
    after = x
    for _ in range(20):
        after = after + 0.01 * f(after, u)
    return ca.Function("F", [x, u], [after])


SAMPLE = 1 / 610.1  # s


def oscillator(rubbing: float = 0.0) -> ca.Function:
    """M ÿ + c ẏ + k y + k₃ y³ = u, by 10 Runge–Kutta steps to the next sample.

    MX with a vector of parameters (M, c, k, k₃), expanded into SX; published without rubbing.
    """
    x, u, p = ca.MX.sym("states", 2), ca.MX.sym("controls"), ca.MX.sym("params", 4)
    force = u - p[3] * x[0] ** 3 - p[2] * x[0] - p[1] * x[1]
    if rubbing:
        force -= rubbing * ca.tanh(x[1] / 5)
    ode = ca.Function("ode", [x, u, p], [ca.vertcat(x[1], force / p[0])])
    h = SAMPLE / 10
    k1 = ode(x, u, p)
    k2 = ode(x + h / 2 * k1, u, p)
    k3 = ode(x + h / 2 * k2, u, p)
    k4 = ode(x + h * k3, u, p)
    step = ca.Function("one_step", [x, u, p], [x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)])
    after = x
    for _ in range(10):
        after = step(after, u, p)
    return ca.Function("one_sample", [x, u, p], [after]).expand()


def two_tanks(inlet: float = 0.08, outlet: float = 0.04) -> ca.Function:
    """ḣ₁ = c₁(1 − v) q − c₂√h₁,  ḣ₂ = c₁ v q + c₂√h₁ − c₂√h₂, levels and inputs clipped to [0, 1].

    SX; the clipping by fmin and fmax makes kinks, 1e-5 keeps the roots differentiable.
    """
    x, u = ca.SX.sym("x", 2), ca.SX.sym("u", 2)
    h1, h2, pump, valve = (ca.fmax(0, ca.fmin(s, 1)) for s in ca.vertsplit(ca.vertcat(x, u)))
    through, out = (outlet * ca.sqrt(h + 1e-5) for h in (h1, h2))
    rhs = ca.vertcat(inlet * (1 - valve) * pump - through, inlet * valve * pump + through - out)
    return ca.Function("ode", [x, u], [rhs], ["x", "u"], ["dhdt"])


MODELS = (
    Borrowed(
        name="van der Pol oscillator",
        source="CasADi, docs/examples/python/direct_multiple_shooting.py",
        function=van_der_pol(),
        plant=van_der_pol(stiffness=0.8),
        states=(Signal("x1", low=-0.25), Signal("x2")),
        inputs=(Signal("u", low=-1.0, high=1.0),),
        result="o0",
        dt=0.5,
        substeps=4,
        corrected=("x1",),
        start=(0.0, 1.0),
        region=((-1.5, 1.5), (-1.5, 1.5)),
        logs=(24, 16),
        idle=(0.0,),
        hold=(0.5, 2.0),
        state={"x1": 1.0, "x2": 1.0},
        input={"u": 1.0},
        target={},
        horizon=20,
    ),
    Borrowed(
        name="rocket",
        source="CasADi, docs/examples/python/rocket.py",
        function=rocket(),
        plant=rocket(drag=0.08, burn=0.12),
        states=(Signal("position"), Signal("speed"), Signal("mass")),
        inputs=(Signal("thrust", low=-0.5, high=0.5),),
        dt=0.2,
        discrete=True,
        corrected=("position", "speed", "mass"),
        start=(0.0, 0.0, 1.0),
        region=((-1.0, 1.0), (1.0, 4.0), (0.9, 1.1)),
        logs=(24, 16),
        idle=(0.0,),
        hold=(0.4, 3.0),
        state={"position": 1.0, "speed": 0.1},
        input={"thrust": 0.1},
        target={"position": 2.0},
        horizon=40,
    ),
    Borrowed(
        name="nonlinear oscillator",
        source="CasADi, docs/examples/python/sysid.py",
        changed="bounds of the input: the example only identifies, under inputs in [0, 0.1]",
        function=oscillator(),
        plant=oscillator(rubbing=0.01),
        states=(Signal("y"), Signal("dy")),
        inputs=(Signal("u", low=-0.1, high=0.1),),
        parameters={
            "M": Parameter(5e-6, domain="positive"),
            "c": Parameter(2e-4, domain="positive"),
            "k": Parameter(1.0, domain="positive"),
            "k_NL": Parameter(5.0, domain="positive"),
        },
        true={"M": 5.625e-6, "c": 2.3e-4, "k": 1.0, "k_NL": 4.69},
        dt=SAMPLE,
        discrete=True,
        corrected=("y", "dy"),
        start=(0.0, 0.0),
        region=((-0.1, 0.1), (-30.0, 30.0)),
        logs=(12, 40),
        idle=(0.0,),
        swing=1.0,
        hold=(SAMPLE, 10 * SAMPLE),
        state={"y": 1.0},
        input={"u": 1e-3},
        target={"y": 0.05},
        horizon=20,
    ),
    Borrowed(
        name="two tanks",
        source="NeuroMANCER, psl/nonautonomous.py TwoTank; after APMonitor, Level Control",
        changed="written in CasADi, published in NumPy; levels are clipped and roots get 1e-5, "
        "where it stops a full tank",
        function=two_tanks(),
        plant=two_tanks(inlet=0.1, outlet=0.03),
        states=(Signal("h1", "m"), Signal("h2", "m")),
        inputs=(Signal("pump", low=0.0, high=1.0), Signal("valve", low=0.0, high=1.0)),
        dt=1.0,
        corrected=("h1", "h2"),
        start=(0.1, 0.1),
        region=((0.0, 0.2), (0.0, 0.2)),
        idle=(0.0, 0.0),
        hold=(2.0, 15.0),
        state={"h1": 1.0, "h2": 1.0},
        input={"pump": 1e-3, "valve": 1e-3},
        target={"h1": 0.5, "h2": 0.6},
        horizon=25,
    ),
)
