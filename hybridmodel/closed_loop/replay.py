"""A recording once more, through the same chain of decisions."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Literal

import numpy as np

from hybridmodel.closed_loop.policy import RecedingHorizon
from hybridmodel.closed_loop.recording import Recording
from hybridmodel.closed_loop.standing import Standing
from hybridmodel.planners import Plan


def replay(
    recording: Recording,
    policy: RecedingHorizon,
    *,
    plans: Literal["recorded", "anew"] = "recorded",
) -> np.ndarray:
    """Actions (T, nu) of a policy made like the recorded one, at the recorded t and x̂.

    plans  "recorded": what the planner answered then, so that the same bits come out; "anew": it
           is asked again, which gives the same bits where it is deterministic and was not stopped
           by its deadline

    The policy itself stays as it is. Raises ValueError naming the argument.
    """
    nx, nu = policy.planner.problem.model.nx, policy.planner.problem.model.system.nu
    if (recording.x.shape[1], recording.u.shape[1]) != (nx, nu):
        raise ValueError(
            f"policy must be for {recording.x.shape[1]} states and {recording.u.shape[1]} inputs, "
            f"got one for {nx} and {nu}"
        )
    if plans not in ("recorded", "anew"):
        raise ValueError(f"plans must be 'recorded' or 'anew', got {plans!r}")
    again = replace(policy)
    again.begin(recording.seed, recording.beginning)
    actions = []
    for k, t in enumerate(recording.t):
        x = recording.x[k] if np.isfinite(recording.x[k]).all() else None

        def answer(t: float, x: np.ndarray, standing: Standing, k: int = k) -> Plan | str:
            recorded = recording.answers[k]
            if recorded is None:
                raise ValueError(f"policy must plan when the recorded one did: it asks at step {k}")
            return recorded

        asked = again.ask if plans == "anew" else answer
        actions.append(again.act(float(t), recording.y[k], x, asked, time.perf_counter()))
    return np.array(actions)
