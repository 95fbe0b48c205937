"""Paths of a model from one state: rolled out under a policy, valued, expanded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hybridmodel.planners.differential.chart import Chart
from hybridmodel.planners.differential.lagrangian import Constraints, Lagrangian
from hybridmodel.planners.differential.riccati import Expansion, Policy
from hybridmodel.planners.nodes import Nodes
from hybridmodel.planners.planner import FEASIBLE, Task

SIDE = 8  # step lengths tried side by side, which is as many as two vectors of the kernel hold
STEPS = 0.5 ** np.arange(SIDE)


@dataclass(frozen=True, eq=False)
class Path:
    """A trajectory with its merit, its cost alone and the values of its constraints."""

    x: np.ndarray
    u: np.ndarray
    merit: float
    cost: float
    constraints: Constraints

    @property
    def finite(self) -> bool:
        """Whether all of it is a number."""
        return bool(np.isfinite(self.merit))

    @property
    def rank(self) -> tuple[bool, float]:
        """Feasible ones by cost before the others by violation."""
        violation = float(self.constraints.violation())
        if violation <= FEASIBLE and self.finite:
            return False, self.cost
        return True, violation if np.isfinite(violation) and self.finite else np.inf


class Local:
    """The expansion of a path, in the tangent space where there are rotations.

    raw     in x, first order in the steps
    chart   None where there are none
    nodes   at the path's points
    """

    def __init__(self, raw: Expansion, chart: Chart | None, nodes: Nodes) -> None:
        self.raw, self.chart, self.nodes = raw, chart, nodes
        self.first = raw if chart is None else chart.expansion(raw)
        self.costates = raw.costates()
        n = raw.F.shape[1]
        self.slopes = raw.gradient[:, n:] + (self.costates[1:, None] @ raw.F[:, :, n:])[:, 0]

    @cached_property
    def second(self) -> Expansion:
        """With the curvature of the steps; asked before the nodes go elsewhere."""
        ahead = self.costates if self.chart is None else self.chart.costates(self.costates)
        hessian = self.raw.hessian + self.nodes.derivatives(ahead[1:])[1]
        if self.chart is not None:
            hessian = self.chart.hessian(hessian, self.costates[:-1])
        return replace(self.first, hessian=hessian)

    def policy(self, found: Policy) -> Policy:
        """With gains of x."""
        if self.chart is None:
            return found
        return replace(found, K=found.K @ self.chart.E[: len(found.K)])


class Paths:
    """Those of one task, for multipliers and a penalty that may change."""

    def __init__(self, lagrangian: Lagrangian, nodes: Nodes, task: Task) -> None:
        self.problem, self.lagrangian = lagrangian.problem, lagrangian
        self.nodes, self.task = nodes, task
        self.duals, self.penalty = lagrangian.nothing(), 1.0
        self.rotations = self.problem.model.system.quaternion_rows

    def rolled(self, x: np.ndarray, u: np.ndarray, policy: Policy) -> list[Path]:
        """Under u + α k + K (x̂ − x), one for each step length α."""
        problem, task = self.problem, self.task
        H, nd = problem.horizon, problem.model.system.nd
        low, high, signals = problem.input_low, problem.input_high, task.pi[:, :nd]
        ahead = np.empty((SIDE, H + 1, x.shape[1]))
        inputs = np.empty((SIDE, *u.shape))
        pushed = u + STEPS[:, None, None] * policy.k
        ahead[:, 0] = task.x0
        transposed, step = policy.K.transpose(0, 2, 1), self.nodes.step
        for k in range(H):
            here = ahead[:, k]
            act = pushed[:, k] + (here - x[k]) @ transposed[k]
            inputs[:, k] = act = np.minimum(np.maximum(act, low), high)
            ahead[:, k + 1] = step(here, act, signals[k])
        return self._valued(ahead, inputs)

    def open_loop(self, u: np.ndarray) -> Path:
        """Under inputs (H, nu) as they are."""
        H, n = self.problem.horizon, self.problem.model.nx
        still = Policy(np.zeros_like(u), np.zeros((H, u.shape[1], n)), 0.0, 0.0)
        return self.rolled(np.tile(self.task.x0, (H + 1, 1)), u, still)[0]

    def again(self, path: Path) -> Path:
        """With the multipliers and the penalty of now."""
        x, u = (np.repeat(v[None], SIDE, 0) for v in (path.x, path.u))
        return self._valued(x, u)[0]

    def local(self, x: np.ndarray, u: np.ndarray) -> Local:
        """The expansion around x (H+1, nx), u (H, nu), which need not be a rollout."""
        pi, nd = self.task.pi, self.problem.model.system.nd
        self.nodes.at(np.hstack([x[:-1], u]), pi[:-1, :nd])
        F = self.nodes.jacobian().transpose(0, 2, 1)
        slopes = self.lagrangian.slopes(x, u, pi, self.duals, self.penalty)
        chart = Chart(self.rotations, x) if self.rotations else None
        return Local(Expansion(F, *slopes), chart, self.nodes)

    def _valued(self, x: np.ndarray, u: np.ndarray) -> list[Path]:
        found = self.lagrangian.values(x, u, self.task.pi, self.duals, self.penalty)
        known = np.isfinite(x).all((1, 2)) & np.isfinite(u).all((1, 2))
        merit = np.where(known & np.isfinite(found.constraints.violation()), found.merit, np.inf)
        merit[np.isnan(merit)] = np.inf
        return [
            Path(x[i], u[i], float(merit[i]), float(found.cost[i]), found.constraints.at(i))
            for i in range(SIDE)
        ]
