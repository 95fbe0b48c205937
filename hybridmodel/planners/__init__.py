"""Planners: one algorithm, one file, all on one OptimalControlProblem."""

from hybridmodel.planners.cem import CEM
from hybridmodel.planners.descent import GradientDescent
from hybridmodel.planners.multiple_shooting import MultipleShooting
from hybridmodel.planners.planner import Plan, Planner, Status

__all__ = ["CEM", "GradientDescent", "MultipleShooting", "Plan", "Planner", "Status"]
