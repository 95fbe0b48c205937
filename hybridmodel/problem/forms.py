"""A problem's objective in CasADi: stage, terminal, and a whole rollout with its cost."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import casadi as ca
import numpy as np

from hybridmodel.bridges.network import pack_weights
from hybridmodel.bridges.torch_to_casadi import to_casadi
from hybridmodel.learned import Pieces
from hybridmodel.problem.constraints import above

if TYPE_CHECKING:
    from hybridmodel.problem.problem import OptimalControlProblem


class Forms:
    """Functions made from the model and the cost's networks as they are now, but for numbers.

    stage      (x, u, k, π, v) ↦ ℓ
    terminal   (x, π, v) ↦ V
    rollout    (x0, U (nu, H), π (nπ, H+1), p, w, v) ↦ cost, states (nx, H+1), violation

    w are the model's weights, v the cost's: `problem.weights()`, which is empty where nothing is
    learned. Each raises ValueError where a network has no CasADi form.
    """

    def __init__(self, problem: OptimalControlProblem) -> None:
        self.problem = problem

    @cached_property
    def stage(self) -> ca.Function:
        x = self.problem.model.nx
        return self._cost("stage", self.problem.stage_terms, ["x", "u", "k", "pi"], after=x)

    @cached_property
    def terminal(self) -> ca.Function:
        return self._cost("terminal", self.problem.terminal_terms, ["x", "pi"])

    @cached_property
    def rollout(self) -> ca.Function:
        problem, model, H = self.problem, self.problem.model, self.problem.horizon
        step = model.step_function(weights="parameters")
        x0, U = ca.MX.sym("x0", model.nx), ca.MX.sym("U", model.system.nu, H)
        pi = ca.MX.sym("pi", problem.n_parameters, H + 1)
        p, w = ca.MX.sym("p", step.size1_in(2)), ca.MX.sym("w", len(model.weights()))
        v = ca.MX.sym("v", len(problem.weights()))
        weights = [w] if model.residual is not None else []
        ahead, end = pi[:, :-1], pi[:, -1]
        states = [x0]
        known = ahead[: model.system.nd, :]
        for u, d in zip(ca.horzsplit(U), ca.horzsplit(known), strict=True):
            states.append(step(states[-1], u, p, d, *weights))  # mapaccum would copy w each time
        x, after = ca.horzcat(*states), ca.horzcat(*states[1:])
        before, last = x[:, :-1], x[:, -1]
        k, gamma = ca.DM(np.arange(H)[None, :]), ca.DM(problem.discount ** np.arange(H))
        stage = self.stage.map(H)(before, U, k, ahead, ca.repmat(v, 1, H))
        cost = stage @ gamma + problem.discount**H * self.terminal(last, end, v)
        low, high = (ca.repmat(ca.DM(b), 1, H) for b in (problem.state_low, problem.state_high))
        overstepped = (
            ca.fmax(low - after, 0),
            ca.fmax(after - high, 0),
            above(problem.path_g.map(H)(before, U, ahead)),
            ca.fabs(problem.path_h.map(H)(before, U, ahead)),
            above(problem.end_g(last, end)),
            ca.fabs(problem.end_h(last, end)),
        )
        violation = ca.sum1(ca.veccat(*overstepped))
        return ca.Function("rollout", [x0, U, pi, p, w, v], [cost, x, violation])

    def _cost(self, name: str, pieces: Pieces, names: list[str], *, after: int = 0) -> ca.Function:
        networks = self.problem.networks
        symbol: Any = ca.MX if networks else ca.SX
        inputs = [symbol.sym(n, pieces.result.size1_in(i)) for i, n in enumerate(names)]
        v = symbol.sym("v", len(self.problem.weights()))
        sizes = [len(pack_weights(network)) for network in networks]
        own = dict(zip(networks, ca.vertsplit(v, [0, *np.cumsum(sizes)]), strict=True))

        def apply(i: int, z: ca.MX) -> ca.MX:
            network = pieces.modules[i]
            try:
                form = to_casadi(network, nz=z.shape[0], weights="parameters")
            except ValueError as error:
                raise ValueError(
                    f"cost.{name} calls a network that only planners in torch can use: {error}"
                ) from error
            return form(z, own[network])

        unread = [symbol.zeros(after)] if after else []  # x⁺ is asked for by the violation alone
        value = pieces.run(apply, *inputs, *unread)[0]
        # an argument that a caller forgets is NaN, where CasADi alone would take it for 0
        options = {"default_in": [math.nan] * (len(names) + 1)}
        return ca.Function(name, [*inputs, v], [value], [*names, "v"], ["cost"], options)
