"""Receding-horizon control: any planner becomes a policy that never emits a bad action.

    every n steps:  plan from x̂, warm-started by the shifted plan before
    between:        u = u*ⱼ + Kⱼ (x̂ ⊟ x*ⱼ), the gains K where the plan has some

The chain where a plan is due and there is none to be trusted:
plan → shifted plan → feedback or hold → safe input. What it gives is clipped to bounds and rates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hybridmodel.closed_loop.acceptance import checks_itself
from hybridmodel.closed_loop.attempt import Raised, attempt
from hybridmodel.closed_loop.limits import limits_of
from hybridmodel.closed_loop.policy import Fallback, Parameters, RecedingHorizon
from hybridmodel.estimators.estimator import Estimator
from hybridmodel.estimators.measured import MeasuredState
from hybridmodel.planners import Plan, Planner
from hybridmodel.planners.checking import checking_time
from physics import Paced


def receding_horizon(
    planner: Planner,
    *,
    every: int = 1,
    deadline: float | None = None,
    estimator: Estimator | None = None,
    parameters: Parameters = None,
    fallback: Fallback = None,
    safe_input: np.ndarray | None = None,
    rate_limit: Sequence[float] | np.ndarray | None = None,
    first_plan: Plan | None = None,
    verify: bool | None = None,
) -> RecedingHorizon:
    """A policy that replans with `planner` every `every` steps.

    deadline    seconds for each plan and its check; with one, a planner of this package plans
                once here, so that nothing is compiled under it
    estimator   default: the measured output is the state
    parameters  problem parameters π of every plan, or a function t ↦ π of the time of the plan
    fallback    where no plan reaches: a law (t, x̂) ↦ u (nu,), or "hold" the last input for at most
                one horizon; None: the last plan's gains for as long, where it has some
    safe_input  (nu,) where that too fails; default: zero, clipped to the bounds
    rate_limit  (nu,) largest |u̇| per second, of the problem's dt; default: the problem's
    first_plan  warm start of the first plan, from any planner
    verify      whether plans are held against a rollout of the model; None: those of planners
                that are not from `hybridmodel.planners`, which do so themselves

    For any observation and any outcome of the planner the action is finite, inside the problem's
    input bounds and within the rate limit of the action before; on time where the planner polls
    its deadline. Raises ValueError naming the argument.
    """
    problem = planner.problem
    if not getattr(planner, "interruptible", True):
        raise ValueError(
            f"planner: {type(planner).__name__} cannot be interrupted, so it may hang the loop; "
            "let it run in a process of its own: hybridmodel.planners.worker.Worker(make_planner)"
        )
    if isinstance(problem.model.system, Paced):
        raise ValueError("planner: its plan chooses the length of its steps, a loop has dt alone")
    if not 1 <= every <= problem.horizon:
        raise ValueError(f"every must lie in [1, horizon {problem.horizon}], got {every}")
    nu = problem.model.system.nu
    safe = np.zeros(nu) if safe_input is None else np.asarray(safe_input, dtype=float)
    if safe.shape != (nu,) or not np.isfinite(safe).all():
        raise ValueError(f"safe_input must be {nu} finite numbers, got {safe_input!r}")
    if not (fallback is None or fallback == "hold" or callable(fallback)):
        raise ValueError(f"fallback must be None, 'hold' or a law (t, x̂) ↦ u, got {fallback!r}")
    if deadline is not None and not deadline > 0:
        raise ValueError(f"deadline must be a positive number of seconds, got {deadline}")
    if not callable(parameters):
        problem.problem_parameters(parameters)
    if first_plan is not None:
        planner.fitting(first_plan)
    checked = not checks_itself(planner) if verify is None else verify
    reserve = checking_time(problem) if checked and deadline is not None else 0.0
    if deadline is not None and reserve >= deadline:
        raise ValueError(f"deadline must exceed {reserve:.2g} s, which checking a plan takes")
    if deadline is not None and checks_itself(planner):
        _begun(planner, parameters)
    return RecedingHorizon(
        planner=planner,
        every=every,
        deadline=deadline,
        estimator=MeasuredState(problem.model) if estimator is None else estimator,
        parameters=parameters,
        safe_input=np.clip(safe, problem.input_low, problem.input_high),
        first_plan=first_plan,
        fallback=fallback,
        limits=limits_of(problem, rate_limit),
        verify=checked,
        reserve=reserve,
    )


def _begun(planner: Planner, parameters: Parameters) -> None:
    """One plan from the neutral state; what comes of it does not matter."""
    given = attempt(lambda: parameters(0.0)) if callable(parameters) else parameters
    model = planner.problem.model
    neutral = model.initial_state(torch.tensor(model.system.neutral, dtype=torch.float64))
    if not isinstance(given, Raised):
        attempt(lambda: planner.plan(neutral.detach().numpy(), parameters=given))
