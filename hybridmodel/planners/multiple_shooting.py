"""Direct multiple shooting with IPOPT on the CasADi form of the model.

    min over x₀…x_H, u₀…u_{H−1} of the objective, with defects xₖ₊₁ − F(xₖ, uₖ) = 0

Bock & Plitt, IFAC 1984. Jacobian and Hessian are exact unless asked otherwise. Physical
parameters, network weights and π are parameters of the nonlinear program, so a model that was
trained further or a moved reference needs no rebuild.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import casadi as ca
import numpy as np

from hybridmodel.planners.cem import CEM
from hybridmodel.planners.planner import FEASIBLE, Candidate, Plan, Planner, Status, Task
from hybridmodel.problem import OptimalControlProblem

_SHORTFALL = 2.0  # a result this many times the promised cost above it is another optimum
_KNOTS = 12  # of the sampling search
_STATUS = {
    "Solve_Succeeded": Status.CONVERGED,
    "Solved_To_Acceptable_Level": Status.CONVERGED,
    "Maximum_Iterations_Exceeded": Status.BUDGET,
    "Maximum_WallTime_Exceeded": Status.DEADLINE,
    "Maximum_CpuTime_Exceeded": Status.DEADLINE,
    "User_Requested_Stop": Status.DEADLINE,
    "Infeasible_Problem_Detected": Status.INFEASIBLE,
}


class MultipleShooting(Planner):
    """Multiple shooting, solved by IPOPT.

    iterations       most IPOPT iterations of one attempt
    tolerance        of IPOPT's scaled optimality error
    warm_barrier     barrier parameter to start from with a warm start (cold: IPOPT's 0.1)
    samples          of the search that follows where all else fails; 0 for none
    curvature        "exact", or "cost": that of the dynamics is left out of the Hessian, which
                     makes steps of large graphs (robots) cheap and suits tracking, where plans
                     start near the optimum; more iterations far from it

    A warm start with this planner's own multipliers starts primal and dual, any other plan
    primal only. Where that does not converge, or to a much worse optimum than the guess had
    promised, IPOPT starts again: from the same guess with its usual barrier, from x₀ at rest,
    and from the best of a small sampling search (learned dead zones and stiction leave flat
    regions that Newton steps do not cross). The cheapest feasible result is returned, which is
    the guess itself where nothing better was found. Raises ValueError naming the argument.
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
    ) -> None:
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        if not tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {tolerance}")
        if samples and samples < 20:
            raise ValueError(f"samples must be 0 or at least 20, got {samples}")
        if curvature not in ("exact", "cost"):
            raise ValueError(f"curvature must be 'exact' or 'cost', got {curvature!r}")
        problem.refuse_risk(type(self).__name__)
        self.problem = problem
        bounded = np.isfinite(problem.input_low).all() and np.isfinite(problem.input_high).all()
        self._sampler = None
        if samples and bounded:
            knots = _KNOTS if problem.horizon > _KNOTS else None
            self._sampler = CEM(
                problem, samples=samples, elites=samples // 10, iterations=4, knots=knots
            )
        self._options = iterations, tolerance, warm_barrier, curvature
        self._build()

    def _build(self) -> None:
        """The program, for the networks as they are but for their numbers."""
        problem, (iterations, tolerance, warm_barrier, curvature) = self.problem, self._options
        self._forms = problem.forms
        H, model, system = problem.horizon, problem.model, problem.model.system
        step = model.step_function(weights="parameters")
        X, U = ca.MX.sym("X", model.nx, H + 1), ca.MX.sym("U", system.nu, H)
        pi = ca.MX.sym("pi", problem.n_parameters, H + 1)
        p, w = ca.MX.sym("p", step.size1_in(2)), ca.MX.sym("w", len(model.weights()))
        v = ca.MX.sym("v", len(problem.weights()))
        weights = [ca.repmat(w, 1, H)] if model.residual is not None else []
        before, ahead, last = X[:, :-1], pi[:, :-1], X[:, -1]
        after = step.map(H)(before, U, ca.repmat(p, 1, H), ahead[: system.nd, :], *weights)
        k = ca.DM(np.arange(H)[None, :])
        stage = problem.stage.map(H)(before, U, k, ahead, ca.repmat(v, 1, H))
        gamma = ca.DM(problem.discount ** np.arange(H))
        cost = stage @ gamma + problem.discount**H * problem.terminal(last, pi[:, -1], v)
        # constraints by name; those of one step stand together, so multipliers can be shifted
        blocks = {
            "defect": X[:, 1:] - after,
            "inequality": problem.path_g.map(H)(before, U, ahead),
            "equality": problem.path_h.map(H)(before, U, ahead),
            "terminal_inequality": problem.end_g(last, pi[:, -1]),
            "terminal_equality": problem.end_h(last, pi[:, -1]),
        }
        self._shapes = {name: block.shape for name, block in blocks.items()}
        self._g_low = np.concatenate(
            [np.full(b.numel(), -np.inf if "inequality" in n else 0.0) for n, b in blocks.items()]
        )
        nlp = {
            "x": ca.veccat(X, U),
            "p": ca.veccat(pi, p, w, v),
            "f": cost,
            "g": ca.veccat(*blocks.values()),
        }
        options: dict[str, Any] = {
            "print_time": False,
            "show_eval_warnings": False,
            "ipopt": {
                "print_level": 0,
                "sb": "yes",
                "max_iter": iterations,
                "tol": tolerance,
                "honor_original_bounds": "yes",
            },
        }
        if curvature == "cost":
            options["hess_lag"] = _hessian_of_cost(nlp)
        warm = {
            "warm_start_init_point": "yes",
            "mu_init": warm_barrier,
            "warm_start_bound_push": 1e-6,
            "warm_start_mult_bound_push": 1e-6,
        }
        self._clock = _Clock(nlp["x"].numel(), len(self._g_low), nlp["p"].numel())
        options["iteration_callback"] = self._clock
        self._cold = ca.nlpsol("cold", "ipopt", nlp, options)
        self._warm = ca.nlpsol("warm", "ipopt", nlp, options | {"ipopt": options["ipopt"] | warm})

    def search(self, task: Task) -> Candidate:
        if self._forms is not self.problem.forms:
            self._build()
        found: list[tuple[tuple[bool, float], Candidate]] = []
        iterations, promised = 0, np.inf
        if task.guess is not None:
            found = [self._ranked(Candidate(task.guess.u, Status.BUDGET, 0), task)]
            if np.isfinite(task.guess.cost):
                promised = task.guess.cost + _SHORTFALL * abs(task.guess.cost)
        for solver, guess in self._attempts(task):
            candidate = self._solve(solver, guess, task)
            iterations += candidate.iterations
            found.append(self._ranked(candidate, task))
            (infeasible, cost), best = min(found, key=lambda pair: pair[0])
            done = best.status is Status.CONVERGED and not infeasible and cost <= promised
            if (done and best is candidate) or task.expired():
                break
        return replace(min(found, key=lambda pair: pair[0])[1], iterations=iterations)

    def _attempts(self, task: Task) -> Iterator[tuple[ca.Function, Plan]]:
        """Solver and starting point of each attempt, made when it is needed."""
        H, system = self.problem.horizon, self.problem.model.system
        rest = Plan(
            u=np.zeros((H, system.nu)),
            x=np.tile(task.x0, (H + 1, 1)),
            cost=np.nan,
            status=Status.BUDGET,
        )
        if task.guess is not None:
            yield self._warm, task.guess
            yield self._cold, task.guess
        yield self._cold, rest
        if self._sampler is not None:
            u = self._sampler.search(task).u
            _, x, _ = self.problem.evaluate(task.x0, u, task.pi)
            if np.isfinite(x).all():
                yield self._cold, replace(rest, u=u, x=x)

    def _ranked(self, found: Candidate, task: Task) -> tuple[tuple[bool, float], Candidate]:
        """How good inputs are under the model: feasible ones first, then by cost."""
        u = np.clip(found.u, self.problem.input_low, self.problem.input_high)
        cost, _, violation = self.problem.evaluate(task.x0, u, task.pi)
        return (violation > FEASIBLE, cost if np.isfinite(cost) else np.inf), found

    def _solve(self, solver: ca.Function, guess: Plan, task: Task) -> Candidate:
        problem, H = self.problem, self.problem.horizon
        model, system = problem.model, problem.model.system
        x = guess.x.copy()
        x[0] = task.x0
        x_low, x_high = (np.tile(b, (H + 1, 1)) for b in (problem.state_low, problem.state_high))
        x_low[0] = x_high[0] = task.x0
        arguments = {
            "x0": _flat(x, guess.u),
            "p": np.concatenate(
                [
                    task.pi.ravel(),
                    model.physical().detach().cpu().numpy(),
                    model.weights(),
                    problem.weights(),
                ]
            ),
            "lbx": _flat(x_low, np.tile(problem.input_low, (H, 1))),
            "ubx": _flat(x_high, np.tile(problem.input_high, (H, 1))),
            "lbg": self._g_low,
            "ubg": 0.0,
        }
        if solver is self._warm and guess.multipliers.keys() == {*self._shapes, "x", "u"}:
            arguments["lam_x0"] = _flat(guess.multipliers["x"], guess.multipliers["u"])
            arguments["lam_g0"] = np.concatenate(
                [guess.multipliers[name].ravel() for name in self._shapes]
            )
        self._clock.task = task
        solution = solver(**arguments)
        stats = solver.stats()
        flat = solution["x"].full().ravel()
        split = (H + 1) * model.nx
        u = flat[split:].reshape(H, system.nu)
        return Candidate(
            u=u,
            status=_STATUS.get(stats["return_status"], Status.FAILED),
            iterations=stats["iter_count"],
            multipliers=self._multipliers(
                solution["lam_g"].full().ravel(), solution["lam_x"].full().ravel(), split
            ),
        )

    def _multipliers(self, lam_g: np.ndarray, lam_x: np.ndarray, split: int):
        found, start = {}, 0
        for name, (rows, columns) in self._shapes.items():
            found[name] = lam_g[start : start + rows * columns].reshape(columns, rows)
            start += rows * columns
        model = self.problem.model
        found["x"] = lam_x[:split].reshape(-1, model.nx)
        found["u"] = lam_x[split:].reshape(-1, model.system.nu)
        return found


def _hessian_of_cost(nlp: Mapping[str, ca.MX]) -> ca.Function:
    """∇²(σ f), what IPOPT takes for the Hessian of the Lagrangian σ f + λᵀg."""
    sigma, multipliers = ca.MX.sym("sigma"), ca.MX.sym("lambda", nlp["g"].shape[0])
    hessian, _ = ca.hessian(sigma * nlp["f"], nlp["x"])
    return ca.Function(
        "hessian",
        [nlp["x"], nlp["p"], sigma, multipliers],
        [ca.triu(hessian)],
        ["x", "p", "lam_f", "lam_g"],
        ["triu_hess_gamma_x_x"],
    )


class _Clock(ca.Callback):
    """Polls a task's deadline at each IPOPT iteration."""

    def __init__(self, nx: int, ng: int, np_: int) -> None:
        ca.Callback.__init__(self)
        self.sizes = {"x": nx, "g": ng, "lam_x": nx, "lam_g": ng, "f": 1, "lam_p": np_}
        self.task: Task | None = None
        self.construct("clock", {})

    def get_n_in(self) -> int:
        return ca.nlpsol_n_out()

    def get_n_out(self) -> int:
        return 1

    def get_name_in(self, i: int) -> str:
        return ca.nlpsol_out(i)

    def get_sparsity_in(self, i: int) -> ca.Sparsity:
        return ca.Sparsity.dense(self.sizes[ca.nlpsol_out(i)], 1)

    def eval(self, arg: list[ca.DM]) -> list[int]:  # type: ignore[override]
        return [int(self.task is not None and self.task.expired())]


def _flat(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.concatenate([x.ravel(), u.ravel()])
