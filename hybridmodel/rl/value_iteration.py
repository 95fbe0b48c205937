"""The value of a task, from the model alone: fitted value iteration with a look ahead.

    Vᵢ₊₁(x) ← max_u −Σ_{k<H} γᵏ ℓ(xₖ, uₖ) + γᴴ Vᵢ(x_H)

Munos & Szepesvári, Finite-Time Bounds for Fitted Value Iteration, JMLR 2008, eq. 3, with H steps in
place of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from hybridmodel.planners.planner import FEASIBLE
from hybridmodel.planners.sampling import knots as shapes
from hybridmodel.planners.sampling.points import Points
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.reward import Reward
from hybridmodel.rl.value import Value, WithValue
from hybridmodel.whole import whole
from residuals import MLP

Progress = Callable[[Mapping[str, float]], None]
_BATCH, _NEAR, _PENALTY = 256, 0.3, 1e3
_LAST = 0.02  # of the first step size
_ASCENT = 100  # steps to the largest reward


def iterate_value(
    problem: OptimalControlProblem,
    states: np.ndarray,
    *,
    rounds: int = 60,
    candidates: int = 32,
    knots: int = 3,
    epochs: int = 20,
    rate: float = 3e-3,
    hidden: tuple[int, ...] = (64, 64),
    seed: int = 0,
    progress: Progress | None = None,
) -> WithValue:
    """The stage cost of a problem with the value of what lies behind its horizon.

    problem     its model, stage cost, horizon H, bounds, caution and discount γ < 1 are used; other
                constraints are not, and where it has a risk, a chance or a rate it is refused
    states      (N, nx) where V is fitted: those that plans will visit and their ends
    candidates  inputs drawn for each state and round, from `knots` points, beside the best so far
                and one near it

    V starts at what the best state and input would give for ever, and never exceeds it. All states
    look ahead in one batch; those from which every candidate leaves the bounds are left out.
    Raises ValueError naming the argument.
    """
    states = np.asarray(states, dtype=float)
    model, H = problem.model, problem.horizon
    wanted = states.ndim == 2 and states.shape[1] == model.nx and len(states) > 1
    if not wanted or not np.isfinite(states).all():
        raise ValueError(f"states must be finite with shape (N, {model.nx}), got {states.shape}")
    others = {"risk": problem.risk, "chance": problem.chance, "stop": problem.stop}
    others["input_rate"] = problem.input_rate
    if unfit := [name for name, wish in others.items() if wish is not None]:
        raise ValueError(f"problem: a value is not iterated under its {unfit[0]}")
    if Reward(model.system, problem.cost, parameters=np.zeros(len(problem.cost.parameters))).timed:
        raise ValueError("problem: its stage cost depends on the step k, and a value does not")
    if not problem.discount < 1:
        raise ValueError("problem: value iteration wants a discount below 1, got 1")
    if problem.n_parameters:
        raise ValueError("problem: a value cannot follow parameters π, and this problem has some")
    rounds, candidates = whole("rounds", rounds), whole("candidates", candidates)
    epochs, knots = whole("epochs", epochs), whole("knots", knots)
    coordinates = Coordinates(model.system)
    x, pi = torch.tensor(states), torch.zeros(H + 1, 0, dtype=torch.float64)
    o = coordinates.observed(x)
    value = _blank(problem, x, o, hidden, seed)
    cost = WithValue(problem.cost, coordinates, value)
    low, high = problem.input_low, problem.input_high
    lowest, highest = problem.state_bounds
    ahead = OptimalControlProblem(
        model,
        cost,
        horizon=H,
        discount=problem.discount,
        input_bounds=(low.tolist(), high.tolist()),
        state_bounds=(lowest.tolist(), highest.tolist()),
        caution=problem.caution,
    )
    space = Points(shapes.of(knots), H, low, high, torch.float64)
    origin, generator = space.origin(None), torch.Generator().manual_seed(seed)
    best = torch.zeros(len(x), 1, space.count, len(low), dtype=torch.float64)
    for i in range(rounds):
        points = torch.cat([best, *_drawn(space, best, candidates, generator)], 1)
        with torch.no_grad():
            total, violation = ahead.cost_of(x[:, None], space.inputs(points, origin), pi)
        leader = (total + _PENALTY * violation).nan_to_num(nan=torch.inf).argmin(1, keepdim=True)
        least, outside = total.gather(1, leader)[:, 0], violation.gather(1, leader)[:, 0]
        best = points[torch.arange(len(x)), leader[:, 0]][:, None]
        known = torch.isfinite(least) & (outside <= FEASIBLE)
        if int(known.sum()) < 2:
            raise ValueError("states: from nearly all of them every candidate leaves the bounds")
        step = rate * max(_LAST, (1 + math.cos(math.pi * i / rounds)) / 2)
        error = _regressed(value, o[known], -least[known], epochs, step, generator)
        if progress is not None:
            progress({"round": i, "mean": -float(least[known].mean()), "rmse": error})
    value.requires_grad_(False)
    return cost


def _blank(
    problem: OptimalControlProblem, x: Tensor, o: Tensor, hidden: tuple[int, ...], seed: int
) -> Value:
    """V = what the best reward would give for ever, in units of what rewards differ by."""
    reward = Reward(problem.model.system, problem.cost)
    with torch.no_grad():
        r = reward(x, torch.tensor(problem.rest).expand(len(x), -1))
    spread, ceiling = float(r.std()), _largest(problem, reward, x) / (1 - problem.discount)
    scale = problem.horizon * max(spread, 1e-12)
    # not odd as tanh is, which would see no slope in what is symmetric
    network = MLP(hidden, activation="silu", seed=seed).sized(o.shape[-1], 1)
    unit = torch.tensor([scale], dtype=torch.float64)
    network.standardize(o.mean(0), o.std(0).clamp_min(1e-6), unit)
    mean = torch.tensor(ceiling, dtype=torch.float64)
    return Value(network, mean, ceiling=ceiling, width=scale / 20)


def _largest(problem: OptimalControlProblem, reward: Reward, x: Tensor) -> float:
    """The largest reward of a step, by ascent from all states, inside their range and the bounds
    of inputs."""
    low, high = x.min(0).values, x.max(0).values
    bottom, top = torch.tensor(problem.input_low), torch.tensor(problem.input_high)
    # from rest, the middle and both bounds of the inputs, at shares of the ranges
    starts = torch.stack([torch.tensor(problem.rest), (bottom + top) / 2, bottom, top])
    span, reach = (high - low).clamp_min(1e-12), (top - bottom).clamp_min(1e-12)
    a = ((x - low) / span).repeat(len(starts), 1).requires_grad_()
    b = ((starts.repeat_interleave(len(x), 0) - bottom) / reach).requires_grad_()
    optimizer = torch.optim.Adam([a, b], lr=0.05)
    best = -math.inf
    for step in range(_ASCENT):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / _ASCENT) + 1e-4
        r = reward(low + span * a, bottom + reach * b)
        best = max(best, float(r.detach().nan_to_num(nan=-math.inf).max()))
        optimizer.zero_grad()
        (-r.nan_to_num(nan=0.0).sum()).backward()
        optimizer.step()
        with torch.no_grad():
            a.clamp_(0, 1)
            b.clamp_(0, 1)
    return best


def _drawn(
    space: Points, best: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Points near the best ones, and anywhere; extreme inputs are often the best."""
    shape = len(best), count, *best.shape[2:]
    near = best + _NEAR * torch.randn(best.shape, generator=generator, dtype=best.dtype)
    anywhere = 2 * torch.rand(shape, generator=generator, dtype=best.dtype) - 1
    anywhere[:, ::2] = anywhere[:, ::2].sign()
    return space.clipped(near), anywhere


def _regressed(
    value: Value, o: Tensor, v: Tensor, epochs: int, rate: float, generator: torch.Generator
) -> float:
    """Least squares from the present weights; the RMSE left, in the unit of reward."""
    wanted, unit = value.unbounded_from(v), v.std().clamp_min(1e-12)
    optimizer = torch.optim.Adam(value.parameters(), lr=rate)
    for _ in range(epochs):
        for index in torch.randperm(len(o), generator=generator).split(_BATCH):
            misfit = ((value.unbounded(o[index])[:, 0] - wanted[index]) / unit).square().mean()
            optimizer.zero_grad()
            misfit.backward()
            optimizer.step()
    optimizer.zero_grad()
    with torch.no_grad():
        return float((value(o)[:, 0] - v).square().mean().sqrt())
