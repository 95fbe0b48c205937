"""`identify_delay`: by how many whole steps the input is late.

    n̂ = argmin over n of the validation error of  InputDelay(system, n)  with its own fitted p

For each candidate the declared parameters are fitted anew, since a wrong delay is paid for by
wrong parameters (lags above all).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.optimize
import torch

from hybridmodel.batches import batch
from hybridmodel.data import Dataset
from hybridmodel.fitting.identify import FARTHEST, identify
from hybridmodel.fitting.loss import misfit, output_scale, validation_error
from hybridmodel.fitting.noise import one_step_noise
from hybridmodel.fitting.result import Progress, settled
from hybridmodel.fitting.starts import Starts
from hybridmodel.model import HybridModel
from physics import InputDelay, System


@dataclass(frozen=True)
class DelayResult:
    """The input delay that fits best, and how the others compare.

    steps        n̂
    system       the System with this delay and its parameters
    model        the same as a model
    validation   by n: root mean square validation error, outputs scaled, over the same windows
    parameters   by n: the fitted parameters
    """

    steps: int
    system: System
    model: HybridModel
    validation: Mapping[int, float]
    parameters: Mapping[int, Mapping[str, float]]

    @property
    def margin(self) -> float:
        """The second best error over the best one; near 1 the logs do not tell the delay."""
        others = [error for n, error in self.validation.items() if n != self.steps]
        best = self.validation[self.steps]
        return min(others, default=math.inf) / best if best > 0 else math.inf


def identify_delay(
    system: System,
    train: Dataset,
    validation: Dataset,
    *,
    dt: float | None = None,
    steps: Sequence[int] = range(6),
    fit_parameters: Sequence[str] = (),
    initial: Literal["measured", "estimated"] = "measured",
    horizon: int = 20,
    stride: int = 1,
    starts: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> DelayResult:
    """Identify a delay of the input in whole steps, together with declared parameters.

    system    without a delay
    dt        step [s]; default: that of the logs
    steps     candidates n; `hybridmodel.data.estimate_delay` between what was commanded and what
              moved gives a range
    initial   "measured": parameters by `identify`, windows start from measured or logged states;
              "estimated": windows start from the states that fit their own samples best at each
              value of the parameters, for systems that do not measure all of it (an InputLag)
    starts    of `identify`
    horizon, stride   of the windows. All candidates are compared on the same ones

    Raises ValueError naming the argument.
    """
    steps = sorted(set(steps))
    if not steps or steps[0] < 0:
        raise ValueError(f"steps must be whole numbers of at least 0, got {steps}")
    if initial not in ("measured", "estimated"):
        raise ValueError(f"initial must be 'measured' or 'estimated', got {initial!r}")
    if initial == "estimated" and not fit_parameters:
        raise ValueError("initial: 'estimated' needs fit_parameters; fill in x by `with_states`")
    if system.memory:
        raise ValueError(
            f"system: {type(system).__name__} has memory of its own; give the system inside it"
        )
    errors, models = {}, {}
    for n in steps:
        delayed = InputDelay(system=system, steps=n) if n else system
        given = train.dt if dt is None else dt
        model = HybridModel(delayed, dt=None if system.dt else given, fit_parameters=fit_parameters)
        # windows begin after n steps of history: so they begin at the same sample for every n
        parts = [_from(data, steps[-1] - n) for data in (train, validation)]
        if initial == "estimated":
            models[n], errors[n] = _with_starts(model, *parts, horizon=horizon, stride=stride)
        elif fit_parameters:
            found = identify(
                model,
                *parts,
                horizon=horizon,
                starts=starts,
                stride=stride,
                seed=seed,
                progress=progress,
            )
            models[n], errors[n] = found.model, found.validation
        else:
            windows = batch(model, parts[1], horizon, stride=stride)
            models[n] = model
            errors[n] = validation_error(model, windows, output_scale(model, parts[0]))
            model.noise.copy_(one_step_noise(model, parts[1]))
    best = min(steps, key=lambda n: errors[n])
    return DelayResult(
        steps=best,
        system=models[best].system,
        model=models[best],
        validation=errors,
        parameters={
            n: {name: float(m.system.parameters[name]) for name in fit_parameters}
            for n, m in models.items()
        },
    )


def _with_starts(
    model: HybridModel, train: Dataset, validation: Dataset, *, horizon: int, stride: int
) -> tuple[HybridModel, float]:
    """The model at the parameters that fit best, each window from its best start, and its error.

    Variable projection: Levenberg–Marquardt on ϑ alone, the starts solved for at each ϑ.
    """
    model, scale = copy.deepcopy(model), output_scale(model, train)
    estimate = Starts(model, train, scale, None)
    windows, held_out = (
        batch(model, data, horizon, stride=stride, start="guessed") for data in (train, validation)
    )

    def misfits(theta: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            model.theta.copy_(torch.as_tensor(theta))
            error = misfit(model, estimate(model, windows), scale)
        return torch.nan_to_num(error, nan=1e6).clamp(-1e6, 1e6).flatten().numpy()

    found = scipy.optimize.least_squares(
        misfits,
        model.theta.detach().numpy().copy(),
        bounds=(-FARTHEST, FARTHEST),
        diff_step=1e-4,
        x_scale="jac",
        max_nfev=20,
        xtol=1e-5,
    )
    misfits(found.x)
    error = validation_error(model, estimate(model, held_out), scale)
    model.noise.copy_(one_step_noise(model, validation))
    return settled(model), error


def _from(data: Dataset, first: int) -> Dataset:
    """The logs without their first steps."""
    if min(log.steps for log in data) <= first:
        raise ValueError(f"steps: a log is no longer than the largest delay, {first} steps")
    return Dataset(log[first:] for log in data)
