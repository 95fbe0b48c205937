"""Fitting: from logs to a model.

fit        the residual and the declared parameters together, by gradient steps
identify   the declared parameters alone, by Levenberg–Marquardt from several starts
identify_delay   the whole steps by which the input is late
regress    a residual that has a closed form: linear in features, Gaussian process

All three minimise the misfit of `loss` and return a FitResult; none changes what it is given.
"""

from hybridmodel.fitting.closed_form import regress
from hybridmodel.fitting.gradient import fit
from hybridmodel.fitting.identify import identify
from hybridmodel.fitting.input_delay import DelayResult, identify_delay
from hybridmodel.fitting.result import FitResult, Progress
from hybridmodel.fitting.targets import standardized

__all__ = [
    "DelayResult",
    "FitResult",
    "Progress",
    "fit",
    "identify",
    "identify_delay",
    "regress",
    "standardized",
]
