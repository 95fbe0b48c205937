"""What all planners that draw candidates share.

    P ~ μ + σ ∘ W w,  w ~ N(0, 1),   J = cost + penalty · violation of the inputs of P,
    (μ, σ) ← update(P, J)

P (N, K, nu) are points as in `points`, μ and σ (K, nu), W (K, K) as in `noise`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from hybridmodel.planners.planner import Candidate, Clock, Planner, Status, Task
from hybridmodel.planners.sampling import knots as shapes
from hybridmodel.planners.sampling.contest import Contest
from hybridmodel.planners.sampling.knots import Knots
from hybridmodel.planners.sampling.noise import coloured
from hybridmodel.planners.sampling.points import Points, across, along
from hybridmodel.planners.sampling.proposals import Policy, proposed
from hybridmodel.problem import OptimalControlProblem

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True, slots=True)
class Distribution:
    """Independent normal distributions of points, and points that join those drawn.

    mean, deviation (K, nu); joining (n, K, nu)
    """

    mean: Tensor
    deviation: Tensor
    joining: Tensor


@dataclass(frozen=True, slots=True)
class Round:
    """One judged iteration: points (N, K, nu) of a distribution and their totals J (N,).

    Totals are inf where the model gives no number. `judge` gives the totals of further points,
    with gradients where these ask for them; all that it sees may become the plan.
    """

    iteration: int  # 1, 2, …
    distribution: Distribution
    points: Tensor
    totals: Tensor
    judge: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class Sampling(Planner):
    """Draws candidates, judges them and moves a distribution, again and again.

    samples        N candidates an iteration
    iterations     how often
    knots          how points become inputs: a `Knots`, a number of linear ones, or None where
                   every step is free
    colour         exponent β of the noise along the points, power ∝ f^{−β}; 0 is white
    spread         initial σ as a share of half the input range
    warm_spread    the same with a warm start, and of the noise on a policy's inputs
    penalty        cost of one unit of constraint violation
    precision      in which candidates are drawn, and judged where the kernel runs; "float32" is
                   about twice as fast. The plan's own states and cost are float64 always
    policy         π(x (B, nx)) → u (B, nu), rolled out through the model before the search; its
                   candidates join every iteration, the first of them without noise
    policy_share   how many of the candidates are the policy's

    The plan is the best of all candidates, or the warm start itself where that is better in
    float64. Raises ValueError naming the argument.
    """

    problem: OptimalControlProblem = field(kw_only=False)
    samples: int = 500
    iterations: int = 5
    knots: int | Knots | None = None
    colour: float = 0.0
    spread: float = 0.6
    warm_spread: float = 0.3
    penalty: float = 1e3
    precision: Literal["float32", "float64"] = "float64"
    policy: Policy | None = None
    policy_share: float = 0.1

    averages: ClassVar[bool] = False  # whether the last mean may be the plan
    carries: ClassVar[bool] = False  # whether what joins lives on in the search of the next plan

    def __post_init__(self) -> None:
        problem, name = self.problem, type(self).__name__
        if self.samples < 2:
            raise ValueError(f"samples must be at least 2, got {self.samples}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")
        if not (self.spread > 0 and self.warm_spread > 0):
            raise ValueError(
                f"spread and warm_spread must be positive, got {self.spread} and {self.warm_spread}"
            )
        if not np.isfinite(self.colour):
            raise ValueError(f"colour must be a finite exponent, got {self.colour}")
        if not 0 < self.policy_share <= 1:
            raise ValueError(f"policy_share must lie in (0, 1], got {self.policy_share}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {self.precision!r}")
        if not (np.isfinite(problem.input_low).all() and np.isfinite(problem.input_high).all()):
            raise ValueError(f"input_bounds must be finite for {name}: it draws inside them")
        self.space  # noqa: B018 - raises where the knots do not fit

    @abstractmethod
    def update(self, judged: Round) -> Distribution:
        """The next distribution."""

    def count(self, iteration: int) -> int:
        """How many candidates an iteration (1, 2, …) has."""
        return self.samples

    @cached_property
    def space(self) -> Points:
        """Between points and inputs."""
        problem = self.problem
        bounds = problem.input_low, problem.input_high
        kind = PRECISIONS[self.precision]
        return Points(shapes.of(self.knots), problem.horizon, *bounds, kind)

    @final
    def search(self, task: Task) -> Candidate:
        generator = torch.Generator().manual_seed(task.seed)
        with torch.no_grad():
            contest = Contest(self.problem, self.space, task, self.penalty)
            distribution = self._first(task, contest.origin)
            own = self._proposals(task, generator, contest.origin)
            clock, iteration, stop = Clock(task), 0, False
            while iteration < self.iterations and not stop:
                iteration += 1
                points = self._drawn(distribution, own, self.count(iteration), generator)
                totals = contest(points)
                judged = Round(iteration, distribution, points, totals, contest)
                distribution = self.update(judged)
                stop = clock.late()
            mean = [distribution.mean] if self.averages or contest.best is None else []
            u, evaluated = contest.winner(*mean)
            carried = self._carried(contest, distribution)
        status = Status.DEADLINE if iteration < self.iterations else Status.BUDGET
        return Candidate(
            u=u,
            status=Status.FAILED if contest.best is None else status,
            iterations=iteration,
            evaluated=evaluated,
            elites=carried,
        )

    def _first(self, task: Task, origin: Tensor) -> Distribution:
        space = self.space
        shape = space.count, len(origin)
        if task.guess is None:
            mean = torch.zeros(shape, dtype=space.dtype)
            return Distribution(mean, torch.full_like(mean, self.spread), mean[None])
        mean = space.nearest(torch.tensor(task.guess.u), origin)
        joining = mean[None]
        elites = task.guess.elites if self.carries else None
        if elites is not None and elites.ndim == 3 and elites.shape[::2] == task.guess.u.shape:
            kept = torch.tensor(np.nan_to_num(elites)).transpose(0, 1)
            joining = torch.cat([joining, space.nearest(kept, origin)])
        return Distribution(mean, torch.full_like(mean, self.warm_spread), joining)

    def _carried(self, contest: Contest, last: Distribution) -> np.ndarray | None:
        if not self.carries:
            return None
        return contest.inputs(last.joining).transpose(0, 1).double().numpy()

    def _proposals(self, task: Task, generator: torch.Generator, origin: Tensor) -> Tensor | None:
        """Points (n, K, nu) of what the policy does from x₀."""
        if self.policy is None:
            return None
        problem = self.problem
        low, high = torch.tensor(problem.input_low), torch.tensor(problem.input_high)
        shape = self._own(self.samples), problem.horizon, len(low)
        noise = torch.randn(shape, generator=generator, dtype=low.dtype)
        noise = torch.from_numpy(coloured(shape[1], self.colour)) @ noise
        noise *= self.warm_spread * (high - low) / 2
        noise[0] = 0
        u = proposed(problem.model, self.policy, task, noise, low, high)
        return self.space.nearest(u, origin)

    def _drawn(
        self, of: Distribution, own: Tensor | None, count: int, generator: torch.Generator
    ) -> Tensor:
        """Candidates (N, K, nu); those that join come first, then the policy's."""
        # noise of single precision is as good, and drawn five times as fast
        noise = torch.randn(count, *of.mean.shape, generator=generator)
        if self._filter is not None:
            noise = along(self._filter, noise)
        points = self.space.clipped(torch.addcmul(of.mean, of.deviation, noise.to(of.mean.dtype)))
        known = min(len(of.joining), count)
        points[:known] = of.joining[:known]
        if own is not None:
            own = own[: self._own(count)]
            part = points[known : known + len(own)]
            part.copy_(own[: len(part)])
        return points

    def _own(self, count: int) -> int:
        """How many of so many candidates are the policy's."""
        return max(1, round(self.policy_share * count))

    @cached_property
    def _filter(self) -> Tensor | None:
        """W (K, K) of the noise for `along`, None where it is the identity."""
        if self.colour == 0:
            return None
        W = torch.from_numpy(coloured(self.space.count, self.colour)).float()
        return across(W, len(self.space.low))
