"""The optimal control problem: the only definition of "the objective", and what it is made of."""

from hybridmodel.problem.caution import Caution
from hybridmodel.problem.chance import Chance
from hybridmodel.problem.constraints import Soft
from hybridmodel.problem.problem import OptimalControlProblem
from hybridmodel.problem.risk import Expected, MeanDeviation, Risk, TailMean, Worst
from hybridmodel.problem.stopping import Stop

__all__ = [
    "Caution",
    "Chance",
    "Expected",
    "MeanDeviation",
    "OptimalControlProblem",
    "Risk",
    "Soft",
    "Stop",
    "TailMean",
    "Worst",
]
