"""Twelve models that others published as examples of CasADi, do-mpc and acados.

Each is written from its equations, as the casadi.Function in which its users have it; where that
differs from the example, `changed` says how. `physics.from_casadi` loads the Function as it is.
`run` fits and plans on one of them, and applies the plan to its plant.
"""

from benchmarks.models import acados_style, casadi_style, dompc_style, polymerisation
from benchmarks.models.borrowed import Borrowed
from benchmarks.models.running import Outcome, run

MODELS = (
    *casadi_style.MODELS,
    *dompc_style.MODELS,
    polymerisation.MODEL,
    *acados_style.MODELS,
)

__all__ = ["MODELS", "Borrowed", "Outcome", "run"]
