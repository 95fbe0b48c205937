"""Direct multiple shooting with IPOPT.

    min over x₀…x_H, u₀…u_{H−1} of the objective, with defects xₖ₊₁ − F(xₖ, uₖ) = 0

Bock & Plitt, IFAC 1984. Jacobian and Hessian are exact unless asked otherwise. Physical
parameters, network weights and π are parameters of the nonlinear program, so a model that was
trained further or a moved reference needs no rebuild.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from hybridmodel.planners.cem import CEM
from hybridmodel.planners.planner import FEASIBLE, Candidate, Plan, Planner, Status, Task
from hybridmodel.planners.shooting.attempts import SHORTFALL, Ranked, settled
from hybridmodel.planners.shooting.dynamics import (
    Dynamics,
    Form,
    chosen_dynamics,
    kernel_dynamics,
    matrix_dynamics,
)
from hybridmodel.planners.shooting.nonlinear import NonlinearProgram
from hybridmodel.problem import OptimalControlProblem

_KNOTS = 12  # of the sampling search
_FORMS = ("auto", *get_args(Form))


class MultipleShooting(Planner):
    """Multiple shooting, solved by IPOPT.

    iterations       most IPOPT iterations of one attempt
    tolerance        of IPOPT's scaled optimality error
    warm_barrier     barrier parameter to start from with a warm start (cold: IPOPT's 0.1)
    samples          of the search that follows where all else fails; 0 for none
    curvature        "exact", or "cost": that of the dynamics is left out of the Hessian, which
                     makes steps of large graphs (robots) cheap and suits tracking, where plans
                     start near the optimum; more iterations far from it
    form             how the dynamics and their derivatives are computed: "matrix", the step in
                     CasADi with the network as matrix products; "kernel", machine code for all
                     nodes at once, which is faster and takes a second to compile; "auto", the
                     kernel where it has code for the model and that second is soon won back

    `form` tells which one was taken. A warm start with this planner's own multipliers starts
    primal and dual, any other plan primal only. Where that does not converge, or to a much worse
    optimum than the guess had promised, IPOPT starts again: from the same guess with its usual
    barrier, from x₀ at rest, and from the best of a small sampling search (learned dead zones and
    stiction leave flat regions that Newton steps do not cross). The cheapest feasible result is
    returned, which is the guess itself where nothing better was found. Raises ValueError naming
    the argument, for "kernel" with the reason where the model has none.
    """

    def __init__(
        self,
        problem: OptimalControlProblem,
        *,
        iterations: int = 200,
        tolerance: float = 1e-6,
        warm_barrier: float = 1e-3,
        samples: int = 200,
        curvature: Literal["exact", "cost"] = "exact",
        form: Literal["auto", "matrix", "kernel"] = "auto",
    ) -> None:
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        if not tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {tolerance}")
        if samples and samples < 20:
            raise ValueError(f"samples must be 0 or at least 20, got {samples}")
        if curvature not in ("exact", "cost"):
            raise ValueError(f"curvature must be 'exact' or 'cost', got {curvature!r}")
        if form not in _FORMS:
            raise ValueError(f"form must be one of {_FORMS}, got {form!r}")
        problem.refuse_risk(type(self).__name__)
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
        self._asked = form
        self._build()

    @property
    def form(self) -> str:
        """How the dynamics are computed: "matrix" or "kernel"."""
        return self._program.dynamics.form

    def __repr__(self) -> str:
        told = ("iterations", "tolerance", "warm_barrier", "curvature", "form")
        return f"MultipleShooting({', '.join(f'{n}={getattr(self, n)!r}' for n in told)})"

    def _build(self) -> None:
        """The program, for the networks as they are but for their numbers."""
        self._forms = self.problem.forms
        self._program = NonlinearProgram(
            self.problem,
            self._dynamics(),
            iterations=self.iterations,
            tolerance=self.tolerance,
            warm_barrier=self.warm_barrier,
            curvature=self.curvature,
        )

    def _dynamics(self) -> Dynamics:
        model, H = self.problem.model, self.problem.horizon
        if self._asked == "kernel":
            return kernel_dynamics(model, H)
        if self._asked == "matrix":
            return matrix_dynamics(model, H)
        return chosen_dynamics(model, H)

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
        H, system = self.problem.horizon, self.problem.model.system
        rest = Plan(
            u=np.zeros((H, system.nu)),
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
            _, x, _ = self.problem.evaluate(task.x0, u, task.pi)
            if np.isfinite(x).all():
                yield False, replace(rest, u=u, x=x)

    def _ranked(self, found: Candidate, task: Task) -> Ranked:
        """How good inputs are under the model: feasible ones first, then by cost."""
        u = np.clip(found.u, self.problem.input_low, self.problem.input_high)
        cost, _, violation = self.problem.evaluate(task.x0, u, task.pi)
        return (violation > FEASIBLE, cost if np.isfinite(cost) else np.inf), found
