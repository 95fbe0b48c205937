"""How long it takes to hold a plan against the model."""

from __future__ import annotations

import statistics
import time

import numpy as np

from hybridmodel.problem import OptimalControlProblem


def checking_time(problem: OptimalControlProblem) -> float:
    """Seconds that holding one plan against a rollout takes here, once that is built."""
    H, model = problem.horizon, problem.model
    x, u = np.zeros(model.nx), np.zeros((H, model.system.nu))
    pi = np.zeros((H + 1, problem.n_parameters))
    taken = []
    for _ in range(6):
        began = time.perf_counter()
        problem.evaluate(x, u, pi)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])
