"""Learned residuals, written once in torch: r_θ(z), exactly zero before training."""

from residuals.mlp import MLP
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

__all__ = [
    "MLP",
    "Gated",
    "Limit",
    "Probabilistic",
    "Recurrent",
    "Regressed",
    "Rescale",
    "Residual",
    "Standardize",
]
