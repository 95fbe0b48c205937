"""States of a log that did not measure them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hybridmodel.data import Dataset, Trajectory
from hybridmodel.estimators.ekf import EKF
from hybridmodel.estimators.estimator import Estimator


def with_states(
    data: Dataset, estimator: Estimator, *, states: int | None = None, smooth: bool = False
) -> Dataset:
    """The logs with x̂ written into their x (T+1, n), the estimator reset before each.

    x̂ₖ is filtered: it knows y₀ … yₖ alone, so the first ones of a log are still finding the
    state. `smooth` takes an EKF's estimate that knows the whole log instead. An x that was there
    is replaced; the estimates are those of the estimator's model, with its errors.

    states   n, number of continuous states; None: those of `estimator.model`

    Raises ValueError where an estimate is not finite, or cannot be smoothed.
    """
    if smooth and not isinstance(estimator, EKF):
        raise ValueError(f"smooth needs an EKF as estimator, got {type(estimator).__name__}")
    if states is None:
        model = getattr(estimator, "model", None)
        if model is None:
            raise ValueError(
                f"states must be given: {type(estimator).__name__} has no model that tells it"
            )
        states = len(model.system.states)
    found = []
    for i, log in enumerate(data):
        x = (
            estimator.smooth(log)
            if isinstance(estimator, EKF) and smooth
            else _filtered(log, estimator)
        )
        x = x[:, :states]
        if not np.isfinite(x).all():
            row = int(np.flatnonzero(~np.isfinite(x).all(-1))[0])
            raise ValueError(
                f"estimator {type(estimator).__name__} gives no finite state at sample {row} of "
                f"trajectories[{i}]"
            )
        found.append(replace(log, x=x))
    return Dataset(found)


def _filtered(log: Trajectory, estimator: Estimator) -> np.ndarray:
    estimator.reset()
    rows = [estimator.update(log.y[0], None)]
    for k in range(log.steps):
        rows.append(estimator.update(log.y[k + 1], log.u[k], log.d[k]))
    return np.array(rows)
