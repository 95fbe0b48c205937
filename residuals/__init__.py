"""Learned residuals, written once in torch: r_θ(z), exactly zero before training."""

from residuals.bases import Fourier, HiddenLayers, Monomials
from residuals.ensemble import Ensemble, SoftBounds, Stacked
from residuals.gaussian_process import GaussianProcess
from residuals.history import GRU, Window
from residuals.linear import Linear
from residuals.mlp import MLP
from residuals.potential import Potential
from residuals.residual import (
    Gated,
    Limit,
    Probabilistic,
    Recurrent,
    Regressed,
    Rescale,
    Residual,
    Standardize,
)
from residuals.support import Support
from residuals.supported import Supported, SupportedProbabilistic, SupportedRegressed
from residuals.views import Distribution, Doubt, Epistemic, Members

__all__ = [
    "GRU",
    "MLP",
    "Distribution",
    "Doubt",
    "Ensemble",
    "Epistemic",
    "Fourier",
    "Gated",
    "GaussianProcess",
    "HiddenLayers",
    "Limit",
    "Linear",
    "Members",
    "Monomials",
    "Potential",
    "Probabilistic",
    "Recurrent",
    "Regressed",
    "Rescale",
    "Residual",
    "SoftBounds",
    "Stacked",
    "Standardize",
    "Support",
    "Supported",
    "SupportedProbabilistic",
    "SupportedRegressed",
    "Window",
]
