"""What planners share that make a nonlinear program of a problem: their attempts at solving it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from hybridmodel.planners.cem import CEM
from hybridmodel.planners.planner import FEASIBLE, Candidate, Plan, Planner, Status, Task
from hybridmodel.planners.shooting.attempts import SHORTFALL, Ranked, settled
from hybridmodel.planners.shooting.dynamics import Dynamics
from hybridmodel.planners.shooting.nonlinear import NonlinearProgram, SolverName
from hybridmodel.problem import OptimalControlProblem

_KNOTS = 12  # of the sampling search


class DirectMethod(Planner):
    """A problem transcribed to a nonlinear program, which a solver attempts from several guesses.

    iterations, tolerance, warm_barrier, samples, curvature, solver   as `MultipleShooting` has them

    Raises ValueError naming the argument.
    """

    def __init__(
        self,
        problem: OptimalControlProblem,
        *,
        iterations: int,
        tolerance: float,
        warm_barrier: float,
        samples: int,
        curvature: Literal["exact", "cost"],
        solver: SolverName,
    ) -> None:
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        if not tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {tolerance}")
        if samples and samples < 20:
            raise ValueError(f"samples must be 0 or at least 20, got {samples}")
        if curvature not in ("exact", "cost"):
            raise ValueError(f"curvature must be 'exact' or 'cost', got {curvature!r}")
        if solver not in get_args(SolverName):
            raise ValueError(f"solver must be one of {get_args(SolverName)}, got {solver!r}")
        if solver == "fatrop" and curvature == "cost":
            raise ValueError("curvature: 'cost' is for 'ipopt', FATROP takes the exact Hessian")
        self.problem = problem
        bounded = np.isfinite(problem.input_low).all() and np.isfinite(problem.input_high).all()
        self._sampler = None
        if samples and bounded:
            knots = _KNOTS if problem.horizon > _KNOTS else None
            self._sampler = CEM(
                problem, samples=samples, elites=samples // 10, iterations=4, knots=knots
            )
        self.iterations, self.tolerance, self.warm_barrier = iterations, tolerance, warm_barrier
        self.curvature: Literal["exact", "cost"] = curvature
        self.solver: SolverName = solver
        self._build()

    @abstractmethod
    def dynamics(self) -> Dynamics:
        """How the steps enter the program, with the networks as they are now."""

    @property
    def interruptible(self) -> bool:
        """Whether the solver polls the deadline: IPOPT does, FATROP runs until it is done."""
        return self.solver == "ipopt"

    def _build(self) -> None:
        """The program, for the networks as they are but for their numbers."""
        self._forms = self.problem.forms
        self._program = NonlinearProgram(
            self.problem,
            self.dynamics(),
            iterations=self.iterations,
            tolerance=self.tolerance,
            warm_barrier=self.warm_barrier,
            curvature=self.curvature,
            solver=self.solver,
        )

    def search(self, task: Task) -> Candidate:
        if self._forms is not self.problem.forms:
            self._build()
        found: list[Ranked] = []
        iterations, promised = 0, np.inf
        if task.guess is not None:
            found = [self._ranked(Candidate(task.guess.u, Status.BUDGET, 0), task)]
            if np.isfinite(task.guess.cost):
                promised = task.guess.cost + SHORTFALL * abs(task.guess.cost)
        for warm, guess in self._attempts(task):
            candidate = self._program.solve(guess, task, warm=warm)
            iterations += candidate.iterations
            found.append(self._ranked(candidate, task))
            (infeasible, cost), _ = min(found, key=lambda pair: pair[0])
            done = (
                settled(found, self.tolerance) is not None and not infeasible and cost <= promised
            )
            if done or task.expired():
                break
        best, chosen = min(found, key=lambda pair: pair[0])[1], settled(found, self.tolerance)
        if chosen is not None:
            best = replace(best, status=chosen.status, multipliers=chosen.multipliers)
        return replace(best, iterations=iterations)

    def _attempts(self, task: Task) -> Iterator[tuple[bool, Plan]]:
        """Whether it is warm, and the starting point of each attempt, made when it is needed."""
        H = self.problem.horizon
        rest = Plan(
            u=np.tile(self.problem.rest, (H, 1)),
            x=np.tile(task.x0, (H + 1, 1)),
            cost=np.nan,
            status=Status.BUDGET,
        )
        if task.guess is not None:
            yield True, task.guess
            yield False, task.guess
        yield False, rest
        if self._sampler is not None:
            u = self._sampler.search(task).u
            cost, x, _ = self.problem.evaluate(task.x0, u, task.pi)
            if np.isfinite(x).all():
                yield False, replace(rest, u=u, x=x, cost=cost)

    def _ranked(self, found: Candidate, task: Task) -> Ranked:
        """How good inputs are under the model: feasible ones first, then by cost."""
        u = np.clip(found.u, self.problem.input_low, self.problem.input_high)
        cost, x, violation = self.problem.evaluate(task.x0, u, task.pi)
        judged = replace(found, evaluated=(cost, x, violation))
        return (not violation <= FEASIBLE, cost if np.isfinite(cost) else np.inf), judged
