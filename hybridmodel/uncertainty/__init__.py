"""How far a prediction may be off, and whether that is so.

propagate      the distribution of what a model predicts: TS1, TS∞ or moments
calibration    coverage by horizon, reliability, width over RMSE on held-out logs
recalibrate    factors from validation logs that make intervals hold what they say
split_noise    which part of the one-step error is the sensors', and which the process's
disagreement, rollout_disagreement, support   what the model knows that it does not know
"""

from hybridmodel.uncertainty.coverage import Calibration, calibration, recalibrate
from hybridmodel.uncertainty.disagreement import disagreement, rollout_disagreement, support
from hybridmodel.uncertainty.noise import Noise, split_noise
from hybridmodel.uncertainty.prediction import Prediction
from hybridmodel.uncertainty.propagation import propagate
from hybridmodel.uncertainty.recalibration import Recalibration

__all__ = [
    "Calibration",
    "Noise",
    "Prediction",
    "Recalibration",
    "calibration",
    "disagreement",
    "propagate",
    "recalibrate",
    "rollout_disagreement",
    "split_noise",
    "support",
]
