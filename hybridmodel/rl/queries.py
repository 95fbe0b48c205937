"""How wrong a model is where its planner looks.

    eₖ = Fᵏ(x, u) ⊟ plantᵏ(x, u),   (x, u) from plans, from what was executed, from other logs

A model is fitted on logs and used on plans. A plan is an optimum of the model, so it leans on the
model's errors where these make it look cheap; an error on logs alone does not tell the return
(Lambert et al., Objective Mismatch in Model-based Reinforcement Learning, L4DC 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hybridmodel.batches import batch
from hybridmodel.collection import Environment
from hybridmodel.data import Dataset
from hybridmodel.deviation import deviations
from hybridmodel.model import HybridModel
from hybridmodel.planners import Plan
from hybridmodel.rl.open_loop import at_rest, check_plans, check_step, open_loop
from physics import tangent

COLUMNS = ("held out", "executed", "queried")


@dataclass(frozen=True, eq=False)
class QueryErrors:
    """Prediction errors of one model on three distributions of states and inputs.

    steps    (K,) after how many steps
    errors   by column, (N, K, n) e by signal in its unit: "held out" logs, what was "executed",
             what the planner "queried"
    scale    (n,) range of each signal over the held-out logs
    names    the n signals
    dropped  how many queries the plant could not follow to their end
    """

    steps: tuple[int, ...]
    errors: Mapping[str, np.ndarray]
    scale: np.ndarray
    names: tuple[str, ...]
    dropped: int

    def each(self, column: str, step: int) -> np.ndarray:
        """(N,) the error of every window after `step` steps: rms over signals, each scaled."""
        if column not in self.errors:
            raise ValueError(f"column must be one of {list(self.errors)}, got {column!r}")
        if step not in self.steps:
            raise ValueError(f"step must be one of {self.steps}, got {step}")
        scaled = self.errors[column][:, self.steps.index(step)] / self.scale
        return np.sqrt(np.mean(scaled**2, axis=1))

    def at(self, column: str, step: int) -> float:
        """Root mean square over windows and scaled signals."""
        return float(np.sqrt(np.mean(self.each(column, step) ** 2)))

    def median(self, column: str, step: int) -> float:
        """The error of the middle window, which a few that run away do not move."""
        return float(np.median(self.each(column, step)))


def query_errors(
    model: HybridModel,
    environment: Environment,
    plans: Sequence[tuple[float, Plan]],
    *,
    executed: Dataset,
    held_out: Dataset,
    steps: Sequence[int] = (1, 5, 20),
    count: int = 200,
    seed: int = 0,
) -> QueryErrors:
    """Errors of `model` on plans, on what was executed, and on other logs.

    environment  a plant that can be placed: `reset(options={"state": x})`
    plans        (t, plan) as `RecedingHorizon.plans` holds them, of this model or of another
    executed     the logs of the closed loop,  held_out  logs that neither was fitted on
    steps        after how many steps errors are taken
    count        how many pieces of plans the plant is asked about, drawn with `seed`; fewer where
                 plans have fewer

    What candidates a planner looked at and discarded is not among the queries. Each query places
    the plant at a planned state, so the model's own error in reaching that state is not counted.
    It is placed with nothing under way in its actuator, and so is the memory of the model.
    Raises ValueError naming the argument.
    """
    taken = tuple(steps)
    if not taken or not all(isinstance(k, int | np.integer) and k >= 1 for k in taken):
        raise ValueError(f"steps must be whole numbers of at least 1, got {taken}")
    if list(taken) != sorted(set(taken)):
        raise ValueError(f"steps must increase, got {taken}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    system, longest = model.system, taken[-1]
    if system.nd:
        names = [s.name for s in system.exogenous]
        raise ValueError(f"model: plants cannot be placed with exogenous signals, got {names}")
    check_step(environment, model, "environment")
    check_plans(plans)
    usable = [plan for _, plan in plans if np.isfinite(plan.x).all() and np.isfinite(plan.u).all()]
    usable = [plan for plan in usable if len(plan.u) >= longest]
    if not usable:
        raise ValueError(
            f"plans must hold a finite plan of at least {longest} steps, got {len(plans)} plans"
        )
    for name, data in (("executed", executed), ("held_out", held_out)):
        if data[0].x is None and system.outputs != system.states:
            raise ValueError(f"{name} must hold x: {type(system).__name__} does not measure it")
    n = len(system.states)
    for plan in usable:
        if plan.u.shape[1] != system.nu or plan.x.shape[1] < n:
            raise ValueError(
                f"plans must have u (H, {system.nu}) and x (H+1, {n}) or wider, got "
                f"{plan.u.shape} and {plan.x.shape}"
            )
    pairs = [(i, k) for i, plan in enumerate(usable) for k in range(len(plan.u) - longest + 1)]
    generator = np.random.default_rng(seed)
    chosen = sorted(generator.choice(len(pairs), min(count, len(pairs)), replace=False).tolist())
    starts, inputs, reached = [], [], []
    for number, at in enumerate(chosen):
        i, k = pairs[at]
        x0, u = usable[i].x[k, :n], usable[i].u[k : k + longest]
        true = open_loop(environment, system, x0, u, seed=seed if number == 0 else None)
        if len(true) == longest + 1 and np.isfinite(true).all():
            starts.append(true[0])
            inputs.append(u)
            reached.append(true[list(taken)])
    if not starts:
        raise ValueError("plans: the plant ended all of them early; are its bounds the problem's?")
    queried = _errors(model, np.array(starts), np.array(inputs), np.array(reached), taken)
    known = held_out[0].x is not None
    logged = np.concatenate([log.x if known else log.y for log in held_out])  # type: ignore[misc]
    span = np.ptp(deviations(system.states, logged), axis=0)
    return QueryErrors(
        steps=taken,
        errors={
            "held out": _along(model, held_out, taken),
            "executed": _along(model, executed, taken),
            "queried": queried,
        },
        scale=np.where(span > 0, span, 1.0),
        names=tuple(s.name for s in tangent.signals(system.states)),
        dropped=len(chosen) - len(starts),
    )


def _along(model: HybridModel, data: Dataset, steps: tuple[int, ...]) -> np.ndarray:
    """e (N, K, n) over all windows of the logs."""
    windows = batch(model, data, steps[-1], start="true")
    truth = windows.y if windows.x is None else windows.x
    at = list(steps)
    with torch.no_grad():
        predicted = model.rollout(windows.x0(model), windows.u, windows.d)
        predicted = predicted[:, at, : truth.shape[-1]]
        return model.state_difference(predicted, truth[:, at]).cpu().numpy()


def _errors(
    model: HybridModel, x0: np.ndarray, u: np.ndarray, reached: np.ndarray, steps: tuple[int, ...]
) -> np.ndarray:
    """e (N, K, n) from states x0 (N, n) under u (N, H, nu) to those reached (N, K, n)."""
    rest = at_rest(model, x0)
    start, inputs, truth = (torch.as_tensor(v, dtype=model.theta.dtype) for v in (rest, u, reached))
    with torch.no_grad():
        predicted = model.rollout(start, inputs)
        predicted = predicted[:, list(steps), : truth.shape[-1]]
        return model.state_difference(predicted, truth).cpu().numpy()
