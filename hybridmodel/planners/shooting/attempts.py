"""Which of several attempts at a plan counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from hybridmodel.planners.planner import FEASIBLE, Candidate, Status, Task
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.rollouts import REPEATED, FusedObjective, objective_kernel

Ranked = tuple[tuple[bool, float], Candidate]  # whether infeasible and its cost, the result
SHORTFALL = 2.0  # a result this many times the promised cost above it is another optimum


def settled(found: Sequence[Ranked], tolerance: float) -> Candidate | None:
    """One that converged and, to the tolerance, is as cheap as the best of these."""
    (infeasible, cost), _ = min(found, key=lambda pair: pair[0])
    near = cost + tolerance * (1 + abs(cost))
    for rank, candidate in found:
        if candidate.status is Status.CONVERGED and rank <= (infeasible, near):
            return candidate
    return None


class Ranking:
    """How good inputs are under the model as it is: feasible ones first, then by cost.

    Made anew where more of the problem's networks than numbers has changed. Several are rolled
    out beside each other, which takes the kernel no longer than one.
    """

    def __init__(self, problem: OptimalControlProblem) -> None:
        self.problem = problem
        modules = (problem.model, *problem.networks)
        self._tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
        self._kept: tuple[str, list[torch.Tensor], FusedObjective | None] | None = None

    def __call__(self, task: Task, *found: Candidate) -> list[Ranked]:
        """Results whose inputs are inside their bounds, with what a rollout says of them."""
        low, high = self.problem.input_low, self.problem.input_high
        inside = [np.clip(one.u, low, high) for one in found]
        known = [i for i, one in enumerate(found) if np.isfinite(one.u).all()]
        told = dict(zip(known, self.rolled(task, [inside[i] for i in known]), strict=True))
        ranked: list[Ranked] = []
        for i, one in enumerate(found):
            if i not in told:
                ranked.append(((True, np.inf), replace(one, status=Status.FAILED)))
                continue
            cost, _, violation = told[i]
            rank = not violation <= FEASIBLE, cost if np.isfinite(cost) else np.inf
            ranked.append((rank, replace(one, u=inside[i], evaluated=told[i])))
        return ranked

    def rolled(
        self, task: Task, inputs: Sequence[np.ndarray]
    ) -> list[tuple[float, np.ndarray, float]]:
        """Cost, states (H+1, nx) and violation of each u (H, nu)."""
        x0, pi = torch.tensor(task.x0), torch.tensor(task.pi)
        kernel = self._kernel(x0, pi) if inputs else None
        if kernel is None:
            return [self.problem.evaluate(task.x0, u, task.pi) for u in inputs]
        costs, violations, x = kernel.exact(x0, torch.from_numpy(np.stack(inputs)), pi)
        return list(zip(costs.tolist(), x.numpy(), violations.tolist(), strict=True))

    def _kernel(self, x0: torch.Tensor, pi: torch.Tensor) -> FusedObjective | None:
        """As it is kept while no number changes."""
        backend = self.problem.model.backend
        if self._kept is not None:
            before, numbers, kernel = self._kept
            if before == backend and all(map(torch.equal, self._tensors, numbers)):
                return kernel
        problem = self.problem
        many = x0.new_empty(REPEATED, problem.horizon, problem.model.system.nu)  # comes again
        kernel = objective_kernel(problem, x0, many, pi, fixed=True)
        self._kept = backend, [t.detach().clone() for t in self._tensors], kernel
        return kernel
