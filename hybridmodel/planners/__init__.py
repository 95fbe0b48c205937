"""Planners: one algorithm, one file, all on one OptimalControlProblem."""

from hybridmodel.planners.cem import CEM
from hybridmodel.planners.collocation import Collocation
from hybridmodel.planners.descent import GradientDescent
from hybridmodel.planners.icem import ICEM
from hybridmodel.planners.ilqr import ILQR
from hybridmodel.planners.mppi import MPPI
from hybridmodel.planners.multiple_shooting import MultipleShooting
from hybridmodel.planners.planner import Plan, Planner, Status
from hybridmodel.planners.portfolio import Portfolio
from hybridmodel.planners.random_shooting import RandomShooting
from hybridmodel.planners.refined import RefinedCEM
from hybridmodel.planners.sampling.knots import (
    CubicKnots,
    EveryStep,
    Held,
    Knots,
    LinearKnots,
    Rates,
)
from hybridmodel.planners.sampling.search import Sampling
from hybridmodel.planners.sensitivity import Sensitivity, differentiable, sensitivity
from hybridmodel.planners.sqp import SQP
from hybridmodel.planners.tvlqr import tvlqr
from hybridmodel.planners.verification import PlanCheck, check_plan
from hybridmodel.planners.worker import Worker

__all__ = [
    "CEM",
    "ICEM",
    "ILQR",
    "MPPI",
    "SQP",
    "Collocation",
    "CubicKnots",
    "EveryStep",
    "GradientDescent",
    "Held",
    "Knots",
    "LinearKnots",
    "MultipleShooting",
    "Plan",
    "PlanCheck",
    "Planner",
    "Portfolio",
    "RandomShooting",
    "Rates",
    "RefinedCEM",
    "Sampling",
    "Sensitivity",
    "Status",
    "Worker",
    "check_plan",
    "differentiable",
    "sensitivity",
    "tvlqr",
]
