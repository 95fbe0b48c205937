"""A transcribed problem with its solver: from a guess to a candidate.

What is unknown, what must hold and in which order it stands is told in `transcription`.
"""

from __future__ import annotations

from typing import Literal

import casadi as ca

from hybridmodel.planners.planner import Candidate, Plan, Task
from hybridmodel.planners.shooting.dynamics import Dynamics
from hybridmodel.planners.shooting.solvers import Fatrop, Ipopt, Limits, Solver
from hybridmodel.planners.shooting.transcription import Transcription
from hybridmodel.problem import OptimalControlProblem

SolverName = Literal["ipopt", "fatrop"]


class NonlinearProgram:
    """A problem's program and its solver; numbers of model and cost are read at each solve.

    dynamics      F at all nodes, those of all members under a risk
    iterations    most of one solve
    tolerance     of the solver's scaled optimality error
    warm_barrier  barrier parameter to start from where the start is warm
    curvature     "exact", or "cost" without that of the dynamics
    solver        "ipopt" or "fatrop"

    Raises ValueError for what the solver cannot take.
    """

    def __init__(
        self,
        problem: OptimalControlProblem,
        dynamics: Dynamics,
        *,
        iterations: int,
        tolerance: float,
        warm_barrier: float,
        curvature: Literal["exact", "cost"] = "exact",
        solver: SolverName = "ipopt",
    ) -> None:
        self.problem, self.dynamics = problem, dynamics
        if dynamics.members != problem.members:
            raise ValueError(
                f"dynamics: must be those of {problem.members} members, got {dynamics.members}"
            )
        self.transcription = Transcription(problem, dynamics, by_stages=solver == "fatrop")
        limits = Limits(iterations, tolerance, warm_barrier)
        self._solver: Solver
        if solver == "fatrop":
            self._solver = Fatrop(self.transcription, limits)
        else:
            self._solver = Ipopt(self.transcription, limits, curvature)
        if dynamics.form == "kernel":  # compiled here and not under the deadline of the first plan
            for name in ("nlp_jac_g", "nlp_hess_l"):
                function = self._solver.function(name)
                function(*(ca.DM(function.sparsity_in(i)) for i in range(function.n_in())))

    def solve(self, guess: Plan, task: Task, *, warm: bool) -> Candidate:
        """From a guess, where it is warm from its multipliers too if they are of this program."""
        arguments = self.transcription.arguments(guess, task, warm=warm)
        with self.dynamics.steady():
            found = self._solver.solve(arguments, task, warm=warm)
        return Candidate(
            u=self.transcription.inputs(found.z),
            status=found.status,
            iterations=found.iterations,
            multipliers=self.transcription.multipliers(found.lam_x, found.lam_g),
        )
