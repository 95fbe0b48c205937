"""Models of the examples of do-mpc.

Their form: named variables in structures (`_x`, `_u`, `_z`, `_tvp`, `_p`, `_w`), a right-hand
side set row by row, and `model._rhs_fun`, a Function of those six that are often empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import casadi as ca
from casadi.tools.structure import entry, struct_SX, struct_symSX

from benchmarks.models.borrowed import Borrowed
from physics import Parameter, Signal

Rows = Mapping[str, Any]  # of expressions, by name


def right_hand_side(
    states: tuple[str, ...],
    inputs: tuple[str, ...],
    parameters: tuple[str, ...],
    rows: Callable[[Rows, Rows, Rows], Rows],
) -> ca.Function:
    """What `model.setup()` makes of the rows: rhs_fun(_x, _u, _z, _tvp, _p, _w)."""
    symbols: list[Any] = [
        struct_symSX([entry(name) for name in names] or [entry("default", shape=(0, 0))])
        for names in (states, inputs, (), (), parameters, ())
    ]
    x, u, _, _, p, _ = symbols
    rhs = struct_SX(x)
    for name, row in rows(x, u, p).items():
        rhs[name] = row
    names = ["_x", "_u", "_z", "_tvp", "_p", "_w"]
    return ca.Function("rhs_fun", symbols, [rhs], names, ["_rhs"])


def stirred_tank(fouling: float = 0.0) -> ca.Function:
    """Reaction A → B → C, 2A → D in a cooled tank: concentrations, temperatures.

    SX, time in hours; published without fouling, the share of heat exchange that is lost while
    the tank is much warmer than its wall.
    """

    def rows(x: Rows, u: Rows, p: Rows) -> Rows:
        kelvin = x["T_R"] + 273.15
        k1 = p["beta"] * 1.287e12 * ca.exp(-9758.3 / kelvin)  # 1/h
        k2 = 1.287e12 * ca.exp(-9758.3 / kelvin)  # 1/h
        k3 = 9.043e9 * ca.exp(-p["alpha"] * 8560.0 / kelvin)  # l/(mol h)
        density, heat, volume = 0.9342, 3.01, 10.01  # kg/l, kJ/(kg K), l
        exchange = 4032.0 * 0.215  # kJ/(h K)
        warm = x["T_R"] - x["T_K"]
        if fouling:
            warm *= 1 - fouling * ca.tanh(warm / 5)
        released = 4.2 * k1 * x["C_a"] - 11.0 * k2 * x["C_b"] - 41.85 * k3 * x["C_a"] ** 2
        return {
            "C_a": u["F"] * (5.1 - x["C_a"]) - k1 * x["C_a"] - k3 * x["C_a"] ** 2,
            "C_b": -u["F"] * x["C_b"] + k1 * x["C_a"] - k2 * x["C_b"],
            "T_R": -released / (density * heat)
            + u["F"] * (130.0 - x["T_R"])
            - exchange * warm / (density * heat * volume),
            "T_K": (u["Q_dot"] + exchange * warm) / (5.0 * 2.0),
        }

    return right_hand_side(("C_a", "C_b", "T_R", "T_K"), ("F", "Q_dot"), ("alpha", "beta"), rows)


def bioreactor(death: float = 0.0) -> ca.Function:
    """Fed-batch penicillin fermentation: biomass, substrate, product, volume.

    SX, and one named scalar argument for each variable. Time in hours; published without death.
    """
    names = ("X_s", "S_s", "P_s", "V_s", "inp", "Y_x", "S_in")
    symbols = [ca.SX.sym(name) for name in names]
    biomass, substrate, product, volume, feed, yield_, feed_substrate = symbols
    growth = 0.02 * substrate / (0.05 + substrate + substrate**2 / 5.0)
    thinned = feed / volume
    rhs = ca.vertcat(
        growth * biomass - death * biomass - thinned * biomass,
        -growth * biomass / yield_ - 0.004 * biomass / 1.2 + thinned * (feed_substrate - substrate),
        0.004 * biomass - thinned * product,
        feed,
    )
    return ca.Function("rhs", symbols, [rhs], list(names), ["xdot"])


MASSES_A = (
    (0.96033209, 0.19734663, 0.01973449, 0.0013227),
    (-0.39337056, 0.96033209, 0.19470123, 0.01973449),
    (0.01973449, 0.0013227, 0.96033209, 0.19734663),
    (0.19470123, 0.01973449, -0.39337056, 0.96033209),
)
MASSES_B = (
    (1.98671102e-02, 6.63119354e-05),
    (1.97346631e-01, 1.32269963e-03),
    (6.63119354e-05, 1.98671102e-02),
    (1.32269963e-03, 1.97346631e-01),
)


def oscillating_masses(damping: float = 0.0, hardening: float = 0.0) -> ca.Function:
    """x⁺ = A x + B u, two masses between three springs; published without damping or hardening.

    SX with matrices; do-mpc's "discrete" model type.
    """
    x, u = ca.SX.sym("x", 4), ca.SX.sym("u", 2)
    position, speed = x[[0, 2]], x[[1, 3]]
    force = u - damping * speed - hardening * position**3
    names = ["_x", "_u", "_z", "_tvp", "_p", "_w"]
    ahead = ca.DM(MASSES_A) @ x + ca.DM(MASSES_B) @ force
    return ca.Function("rhs_fun", [x, u, *[ca.SX(0, 0)] * 4], [ahead], names, ["_rhs"])


RHS_FUN = ("x", "u", "", "", "p", "")

MODELS = (
    Borrowed(
        name="continuous stirred tank reactor",
        source="do-mpc, examples/CSTR/template_model.py",
        changed="the upper bound of T_R is hard, published soft",
        function=stirred_tank(),
        plant=stirred_tank(fouling=0.4),
        states=(
            Signal("C_a", "mol/l", 0.1, 2.0),
            Signal("C_b", "mol/l", 0.1, 2.0),
            Signal("T_R", "°C", 50.0, 140.0),
            Signal("T_K", "°C", 50.0, 140.0),
        ),
        inputs=(Signal("F", "1/h", 5.0, 100.0), Signal("Q_dot", "kJ/h", -8500.0, 0.0)),
        parameters={
            "alpha": Parameter(1.0, domain=(0.9, 1.1)),
            "beta": Parameter(1.0, domain="positive"),
        },
        true={"alpha": 1.02, "beta": 1.1},
        arguments=RHS_FUN,
        dt=0.005,
        corrected=("T_R", "T_K"),
        start=(0.8, 0.5, 134.14, 130.0),
        region=((0.6, 1.0), (0.3, 0.7), (129.0, 139.0), (125.0, 135.0)),
        idle=(5.0, -6000.0),
        hold=(0.02, 0.1),
        state={"C_b": 1.0},
        input={"F": 1e-7, "Q_dot": 1e-11},
        target={"C_b": 0.6},
        horizon=20,
    ),
    Borrowed(
        name="batch bioreactor",
        source="do-mpc, examples/batch_reactor/template_model.py",
        changed="named scalar arguments in place of six structures",
        function=bioreactor(),
        plant=bioreactor(death=0.01),
        states=(
            Signal("X_s", "g/l", 0.0, 3.7),
            Signal("S_s", "g/l", -0.01),
            Signal("P_s", "g/l", 0.0, 3.0),
            Signal("V_s", "l", 0.0),
        ),
        inputs=(Signal("inp", "l/h", 0.0, 0.2),),
        parameters={
            "Y_x": Parameter(0.4, domain="positive"),
            "S_in": Parameter(200.0, "g/l", "positive"),
        },
        true={"Y_x": 0.5, "S_in": 220.0},
        dt=1.0,
        corrected=("X_s", "S_s"),
        start=(1.0, 0.5, 0.0, 120.0),
        region=((0.5, 1.5), (0.2, 0.8), (0.0, 0.0), (100.0, 140.0)),
        idle=(0.0,),
        hold=(2.0, 10.0),
        state={"X_s": 1.0},
        input={"inp": 1e-2},
        target={"X_s": 1.6},
        horizon=20,
    ),
    Borrowed(
        name="oscillating masses",
        source="do-mpc, examples/oscillating_masses_discrete/template_model.py",
        function=oscillating_masses(),
        plant=oscillating_masses(damping=0.4, hardening=0.2),
        states=(
            Signal("x_0", low=-4.0, high=4.0),
            Signal("x_1", low=-10.0, high=10.0),
            Signal("x_2", low=-4.0, high=4.0),
            Signal("x_3", low=-10.0, high=10.0),
        ),
        inputs=(Signal("u_0", low=-0.5, high=0.5), Signal("u_1", low=-0.5, high=0.5)),
        arguments=("x", "u", "", "", "", ""),
        dt=0.5,  # as published, though the matrices are those of 0.2
        discrete=True,
        corrected=("x_0", "x_1", "x_2", "x_3"),
        start=(1.0, 0.0, -0.5, 0.5),
        region=((-2.0, 2.0), (-1.0, 1.0), (-2.0, 2.0), (-1.0, 1.0)),
        idle=(0.0, 0.0),
        hold=(1.0, 5.0),
        state={"x_0": 1.0, "x_1": 1.0, "x_2": 1.0, "x_3": 1.0},
        input={"u_0": 1e-2, "u_1": 1e-2},
        target={},
        horizon=25,
    ),
)
