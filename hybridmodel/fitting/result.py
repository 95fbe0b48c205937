"""What every way of fitting returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from hybridmodel.model import HybridModel

Progress = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class FitResult:
    """A fitted model and how it came about.

    model       the best one found; its system holds the fitted parameter values, its `noise` the
                variance of what one step leaves unexplained
    history     one row an epoch: stage, horizon, epoch, loss, validation, seconds; of `regress`
                one a span
    validation  its root mean square error over the longest horizon, outputs scaled by s
    physics     the same error of the model as it came in, without its residual
    stopped     "converged" (early stopping or tolerance), "budget" or "interrupted", and
                "unimproved" where `regress` returns the model as it came in
    per_log     by name the values (logs,) of parameters that differ from log to log
    """

    model: HybridModel
    history: tuple[Mapping[str, float], ...]
    validation: float
    physics: float
    stopped: str
    seconds: float
    per_log: Mapping[str, np.ndarray] = field(default_factory=dict)


def settled(model: HybridModel) -> HybridModel:
    """The fitted parameter values written into the system, ϑ back at zero, ready to predict."""
    model.eval()
    return model.rebuilt(model.system.with_parameters(**model.parameter_values()))


def without_residual(model: HybridModel) -> HybridModel:
    """The physics of a model alone."""
    return HybridModel(
        model.system.with_parameters(**model.parameter_values()),
        dt=model.dt,
        integrator=model.integrator,
        substeps=model.substeps,
    ).to(model.theta)
