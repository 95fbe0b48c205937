"""Direct multiple shooting.

    min over x₀…x_H, u₀…u_{H−1} of the objective, with defects xₖ₊₁ − F(xₖ, uₖ) = 0

Bock & Plitt, IFAC 1984. Jacobian and Hessian are exact unless asked otherwise. Physical
parameters, network weights and π are parameters of the nonlinear program, so a model that was
trained further or a moved reference needs no rebuild. Under a risk every member of the ensemble
has states of its own, which share u:

    min over x⁽¹⁾…x⁽ᴱ⁾, u of risk(J₁, …, J_E),  xₖ₊₁⁽ᵉ⁾ − F_e(xₖ⁽ᵉ⁾, uₖ) = 0,  bounds for all e
"""

from __future__ import annotations

from typing import Literal, get_args

from hybridmodel.planners.shooting.direct import DirectMethod
from hybridmodel.planners.shooting.dynamics import (
    Dynamics,
    Form,
    chosen_dynamics,
    kernel_dynamics,
    matrix_dynamics,
)
from hybridmodel.planners.shooting.nonlinear import SolverName
from hybridmodel.problem import OptimalControlProblem

_FORMS = ("auto", *get_args(Form))


class MultipleShooting(DirectMethod):
    """Multiple shooting, solved by IPOPT or FATROP.

    iterations       most of the solver's iterations in one attempt
    tolerance        of the solver's scaled optimality error
    warm_barrier     barrier parameter to start from with a warm start (cold: the solver's own)
    samples          of the search that follows where all else fails; 0 for none
    curvature        "exact", or "cost": that of the dynamics is left out of the Hessian, which
                     makes steps of large graphs (robots) cheap and suits tracking, where plans
                     start near the optimum; more iterations far from it
    form             how the dynamics and their derivatives are computed: "matrix", the step in
                     CasADi with the network as matrix products; "kernel", machine code for all
                     nodes at once, which is faster and takes a second to compile; "auto", the
                     kernel where it has code for the model and that second is soon won back
    solver           "ipopt", or "fatrop": an interior point method on the stages, which takes
                     less time for an iteration, starts primal only, and of risks takes `Expected`;
                     it cannot be interrupted, and with absurd numbers it may not end, so in a loop
                     it belongs into a `Worker`

    `form` tells which one was taken. A warm start with this planner's own multipliers starts
    primal and dual, any other plan primal only. Where that does not converge, or to a much worse
    optimum than the guess had promised, the solver starts again: from the same guess with its
    usual barrier, from x₀ at rest, and from the best of a small sampling search (learned dead
    zones and stiction leave flat regions that Newton steps do not cross). The cheapest feasible
    result is returned, which is the guess itself where nothing better was found. Raises ValueError
    naming the argument, for "kernel" with the reason where the model has none.
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
        solver: SolverName = "ipopt",
    ) -> None:
        if form not in _FORMS:
            raise ValueError(f"form must be one of {_FORMS}, got {form!r}")
        self._asked = form
        super().__init__(
            problem,
            iterations=iterations,
            tolerance=tolerance,
            warm_barrier=warm_barrier,
            samples=samples,
            curvature=curvature,
            solver=solver,
        )

    @property
    def form(self) -> str:
        """How the dynamics are computed: "matrix" or "kernel"."""
        return self._program.dynamics.form

    def __repr__(self) -> str:
        told = ("iterations", "tolerance", "warm_barrier", "curvature", "form", "solver")
        return f"MultipleShooting({', '.join(f'{n}={getattr(self, n)!r}' for n in told)})"

    def dynamics(self) -> Dynamics:
        model, H = self.problem.model, self.problem.horizon
        members = self.problem.risk is not None
        if self._asked == "kernel":
            return kernel_dynamics(model, H, members=members)
        if self._asked == "matrix":
            return matrix_dynamics(model, H, members=members)
        return chosen_dynamics(model, H, members=members)
