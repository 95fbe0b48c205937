"""What planners that compare many candidates ask of a problem."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hybridmodel.problem import OptimalControlProblem
from hybridmodel.rollouts import FusedObjective, objective_kernel


class Judge:
    """Costs of candidates of a task, of a model that stays as it is meanwhile.

    problem    whose objective it is
    x0, pi     (nx,) and (H+1, nπ), the task's
    precision  of the kernel's arithmetic; torch, where there is no kernel, takes the widest of
               model and tensors
    calls      how often it will be asked, which decides whether a kernel is worth compiling
    """

    def __init__(
        self,
        problem: OptimalControlProblem,
        x0: np.ndarray,
        pi: np.ndarray,
        precision: torch.dtype = torch.float64,
        calls: int = 1,
    ) -> None:
        self.problem, self.precision, self.calls = problem, precision, calls
        self.x0, self.pi = torch.tensor(x0), torch.tensor(pi)
        self._asked: tuple[int, ...] = ()

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Cost and violation (B,) of u (B, H, nu); gradients are those in u alone."""
        if not self._asked:
            self._asked = tuple(u.shape)
        if self._kernel is None:
            return self.problem.cost_of(self.x0, u, self.pi)
        return self._costs(u)

    def evaluate(self, u: np.ndarray) -> tuple[float, np.ndarray, float]:
        """Cost, states (H+1, nx) and violation of one u (H, nu) in float64, by the path that the
        candidates took."""
        if not self._asked:
            self._asked = (1, *u.shape)
        if self._kernel is None:
            return self.problem.evaluate(self.x0.numpy(), u, self.pi.numpy())
        cost, violation, x = self._kernel.exact(self.x0, torch.from_numpy(u), self.pi)
        return float(cost), x.numpy(), float(violation)

    @cached_property
    def _costs(self) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        assert self._kernel is not None
        return self._kernel.at(self.x0, self.pi)

    @cached_property
    def _kernel(self) -> FusedObjective | None:
        u = self.x0.new_empty(self._asked)
        return objective_kernel(
            self.problem,
            self.x0,
            u,
            self.pi,
            precision=self.precision,
            fixed=True,
            calls=self.calls,
        )
