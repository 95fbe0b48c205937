"""Gradient descent through the rollout, several starts in one batch.

u ← Π(u − α_t · Adam(∇_u J(x0, u))),   Π the projection on the input bounds
"""

from __future__ import annotations

import math

import torch

from hybridmodel.planners.judge import Judge
from hybridmodel.planners.planner import Candidate, Planner, Status, Task
from hybridmodel.problem import OptimalControlProblem


class GradientDescent(Planner):
    """Projected Adam on the inputs, with a cosine step size.

    iterations   gradient steps
    rate         first step size, as a share of half the input range (of 1 where unbounded)
    starts       how many sequences are improved side by side: the guess (or zero), then random
    spread       of the random starts, a share of half the input range
    tolerance    converged where the projected gradient step changes no input by more
    penalty      cost of one unit of constraint violation

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
    ) -> None:
        if iterations < 1 or starts < 1:
            raise ValueError(
                f"iterations and starts must be at least 1, got {iterations} and {starts}"
            )
        if not rate > 0:
            raise ValueError(f"rate must be positive, got {rate}")
        self.problem, self.iterations, self.rate = problem, iterations, rate
        self.starts, self.spread, self.tolerance = starts, spread, tolerance
        self.penalty = penalty

    def search(self, task: Task) -> Candidate:
        problem = self.problem
        low, high = (torch.as_tensor(b) for b in (problem.input_low, problem.input_high))
        half = torch.where(torch.isfinite(high - low), (high - low) / 2, 1.0)
        generator = torch.Generator().manual_seed(task.seed)
        shape = (self.starts, problem.horizon, len(half))
        noise = torch.randn(shape, generator=generator, dtype=half.dtype)
        noise[0] = 0
        guess = torch.zeros(shape[1:], dtype=half.dtype)
        if task.guess is not None:
            guess = torch.tensor(task.guess.u)
        u = (guess + self.spread * half * noise).clamp(low, high)
        first, second = torch.zeros_like(u), torch.zeros_like(u)
        best, best_cost = u[0], float("inf")
        judge = Judge(problem, task.x0, task.pi, calls=self.iterations)
        status, iteration = Status.BUDGET, 0
        for iteration in range(1, self.iterations + 1):
            u = u.detach().requires_grad_()
            cost, violation = judge(u)
            total = cost + self.penalty * violation
            (gradient,) = torch.autograd.grad(total.sum(), u)
            total = torch.nan_to_num(total.detach(), nan=torch.inf)
            leader = int(total.argmin())
            if total[leader] < best_cost:
                best, best_cost = u[leader].detach(), float(total[leader])
            gradient = torch.nan_to_num(gradient) * half
            first = 0.9 * first + 0.1 * gradient
            second = 0.99 * second + 0.01 * gradient**2
            unbiased = first / (1 - 0.9**iteration), second / (1 - 0.99**iteration)
            rate = self.rate * (1 + math.cos(math.pi * (iteration - 1) / self.iterations)) / 2
            moved = u.detach() - rate * half * unbiased[0] / (unbiased[1].sqrt() + 1e-12)
            moved = moved.clamp(low, high)
            change = ((moved - u.detach()) / half).abs().amax()
            u = moved
            if change < self.tolerance * rate / self.rate:
                status = Status.CONVERGED
                break
            if task.expired():
                status = Status.DEADLINE
                break
        if not math.isfinite(best_cost):
            status = Status.FAILED
        return Candidate(
            u=best.numpy(),
            status=status,
            iterations=iteration,
            evaluated=judge.evaluate(best.numpy()),
        )
