"""Estimators: from what is measured, by a plant or in a log, to the model's state.

MeasuredState   the measurement is the state, memory is made of past inputs
EKF             extended Kalman filter on the model
MovingHorizon   moving-horizon estimation on the model, within the bounds of its states
with_states     a log with the estimates of its states
"""

from hybridmodel.estimators.ekf import EKF
from hybridmodel.estimators.estimator import Estimator
from hybridmodel.estimators.filtered import with_states
from hybridmodel.estimators.measured import MeasuredState
from hybridmodel.estimators.moving_horizon import MovingHorizon

__all__ = ["EKF", "Estimator", "MeasuredState", "MovingHorizon", "with_states"]
