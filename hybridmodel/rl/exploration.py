"""Exploration: the next episode goes where the members of an ensemble part."""

from __future__ import annotations

import math

import casadi as ca

from hybridmodel.costs import Cost
from hybridmodel.model import HybridModel
from hybridmodel.problem import Caution
from residuals import Probabilistic


class Curiosity(Cost):
    """ℓ = w ℓ_task − D / (1 + D),  V = w V_task,  D = mean_i Var_e(r_i)/s_i² of the model there.

    What is in doubt is worth at most 1 a step, D is what `Caution` calls disagreement.

    model   one whose residual is Probabilistic; Curiosity is about the residual it has now
    task    a cost that counts too; None explores alone
    weight  w, in units of one step in doubt for one of the task's cost

    Sekar et al., Planning to Explore via Self-Supervised World Models, ICML 2020, eq. 3. Raises
    ValueError for a residual that does not know its doubt, and for a weight that is negative.
    """

    def __init__(self, model: HybridModel, task: Cost | None = None, *, weight: float = 1.0):
        if not isinstance(model.residual, Probabilistic):
            raise ValueError(
                f"model: its residual {type(model.residual).__name__} does not know its doubt; "
                "wanted a Probabilistic, like Ensemble"
            )
        if model.system.nd:
            raise ValueError("model: its doubt depends on exogenous signals, which a cost lacks")
        if not 0 <= weight < math.inf:
            raise ValueError(f"weight must be at least 0, got {weight!r}")
        self.model, self.task, self.weight = model, task, weight
        self.parameters = () if task is None else task.parameters
        self._doubt = Caution(disagreement=1.0)

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        memory = ca.SX.zeros(self.model.nx - x.shape[0])
        doubt = self._doubt.stage(self.model, ca.vertcat(x, memory), u, ca.SX(0, 1))
        known = 0 if self.task is None else self.weight * self.task.stage(x, u, k, pi)
        return known - doubt / (1 + doubt)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(0) if self.task is None else self.weight * self.task.terminal(x, pi)
