"""Gradient descent through the rollout, several starts in one batch.

u ← Π(u − α_t · Adam(∇_u J(x0, u))),   then  u ← Π(u − α H ∇_u J)

Π the projection on the input bounds, H of L-BFGS (`differential.quasi_newton`). Kingma & Ba, Adam,
ICLR 2015, algorithm 1, with a cosine step size: Loshchilov & Hutter, SGDR, ICLR 2017, eq. 5.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hybridmodel.planners.differential.quasi_newton import QuasiNewton
from hybridmodel.planners.judge import Judge
from hybridmodel.planners.planner import FEASIBLE, Candidate, Clock, Planner, Status, Task
from hybridmodel.planners.sampling.points import within_rate
from hybridmodel.problem import OptimalControlProblem


class GradientDescent(Planner):
    """Projected Adam on the inputs, finished by projected L-BFGS from the best that it saw.

    iterations   gradient steps
    rate         first step size, as a share of half the input range (of 1 where unbounded)
    starts       how many sequences are improved side by side: the guess (or rest), then random
    spread       of the random starts, a share of half the input range
    tolerance    converged where a whole step changes no input by more, as a share of that half
    penalty      cost of one unit of constraint violation
    finish       share of the iterations that are L-BFGS's, each of which tries four lengths at
                 once; 0 is Adam alone, of which one step is taken always

    Raises ValueError naming the argument.
    """

    def __init__(
        self,
        problem: OptimalControlProblem,
        *,
        iterations: int = 200,
        rate: float = 0.1,
        starts: int = 4,
        spread: float = 0.3,
        tolerance: float = 1e-7,
        penalty: float = 1e3,
        finish: float = 0.5,
    ) -> None:
        if iterations < 1 or starts < 1:
            raise ValueError(
                f"iterations and starts must be at least 1, got {iterations} and {starts}"
            )
        if not rate > 0:
            raise ValueError(f"rate must be positive, got {rate}")
        if not 0 <= finish <= 1:
            raise ValueError(f"finish must be a share in [0, 1], got {finish}")
        self.problem, self.iterations, self.rate = problem, iterations, rate
        self.starts, self.spread, self.tolerance = starts, spread, tolerance
        self.penalty, self.finish = penalty, finish

    def search(self, task: Task) -> Candidate:
        problem = self.problem
        low, high = (torch.as_tensor(b) for b in (problem.input_low, problem.input_high))
        wide = (high - low) / 2
        half = torch.where(torch.isfinite(wide) & (wide > 0), wide, 1.0)
        generator = torch.Generator().manual_seed(task.seed)
        shape = (self.starts, problem.horizon, len(half))
        noise = torch.randn(shape, generator=generator, dtype=half.dtype)
        noise[0] = 0
        rest = np.tile(problem.rest, (problem.horizon, 1))
        guess = torch.tensor(rest if task.guess is None else task.guess.u)
        u = (guess + self.spread * half * noise).clamp(low, high)
        judge = Judge(problem, task.x0, task.pi, calls=self.iterations)
        rate = None
        if problem.input_rate is not None:
            before, change = problem.previous(task.x0), problem.input_rate * problem.model.dt
            rate = torch.tensor(before), torch.tensor(change)
        judged = _Judged(judge, u, half, self.penalty, (low, high), rate)
        last = max(1, self.iterations - round(self.finish * self.iterations))
        status, iteration = self._adam(judged, task, (low / half, high / half), last)
        if status is Status.BUDGET and judged.found and last < self.iterations:
            left = self.iterations - last
            status, more = self._finished(judged, task, (low / half, high / half), left)
            iteration += more
        if status is Status.CONVERGED and judged.limited:
            status = Status.BUDGET  # inputs that a rate holds have no slope to converge in
        u, evaluated = judged.best.numpy(), judge.evaluate(judged.best.numpy())
        if task.guess is not None:
            given = np.clip(task.guess.u, problem.input_low, problem.input_high)
            before = judge.evaluate(given)
            if _rank(before) < _rank(evaluated):
                u, evaluated = given, before
                status = Status.BUDGET if status is Status.CONVERGED else status
        return Candidate(
            u=u,
            status=status if judged.found else Status.FAILED,
            iterations=iteration,
            evaluated=evaluated,
        )

    def _adam(
        self, judged: _Judged, task: Task, bounds: tuple[Tensor, Tensor], steps: int
    ) -> tuple[Status, int]:
        """So many steps; how they ended and how many they were."""
        v = judged.leaders
        first, second = torch.zeros_like(v), torch.zeros_like(v)
        clock = Clock(task)
        for step in range(1, steps + 1):
            _, gradient = judged(v)
            first = 0.9 * first + 0.1 * gradient
            second = 0.99 * second + 0.01 * gradient**2
            unbiased = first / (1 - 0.9**step), second / (1 - 0.99**step)
            share = (1 + math.cos(math.pi * (step - 1) / steps)) / 2
            moved = v - self.rate * share * unbiased[0] / (unbiased[1].sqrt() + 1e-12)
            moved = moved.clamp(*bounds)
            change, v = (moved - v).abs().amax(), moved
            if change < self.tolerance * share and judged.known:
                return Status.CONVERGED, step
            if clock.late():
                return Status.DEADLINE, step
        return Status.BUDGET, steps

    def _finished(
        self, judged: _Judged, task: Task, bounds: tuple[Tensor, Tensor], steps: int
    ) -> tuple[Status, int]:
        """From each start's best; ends where the one that leads has converged."""
        _, horizon, nu = judged.leaders.shape

        def value(v: Tensor) -> tuple[Tensor, Tensor]:
            totals, gradient = judged(v.unflatten(-1, (horizon, nu)))
            return totals, gradient.flatten(1)

        low, high = (bound.expand(horizon, nu).flatten() for bound in bounds)
        clock = Clock(task)
        descent = QuasiNewton(value, judged.leaders.flatten(1), low, high)
        for step in range(1, steps + 1):
            descent.step()
            leader = int(descent.least.argmin())
            flat = math.sqrt(self.tolerance) * (1 + abs(float(descent.least[leader])))
            # at a kink, as where a constraint begins to be paid for, steps are short but not flat
            still = descent.move[leader] < self.tolerance and descent.slope[leader] < flat
            if still and judged.known:
                return Status.CONVERGED, step
            if clock.late():
                return Status.DEADLINE, step
        return Status.BUDGET, steps


def _rank(evaluated: tuple[float, np.ndarray, float]) -> tuple[bool, float]:
    cost, _, violation = evaluated
    return not violation <= FEASIBLE, cost if math.isfinite(cost) else math.inf


class _Judged:
    """Totals and gradients of v = u / half, and the best that was seen.

    best (H, nu) of all, feasible ones first, in units of u; leaders (B, H, nu) of each start, in
    units of v; known, whether the last gradient was all numbers; limited, whether a rate holds the
    best. Where rates are bounded, by `rate` = (u₋₁, change of a step), what is judged is v moved
    within them.
    """

    def __init__(
        self,
        judge: Judge,
        u: Tensor,
        half: Tensor,
        penalty: float,
        bounds: tuple[Tensor, Tensor],
        rate: tuple[Tensor, Tensor] | None,
    ) -> None:
        self._judge, self._half, self._penalty = judge, half, penalty
        self._bounds, self._rate = bounds, rate
        self.best, self._least = u[0], (True, math.inf)
        self.known, self.limited = True, False
        self.leaders = u / half
        self._totals = torch.full(u.shape[:1], torch.inf, dtype=u.dtype)

    @property
    def found(self) -> bool:
        """Whether any of them had a finite total."""
        return math.isfinite(self._least[1])

    def __call__(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Totals (N,), inf where there is no number, and ∇_v (N, H, nu) of v (N, H, nu)."""
        free = (v.detach() * self._half).requires_grad_()
        u = free
        if self._rate is not None:
            u = within_rate(free, *self._rate).clamp(*self._bounds)
        cost, violation = self._judge(u)
        total = cost + self._penalty * violation
        (gradient,) = torch.autograd.grad(total.sum(), free)
        total = torch.nan_to_num(total.detach(), nan=torch.inf)
        self._compare(u.detach(), free.detach(), total, violation.detach())
        self.known = bool(gradient.isfinite().all())
        if len(total) == len(self._totals):
            better = total < self._totals
            self.leaders = torch.where(better[:, None, None], v, self.leaders)
            self._totals = torch.where(better, total, self._totals)
        return total, torch.nan_to_num(gradient * self._half)

    def _compare(self, u: Tensor, free: Tensor, total: Tensor, violation: Tensor) -> None:
        feasible = violation <= FEASIBLE
        some = bool(feasible.any())
        leader = int((torch.where(feasible, total, torch.inf) if some else total).argmin())
        rank = not some, float(total[leader])
        if rank < self._least:
            self.best, self._least = u[leader], rank
            self.limited = not torch.equal(u[leader], free[leader])
