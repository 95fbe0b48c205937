"""The industrial polymerisation reactor among the examples of do-mpc, stiff and with ten states."""

from __future__ import annotations

import casadi as ca

from benchmarks.models.borrowed import Borrowed
from benchmarks.models.dompc_style import RHS_FUN, Rows, right_hand_side
from physics import Parameter, Signal

# the masses end where what may be fed in all, accum_monom, has become them
STATES = (
    Signal("m_W", "kg", 0.0, 10000.0 + 0.333 * 30000.0),
    Signal("m_A", "kg", 0.0, 853.0 + 0.667 * 30000.0),
    Signal("m_P", "kg", 26.0, 26.5 + 853.0 + 0.667 * 30000.0),
    Signal("T_R", "K", 363.15 - 2.0, 363.15 + 2.0),
    Signal("T_S", "K", 298.0, 400.0),
    Signal("Tout_M", "K", 298.0, 400.0),
    Signal("T_EK", "K", 288.0, 400.0),
    Signal("Tout_AWT", "K", 288.0, 400.0),
    Signal("accum_monom", "kg", 0.0, 30000.0),
    Signal("T_adiab", "K", high=382.15),
)
START = (
    10000.0,
    853.0,
    26.5,
    363.15,
    363.15,
    363.15,
    308.15,
    308.15,
    300.0,
    363.15 + 853.0 * 950.0 / ((10000.0 + 853.0 + 26.5) * 5.0),
)


def polymerisation(loss: float = 0.0) -> ca.Function:
    """Semi-batch polymerisation with jacket and external heat exchanger: 10 states.

    SX, time in hours; published without loss of heat to a room of 298 K, kJ/(h K).
    """

    def rows(x: Rows, u: Rows, p: Rows) -> Rows:
        water, monomer, polymer = x["m_W"], x["m_A"], x["m_P"]
        mass = water + monomer + polymer
        conversion = polymer / (monomer + polymer)
        speed = p["k_0"] * (4.0 * (1 - conversion) + 32.0 * conversion)
        inside = speed * ca.exp(-8500.0 / (8.314 * x["T_R"]))  # 1/h
        outside = speed * ca.exp(-8500.0 / (8.314 * x["T_EK"]))
        reacted = inside * (monomer - monomer * 200.0 / mass)  # kg/h, in the vessel
        reacted_outside = outside * monomer / mass * 200.0  # in the exchanger
        exchange = 65.0 * (17280.0 * water + 3600.0 * monomer + 360.0 * polymer) / mass
        d_water = 0.333 * u["m_dot_f"]
        d_monomer = 0.667 * u["m_dot_f"] - reacted - reacted_outside
        d_polymer = reacted + reacted_outside
        d_reactor = (
            u["m_dot_f"] * 3.0 * (298.15 - x["T_R"])
            - exchange * (x["T_R"] - x["T_S"])
            - 20000.0 * 5.0 * (x["T_R"] - x["T_EK"])
            + p["delH_R"] * reacted
            - loss * (x["T_R"] - 298.15)
        ) / (5.0 * mass)
        through = 3600000.0 * (x["T_EK"] - x["Tout_AWT"])
        return {
            "m_W": d_water,
            "m_A": d_monomer,
            "m_P": d_polymer,
            "T_R": d_reactor,
            "T_S": exchange * (x["T_R"] - 2 * x["T_S"] + x["Tout_M"]) / (0.47 * 39000.0),
            "Tout_M": (
                300000.0 * 4.2 * (u["T_in_M"] - x["Tout_M"]) + exchange * (x["T_S"] - x["Tout_M"])
            )
            / (4.2 * 5000.0),
            "T_EK": (
                20000.0 * 5.0 * (x["T_R"] - x["T_EK"]) - through + reacted_outside * p["delH_R"]
            )
            / (5.0 * 200.0),
            "Tout_AWT": (100000.0 * 4.2 * (u["T_in_EK"] - x["Tout_AWT"]) + through)
            / (4.2 * 1000.0),
            "accum_monom": u["m_dot_f"],
            "T_adiab": p["delH_R"] / (mass * 5.0) * d_monomer
            - (d_monomer + d_water + d_polymer) * monomer * p["delH_R"] / (mass * mass * 5.0)
            + d_reactor,
        }

    names = tuple(state.name for state in STATES)
    inputs = ("m_dot_f", "T_in_M", "T_in_EK")
    return right_hand_side(names, inputs, ("delH_R", "k_0"), rows)


MODEL = Borrowed(
    name="industrial polymerisation reactor",
    source="do-mpc, examples/industrial_poly/template_model.py",
    changed="steps of 10 s instead of 50 s, explicit; upper bounds of the masses",
    function=polymerisation(),
    plant=polymerisation(loss=2e4),
    states=STATES,
    inputs=(
        Signal("m_dot_f", "kg/h", 0.0, 3e4),
        Signal("T_in_M", "K", 333.15, 373.15),
        Signal("T_in_EK", "K", 333.15, 373.15),
    ),
    parameters={
        "delH_R": Parameter(950.0, "kJ/kg", "positive"),
        "k_0": Parameter(7.0, "1/h", "positive"),
    },
    true={"delH_R": 950.0 * 1.2, "k_0": 7.0 * 1.25},
    arguments=RHS_FUN,
    dt=10 / 3600,  # published: 50 s by implicit collocation; the exchanger has 0.8 s
    substeps=6,
    corrected=("T_R", "T_adiab"),
    start=START,
    region=tuple((0.98 * x, 1.02 * x) for x in START),
    logs=(6, 30),
    idle=(0.0, 333.15, 333.15),
    hold=(0.01, 0.05),
    state={"T_R": 1.0, "m_P": 1e-5},
    input={"m_dot_f": 1e-9},
    target={"T_R": 363.15, "m_P": 500.0},
    horizon=20,
)
