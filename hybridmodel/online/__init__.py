"""Learning while the loop runs: `adapt(policy, model, …)` makes a policy that changes its model.

After each step a Learner has seen (x, u, d) ↦ x⁺ once, and moves the model in place, in bounded
time and memory. Planners read parameters and weights from the model at each plan, so that nothing
is built anew.
"""

from hybridmodel.online.adaptation import Adaptive, adapt
from hybridmodel.online.learner import Learner
from hybridmodel.online.parameters import ParameterFilter
from hybridmodel.online.residual import ResidualUpdate

__all__ = ["Adaptive", "Learner", "ParameterFilter", "ResidualUpdate", "adapt"]
