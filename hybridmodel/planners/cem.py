"""The cross-entropy method, all candidates in one batched rollout.

    uⁱ ~ N(μ, σ²) clipped to the bounds,  μ, σ ← mean and deviation of the best K of N

Rubinstein & Kroese, The Cross-Entropy Method, 2004, algorithm 2.2 with smoothing; time-
correlated samples and kept elites after Pinneri et al., CoRL 2020 (iCEM).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hybridmodel.planners.planner import Candidate, Planner, Status, Task
from hybridmodel.problem import OptimalControlProblem

_PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


class CEM(Planner):
    """Cross-entropy method.

    samples      N candidates an iteration
    elites       K best ones that move the distribution
    iterations   how often
    knots        inputs are linear between this many points of the horizon; None: every step free
    spread       initial σ as a share of half the input range
    warm_spread  the same with a warm start
    smoothing    share of the old μ and σ kept in an update
    keep         share of the elites that stay candidates
    penalty      cost of one unit of constraint violation
    precision    in which candidates are judged where the kernel runs; "float32" is about twice as
                 fast. The plan itself is float64 always

    The best candidate of all iterations is returned. Raises ValueError naming the argument.
    """

    def __init__(
        self,
        problem: OptimalControlProblem,
        *,
        samples: int = 500,
        elites: int = 50,
        iterations: int = 5,
        knots: int | None = None,
        spread: float = 0.6,
        warm_spread: float = 0.3,
        smoothing: float = 0.1,
        keep: float = 0.3,
        penalty: float = 1e3,
        precision: Literal["float32", "float64"] = "float64",
    ) -> None:
        if not 2 <= elites < samples:
            raise ValueError(f"elites must lie in [2, samples), got {elites} of {samples}")
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        if knots is not None and not 2 <= knots <= problem.horizon:
            raise ValueError(f"knots must lie in [2, horizon {problem.horizon}], got {knots}")
        if precision not in _PRECISIONS:
            raise ValueError(f"precision must be one of {list(_PRECISIONS)}, got {precision!r}")
        if not (np.isfinite(problem.input_low).all() and np.isfinite(problem.input_high).all()):
            raise ValueError("input_bounds must be finite for CEM: it draws inside them")
        self.problem, self.samples, self.elites, self.iterations = (
            problem,
            samples,
            elites,
            iterations,
        )
        self.spread, self.warm_spread, self.smoothing = spread, warm_spread, smoothing
        self.kept, self.penalty = round(keep * elites), penalty
        self.precision = _PRECISIONS[precision]
        self.basis = _basis(problem.horizon, knots)
        # knots nearest to given inputs; torch.linalg.lstsq gives other bits for other addresses
        self.projection = torch.as_tensor(np.linalg.pinv(self.basis.numpy()))

    def search(self, task: Task) -> Candidate:
        problem = self.problem
        low, high = (torch.as_tensor(b) for b in (problem.input_low, problem.input_high))
        half = (high - low) / 2
        x0, pi = torch.tensor(task.x0), torch.tensor(task.pi)
        generator = torch.Generator().manual_seed(task.seed)
        knots = self.basis.shape[1]
        mean = ((low + high) / 2).expand(knots, -1)
        deviation = (self.spread * half).expand(knots, -1)
        chosen: list[Tensor] = []
        if task.guess is not None:
            guess = torch.tensor(task.guess.u)
            mean = (self.projection @ guess).clamp(low, high)
            deviation = (self.warm_spread * half).expand(knots, -1)
            chosen = [mean[None]]
        best, best_cost, iteration = None, float("inf"), 0
        judge = problem.judge(precision=self.precision)
        for iteration in range(1, self.iterations + 1):  # noqa: B007 - told afterwards
            drawn = torch.randn(
                self.samples, knots, len(half), generator=generator, dtype=mean.dtype
            )
            points = (mean + deviation * drawn).clamp(low, high)
            points[0] = mean
            points = torch.cat([points, *chosen])
            with torch.no_grad():
                cost, violation = judge(x0, self._inputs(points), pi)
            total = torch.nan_to_num(cost + self.penalty * violation, nan=torch.inf)
            order = torch.argsort(total, stable=True)[: self.elites]
            elite = points[order]
            if total[order[0]] < best_cost:
                best, best_cost = elite[0], float(total[order[0]])
            mean = self.smoothing * mean + (1 - self.smoothing) * elite.mean(0)
            deviation = self.smoothing * deviation + (1 - self.smoothing) * elite.std(0)
            chosen = [elite[: self.kept]]
            if task.expired():
                break
        expired = iteration < self.iterations
        status = Status.DEADLINE if expired else Status.BUDGET
        points = mean if best is None else best
        return Candidate(
            u=self._inputs(points).numpy(),
            status=Status.FAILED if best is None else status,
            iterations=iteration,
        )

    def _inputs(self, points: Tensor) -> Tensor:
        """Inputs (…, H, nu) that are linear between knots (…, knots, nu)."""
        return points if self.basis.shape[0] == self.basis.shape[1] else self.basis @ points


def _basis(horizon: int, knots: int | None) -> Tensor:
    """(H, knots) matrix of linear interpolation, the identity without knots."""
    if knots is None:
        return torch.eye(horizon, dtype=torch.float64)
    position = torch.linspace(0, knots - 1, horizon, dtype=torch.float64)
    grid = torch.arange(knots, dtype=torch.float64)
    return (1 - (position[:, None] - grid).abs()).clamp(min=0)
