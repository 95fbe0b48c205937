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

from hybridmodel.planners.judge import Judge
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
    keep         share of the elites that stay among the next N
    penalty      cost of one unit of constraint violation
    precision    in which candidates are drawn, and judged where the kernel runs; "float32" is about
                 twice as fast. The plan's own states and cost are float64 always

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
        problem, real = self.problem, self.precision
        low, high = (torch.as_tensor(b).to(real) for b in (problem.input_low, problem.input_high))
        half = (high - low) / 2
        judge = Judge(problem, task.x0, task.pi, self.precision)
        generator = torch.Generator().manual_seed(task.seed)
        knots = self.basis.shape[1]
        mean = ((low + high) / 2).expand(knots, -1)
        deviation = (self.spread * half).expand(knots, -1)
        chosen = mean[None]
        if task.guess is not None:
            guess = torch.tensor(task.guess.u)
            mean = (self.projection @ guess).to(real).clamp(low, high)
            deviation = (self.warm_spread * half).expand(knots, -1)
            chosen = mean[None]
        best, best_cost, iteration = None, float("inf"), 0
        for iteration in range(1, self.iterations + 1):  # noqa: B007 - told afterwards
            # noise of single precision is as good, and drawn five times as fast
            drawn = torch.randn(self.samples, knots, len(half), generator=generator)
            points = torch.addcmul(mean, deviation, drawn.to(real)).clamp_(low, high)
            points[0] = mean
            points[1 : 1 + len(chosen)] = chosen
            with torch.no_grad():
                cost, violation = judge(self._inputs(points))
            total = cost.add_(violation, alpha=self.penalty).nan_to_num_(nan=torch.inf)
            order = torch.argsort(total, stable=True)[: self.elites]
            elite, least = points[order], float(total[order[0]])
            if least < best_cost:
                best, best_cost = elite[0], least
            spread, centre = torch.std_mean(elite, 0)
            mean = centre.lerp_(mean, self.smoothing)
            deviation = spread.lerp_(deviation, self.smoothing)
            chosen = elite[: self.kept]
            if task.expired():
                break
        expired = iteration < self.iterations
        status = Status.DEADLINE if expired else Status.BUDGET
        u = self._inputs(mean if best is None else best).double().numpy()
        u = np.clip(u, problem.input_low, problem.input_high)  # single precision rounds them
        return Candidate(
            u=u,
            status=Status.FAILED if best is None else status,
            iterations=iteration,
            evaluated=judge.evaluate(u),
        )

    def _inputs(self, points: Tensor) -> Tensor:
        """Inputs (…, H, nu) that are linear between knots (…, knots, nu)."""
        identity = self.basis.shape[0] == self.basis.shape[1]
        return points if identity else self.basis.to(points.dtype) @ points


def _basis(horizon: int, knots: int | None) -> Tensor:
    """(H, knots) matrix of linear interpolation, the identity without knots."""
    if knots is None:
        return torch.eye(horizon, dtype=torch.float64)
    position = torch.linspace(0, knots - 1, horizon, dtype=torch.float64)
    grid = torch.arange(knots, dtype=torch.float64)
    return (1 - (position[:, None] - grid).abs()).clamp(min=0)
