"""The best of all candidates that a search looks at."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hybridmodel.planners.judge import Judge
from hybridmodel.planners.planner import FEASIBLE, Task
from hybridmodel.planners.sampling.points import Points, within_rate
from hybridmodel.problem import OptimalControlProblem

Judged = tuple[float, np.ndarray, float]  # cost, states (H+1, nx), violation


class Contest:
    """Totals J = cost + penalty · violation of points (N, K, nu), and the best ever seen.

    best    points (K, nu) of the least total, None as long as none was a number
    origin  (nu,) as in `Points`
    """

    def __init__(
        self, problem: OptimalControlProblem, space: Points, task: Task, penalty: float
    ) -> None:
        self.problem, self.space, self.penalty, self.guess = problem, space, penalty, task.guess
        self.judge = Judge(problem, task.x0, task.pi, space.dtype)
        remembers = problem.input_rate is not None
        self.origin = space.origin(problem.previous(task.x0) if remembers else task.previous_input)
        self._rate = None
        if problem.input_rate is not None:
            before, change = problem.previous(task.x0), problem.input_rate * problem.model.dt
            self._rate = torch.tensor(before).to(space.dtype), torch.tensor(change).to(space.dtype)
        self.best: Tensor | None = None
        self.least = float("inf")

    def inputs(self, points: Tensor) -> Tensor:
        """Inputs (…, H, nu) of points (…, K, nu), no faster than the problem lets them change."""
        u = self.space.inputs(points, self.origin)
        return u if self._rate is None else within_rate(u, *self._rate)

    def __call__(self, points: Tensor) -> Tensor:
        """Totals (N,), inf where the model gives no number."""
        cost, violation = self.judge(self.inputs(points))
        totals = torch.add(cost, violation, alpha=self.penalty)
        # a cost of −inf is no success either
        totals = totals.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf)
        known = totals.detach()
        leader = int(known.argmin())
        if (least := float(known[leader])) < self.least:
            self.best, self.least = points[leader].detach().clone(), least
        return totals

    def winner(self, *others: Tensor) -> tuple[np.ndarray, Judged]:
        """Inputs (H, nu) of the best of what was seen, other points (K, nu) and the warm start,
        as judged in float64; feasible ones before others."""
        seen = [*others] if self.best is None else [self.best, *others]
        tried = [self.inputs(points).double().numpy() for points in seen]
        tried += [] if self.guess is None else [self.guess.u]
        low, high = self.problem.input_low, self.problem.input_high
        clipped = [np.clip(u, low, high) for u in tried]  # single precision rounds them
        results = [(u, self.judge.evaluate(u)) for u in clipped]
        return min(results, key=lambda result: self._rank(*result[1]))

    def _rank(self, cost: float, x: np.ndarray, violation: float) -> tuple[bool, bool, float]:
        total = cost + self.penalty * violation
        known = bool(np.isfinite(total) and np.isfinite(x).all())
        return not known, not violation <= FEASIBLE, total if known else 0.0
