"""The nonlinear program of multiple shooting as IPOPT takes it, ordered by stages.

    min f(z, π)   s.t.   xₖ₊₁ − F(xₖ, uₖ) = 0,   g ≤ 0,   h = 0,   z = (x₀, u₀, …, u_{H−1}, x_H)

The order keeps the matrix of IPOPT's Newton steps banded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import casadi as ca
import numpy as np

from hybridmodel.planners.planner import Candidate, Plan, Status, Task
from hybridmodel.planners.shooting.dynamics import Dynamics
from hybridmodel.problem import OptimalControlProblem

_STATUS = {
    "Solve_Succeeded": Status.CONVERGED,
    "Solved_To_Acceptable_Level": Status.CONVERGED,
    "Maximum_Iterations_Exceeded": Status.BUDGET,
    "Maximum_WallTime_Exceeded": Status.DEADLINE,
    "Maximum_CpuTime_Exceeded": Status.DEADLINE,
    "User_Requested_Stop": Status.DEADLINE,
    "Infeasible_Problem_Detected": Status.INFEASIBLE,
}


class NonlinearProgram:
    """A problem's program and its two solvers; numbers of model and cost are read at each solve.

    dynamics      F at all nodes
    iterations    most of one solve
    tolerance     of IPOPT's scaled optimality error
    warm_barrier  barrier parameter to start from where the start is warm
    curvature     "exact", or "cost" without that of the dynamics
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
    ) -> None:
        self.problem, self.dynamics = problem, dynamics
        nlp = self._program()
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
        self._clock = _Clock(*(nlp[part].numel() for part in "xgp"))
        options["iteration_callback"] = self._clock
        self._cold = ca.nlpsol("cold", "ipopt", nlp, options)
        self._warm = ca.nlpsol("warm", "ipopt", nlp, options | {"ipopt": options["ipopt"] | warm})
        if dynamics.form == "kernel":  # compiled here and not under the deadline of the first plan
            for name in ("nlp_jac_g", "nlp_hess_l"):
                function = self._cold.get_function(name)
                function(*(ca.DM(function.sparsity_in(i)) for i in range(function.n_in())))

    def _program(self) -> dict[str, ca.MX]:
        problem, model, H = self.problem, self.problem.model, self.problem.horizon
        z, last = ca.MX.sym("z", model.nx + model.system.nu, H), ca.MX.sym("last", model.nx)
        before, U = z[: model.nx, :], z[model.nx :, :]
        after = ca.horzcat(before[:, 1:], last)
        pi = ca.MX.sym("pi", problem.n_parameters, H + 1)
        p = ca.MX.sym("p", len(model.fit_parameters))
        w = ca.MX.sym("w", len(self.dynamics.weights()))
        v = ca.MX.sym("v", len(problem.weights()))
        ahead, end = pi[:, :-1], pi[:, -1]
        k = ca.DM(np.arange(H)[None, :])
        stage = problem.stage.map(H)(before, U, k, ahead, ca.repmat(v, 1, H))
        gamma = ca.DM(problem.discount ** np.arange(H))
        cost = stage @ gamma + problem.discount**H * problem.terminal(last, end, v)
        # constraints by name; those of one step stand together, so multipliers can be shifted
        blocks = {
            "defect": after - self.dynamics.steps(before, U, p, ahead[: model.system.nd, :], w),
            "inequality": problem.path_g.map(H)(before, U, ahead),
            "equality": problem.path_h.map(H)(before, U, ahead),
            "terminal_inequality": problem.end_g(last, end),
            "terminal_equality": problem.end_h(last, end),
        }
        self._shapes = {name: block.shape for name, block in blocks.items()}
        self._g_low = np.concatenate(
            [np.full(b.numel(), -np.inf if "inequality" in n else 0.0) for n, b in blocks.items()]
        )
        return {
            "x": ca.veccat(z, last),
            "p": ca.veccat(pi, p, w, v),
            "f": cost,
            "g": ca.veccat(*blocks.values()),
        }

    def solve(self, guess: Plan, task: Task, *, warm: bool) -> Candidate:
        """From a guess, where it is warm from its multipliers too if they are of this program."""
        problem, H = self.problem, self.problem.horizon
        x = guess.x.copy()
        x[0] = task.x0
        x_low, x_high = (np.tile(b, (H + 1, 1)) for b in (problem.state_low, problem.state_high))
        x_low[0] = x_high[0] = task.x0
        arguments = {
            "x0": _flat(x, guess.u),
            "p": np.concatenate(
                [
                    task.pi.ravel(),
                    problem.model.physical().detach().cpu().numpy(),
                    self.dynamics.weights(),
                    problem.weights(),
                ]
            ),
            "lbx": _flat(x_low, np.tile(problem.input_low, (H, 1))),
            "ubx": _flat(x_high, np.tile(problem.input_high, (H, 1))),
            "lbg": self._g_low,
            "ubg": 0.0,
        }
        given = guess.multipliers
        if warm and given.keys() == {*self._shapes, "x", "u"}:
            arguments["lam_x0"] = _flat(given["x"], given["u"])
            arguments["lam_g0"] = np.concatenate([given[name].ravel() for name in self._shapes])
        solver = self._warm if warm else self._cold
        self._clock.task = task
        solution = solver(**arguments)
        self._clock.task = None
        stats = solver.stats()
        multipliers, start = {}, 0
        lam_g, lam_x = (solution[name].full().ravel() for name in ("lam_g", "lam_x"))
        for name, (rows, columns) in self._shapes.items():
            multipliers[name] = lam_g[start : start + rows * columns].reshape(columns, rows)
            start += rows * columns
        multipliers["x"], multipliers["u"] = self._split(lam_x)
        return Candidate(
            u=self._split(solution["x"].full().ravel())[1],
            status=_STATUS.get(stats["return_status"], Status.FAILED),
            iterations=stats["iter_count"],
            multipliers=multipliers,
        )

    def _split(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(H+1, nx) and (H, nu) of what is ordered by stages."""
        H, nx = self.problem.horizon, self.problem.model.nx
        stages = flat[:-nx].reshape(H, -1)
        return np.vstack([stages[:, :nx], flat[-nx:]]), stages[:, nx:].copy()


def _flat(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.concatenate([np.hstack([x[:-1], u]).ravel(), x[-1]])


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
