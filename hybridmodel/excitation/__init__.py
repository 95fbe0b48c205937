"""Policies that make logs worth learning from.

Multisine, Chirp, RandomSteps    open loop: waves inside the bounds of the inputs
Hold, Centered, Dithered         one command; a wave with a pull to zero, or on a policy
ComputedTorque, GeometricFlight  a robot or a quadrotor that follows a random FourierMotion
"""

from hybridmodel.excitation.computed_torque import ComputedTorque
from hybridmodel.excitation.feedback import Centered, Dithered, Hold
from hybridmodel.excitation.flight import GeometricFlight
from hybridmodel.excitation.motion import FourierMotion, Sample
from hybridmodel.excitation.waves import Chirp, Excitation, Multisine, RandomSteps

__all__ = [
    "Centered",
    "Chirp",
    "ComputedTorque",
    "Dithered",
    "Excitation",
    "FourierMotion",
    "GeometricFlight",
    "Hold",
    "Multisine",
    "RandomSteps",
    "Sample",
]
