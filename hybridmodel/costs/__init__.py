"""Costs, written once in CasADi and used by every planner."""

from hybridmodel.costs.cost import Cost
from hybridmodel.costs.cost_to_go import CostToGo
from hybridmodel.costs.minimum_time import MinimumTime
from hybridmodel.costs.quadratic import Quadratic
from hybridmodel.costs.tracking import Tracking

__all__ = ["Cost", "CostToGo", "MinimumTime", "Quadratic", "Tracking"]
