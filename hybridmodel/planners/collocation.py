"""Direct collocation on the model's ODE.

    min over x₀…x_H, u₀…u_{H−1} and the states within steps of the objective, ẋ = f(x, u) at d
    points of every step

Hargraves & Paris, J. Guidance 10 (1987) 338; at the points of Radau or Legendre, Biegler,
Nonlinear Programming, SIAM 2010, ch. 10. Each step has one polynomial, of the order of an implicit
method, so the program needs no substeps where the model's explicit integrator does; and its Hessian
has the curvature of f at single points, not that of a whole step.
"""

from __future__ import annotations

from typing import Literal, get_args

from hybridmodel.planners.shooting.collocated import Points, collocated_dynamics
from hybridmodel.planners.shooting.direct import DirectMethod
from hybridmodel.planners.shooting.dynamics import Dynamics
from hybridmodel.planners.shooting.nonlinear import SolverName
from hybridmodel.problem import OptimalControlProblem

_MOST = 9  # points that CasADi has


class Collocation(DirectMethod):
    """Collocation, solved by IPOPT or FATROP.

    degree   points d in a step, where the states are unknowns of the program
    points   "radau", of order 2d − 1 and the last point at the step's end, or "legendre", of 2d
    iterations, tolerance, warm_barrier, samples, curvature, solver   as of `MultipleShooting`

    Inputs are constant over a step. Bounds and constraints hold at the nodes, as the problem has
    them. States and cost of a plan are those of a rollout of its inputs under the model's own
    integrator, and so is whether it is feasible: where steps are long that is another state than
    the polynomial's, and what has converged is optimal for the polynomials. Multipliers of a plan
    start this planner primal and dual, others primal only.

    Raises ValueError naming the argument, and with the reason for a model without an ODE: a
    discrete system, a held residual, one that acts on the next state, or memory.
    """

    def __init__(
        self,
        problem: OptimalControlProblem,
        *,
        degree: int = 3,
        points: Points = "radau",
        iterations: int = 200,
        tolerance: float = 1e-6,
        warm_barrier: float = 1e-3,
        samples: int = 200,
        curvature: Literal["exact", "cost"] = "exact",
        solver: SolverName = "ipopt",
    ) -> None:
        if not isinstance(degree, int) or not 1 <= degree <= _MOST:
            raise ValueError(f"degree must be a whole number in [1, {_MOST}], got {degree!r}")
        if points not in get_args(Points):
            raise ValueError(f"points must be one of {get_args(Points)}, got {points!r}")
        self.degree = degree
        self.points: Points = points
        super().__init__(
            problem,
            iterations=iterations,
            tolerance=tolerance,
            warm_barrier=warm_barrier,
            samples=samples,
            curvature=curvature,
            solver=solver,
        )

    def __repr__(self) -> str:
        told = ("degree", "points", "iterations", "tolerance", "warm_barrier", "curvature")
        return f"Collocation({', '.join(f'{n}={getattr(self, n)!r}' for n in (*told, 'solver'))})"

    def dynamics(self) -> Dynamics:
        return collocated_dynamics(
            self.problem.model,
            self.problem.horizon,
            degree=self.degree,
            points=self.points,
            members=self.problem.risk is not None,
        )
