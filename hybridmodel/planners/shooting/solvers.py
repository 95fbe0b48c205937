"""The solvers that take a transcribed problem: IPOPT and FATROP, as the CasADi wheel has them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import casadi as ca
import numpy as np

from hybridmodel.planners.planner import FEASIBLE, Status, Task
from hybridmodel.planners.shooting.transcription import Transcription

Arguments = Mapping[str, "np.ndarray | float"]

_STATUS = {
    "Solve_Succeeded": Status.CONVERGED,
    "Solved_To_Acceptable_Level": Status.CONVERGED,
    "Maximum_Iterations_Exceeded": Status.BUDGET,
    "Maximum_WallTime_Exceeded": Status.DEADLINE,
    "Maximum_CpuTime_Exceeded": Status.DEADLINE,
    "User_Requested_Stop": Status.DEADLINE,
    "Infeasible_Problem_Detected": Status.INFEASIBLE,
}
_SILENT = {"print_time": False, "show_eval_warnings": False}
_ABSURD = 1e12  # slopes and constraints of a start that no physical problem has
_SLACK = 100.0  # times the tolerance: what a solver that scales in its own way may leave


@dataclass(frozen=True)
class Limits:
    """Most iterations of a solve, tolerance of optimality, barrier parameter of a warm start."""

    iterations: int
    tolerance: float
    warm_barrier: float


@dataclass(frozen=True, eq=False)
class Solution:
    """z, multipliers of its bounds and of the rows, and how the solver ended."""

    z: np.ndarray
    lam_x: np.ndarray
    lam_g: np.ndarray
    status: Status
    iterations: int


class Solver(ABC):
    """A solver of one program."""

    @abstractmethod
    def solve(self, arguments: Arguments, task: Task, *, warm: bool) -> Solution:
        """From a starting point, until the task's deadline where it can be stopped."""

    @abstractmethod
    def function(self, name: str) -> ca.Function:
        """What it evaluates: "nlp_jac_g" or "nlp_hess_l"."""


class Ipopt(Solver):
    """IPOPT, which asks for the deadline at each iteration.

    curvature   "exact", or "cost" without that of the dynamics
    """

    def __init__(
        self, program: Transcription, limits: Limits, curvature: Literal["exact", "cost"]
    ) -> None:
        nlp = program.nlp
        options: dict[str, Any] = _SILENT | {
            "ipopt": {
                "print_level": 0,
                "sb": "yes",
                "max_iter": limits.iterations,
                "tol": limits.tolerance,
                "honor_original_bounds": "yes",
            },
        }
        if curvature == "cost":
            options["hess_lag"] = _hessian_of_cost(program)
        warm = {
            "warm_start_init_point": "yes",
            "mu_init": limits.warm_barrier,
            "warm_start_bound_push": 1e-6,
            "warm_start_mult_bound_push": 1e-6,
        }
        self._clock = _Clock(*(nlp[part].numel() for part in "xgp"))
        options["iteration_callback"] = self._clock
        self._cold = ca.nlpsol("cold", "ipopt", nlp, options)
        self._warm = ca.nlpsol("warm", "ipopt", nlp, options | {"ipopt": options["ipopt"] | warm})

    def solve(self, arguments: Arguments, task: Task, *, warm: bool) -> Solution:
        solver = self._warm if warm else self._cold
        self._clock.task = task
        solution = solver(**arguments)
        self._clock.task = None
        stats = solver.stats()
        status = _STATUS.get(stats["return_status"], Status.FAILED)
        return _solution(solution, status, stats["iter_count"])

    def function(self, name: str) -> ca.Function:
        return self._cold.get_function(name)


class Fatrop(Solver):
    """FATROP: an interior point method on the stages of an optimal control problem.

    Vanroye, Sathya, De Schutter & Decré, IROS 2023. It cannot be stopped: it runs until it is
    done, and a deadline only keeps it from starting. Version 1.1.8 may never be done where numbers
    are absurd (states that a step moves by a million), so it is not started where they overflow at
    once. It starts from x and u alone, warm with a smaller barrier. Its success counts where the
    conditions of optimality hold at its solution, which is checked here; since numbers that are
    not finite stay in its memory, it is made anew after a failure. Raises ValueError naming what
    has no stages.
    """

    def __init__(self, program: Transcription, limits: Limits) -> None:
        if not program.separable:
            raise ValueError(
                f"solver: 'fatrop' takes costs that are sums over steps, which those under "
                f"{program.problem.risk} are not; take 'ipopt'"
            )
        self._program, self._limits = program, limits
        self._make()
        nlp = program.nlp
        lam = ca.MX.sym("lam", nlp["g"].numel())
        slope = ca.gradient(nlp["f"] + ca.dot(lam, nlp["g"]), nlp["x"])
        self._slope = ca.Function("slope", [nlp["x"], nlp["p"], lam], [slope, nlp["g"]])

    def _make(self) -> None:
        n, follows, of_step, at_end = self._program.stages
        H, nlp = self._program.problem.horizon, self._program.nlp
        options = _SILENT | {
            "structure_detection": "manual",
            "N": H,
            "nx": [n] * (H + 1),
            "nu": [follows] * H + [0],
            "ng": [of_step] * H + [at_end],
        }
        own = {
            "print_level": 0,
            "max_iter": self._limits.iterations,
            "tolerance": self._limits.tolerance,
        }
        self._cold = ca.nlpsol("cold", "fatrop", nlp, options | {"fatrop": own})
        warm = own | {"mu_init": self._limits.warm_barrier}
        self._warm = ca.nlpsol("warm", "fatrop", nlp, options | {"fatrop": warm})
        self._sound = True

    def solve(self, arguments: Arguments, task: Task, *, warm: bool) -> Solution:
        z, rows = np.asarray(arguments["x0"]), len(self._program.g_low)
        if task.expired():
            return Solution(z, np.zeros(len(z)), np.zeros(rows), Status.DEADLINE, 0)
        failed = Solution(z * np.nan, np.zeros(len(z)), np.zeros(rows), Status.FAILED, 0)
        begins = np.concatenate(
            [part.full().ravel() for part in self._slope(z, arguments["p"], np.ones(rows))]
        )
        if not (np.abs(begins) < _ABSURD).all():
            return failed
        if not self._sound:
            self._make()
        solver = self._warm if warm else self._cold
        try:
            solution = solver(**arguments)
        except RuntimeError:  # how CasADi tells that FATROP met numbers that are not finite
            self._sound = False
            return failed
        stats = solver.stats()
        found = _solution(solution, Status.FAILED, stats["iter_count"])
        if stats["success"] and self._optimal(found, arguments):
            status = Status.CONVERGED
        elif found.iterations >= self._limits.iterations:
            status = Status.BUDGET
        else:
            status, self._sound = Status.FAILED, False
        if task.expired() and status is not Status.CONVERGED:
            status = Status.DEADLINE
        return Solution(found.z, found.lam_x, found.lam_g, status, found.iterations)

    def function(self, name: str) -> ca.Function:
        return self._cold.get_function(name)

    def _optimal(self, found: Solution, arguments: Arguments) -> bool:
        """Whether ∇f + λᵀ∇g + λ_x = 0, the constraints hold and multipliers push the right way."""
        slope, g = (
            part.full().ravel() for part in self._slope(found.z, arguments["p"], found.lam_g)
        )
        values, multipliers = (
            np.concatenate(pair) for pair in ((found.z, g), (found.lam_x, found.lam_g))
        )
        low = np.concatenate([np.asarray(arguments["lbx"]), np.asarray(arguments["lbg"])])
        high = np.concatenate([np.asarray(arguments["ubx"]), np.zeros(len(g))])
        with np.errstate(invalid="ignore", over="ignore"):
            violation = np.maximum(0, np.maximum(low - values, values - high))
            # λ times the distance to the bound that its sign tells; none counts for equalities
            apart = np.where(multipliers > 0, high - values, values - low)
            pairs = np.where(low == high, 0.0, multipliers) * np.where(multipliers == 0, 0.0, apart)
        most = _SLACK * self._limits.tolerance * max(1.0, float(np.abs(multipliers).mean()))
        small = np.abs(slope + found.lam_x).max() <= most and np.abs(pairs).max() <= most
        return bool(small and violation.sum() <= FEASIBLE)  # NaN is not small


def _solution(solution: Mapping[str, ca.DM], status: Status, iterations: int) -> Solution:
    z, lam_x, lam_g = (solution[name].full().ravel() for name in ("x", "lam_x", "lam_g"))
    return Solution(z, lam_x, lam_g, status, iterations)


def _hessian_of_cost(program: Transcription) -> ca.Function:
    """∇²(σ f) with what a risk has put into rows, in place of that of σ f + λᵀg."""
    nlp = program.nlp
    sigma, multipliers = ca.MX.sym("sigma"), ca.MX.sym("lambda", nlp["g"].shape[0])
    value = sigma * nlp["f"]
    for name in ("costs", "risk"):
        if name in program.rows:
            where = program.rows[name].ravel().tolist()
            value += ca.dot(multipliers[where], nlp["g"][where])
    hessian, _ = ca.hessian(value, nlp["x"])
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
