"""Control in closed loop: a planner becomes a policy that never emits a bad action.

receding_horizon   planner ↦ RecedingHorizon, the policy
Predictor          the same behind `predict`, for tools that expect it
Recording          its last steps, for a file
replay             the same steps again
"""

from hybridmodel.closed_loop.policy import RecedingHorizon
from hybridmodel.closed_loop.prediction import Predictor
from hybridmodel.closed_loop.receding_horizon import receding_horizon
from hybridmodel.closed_loop.recording import Recording
from hybridmodel.closed_loop.replay import replay

__all__ = ["Predictor", "RecedingHorizon", "Recording", "receding_horizon", "replay"]
