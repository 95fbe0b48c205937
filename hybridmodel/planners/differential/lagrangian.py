"""The augmented Lagrangian of a problem, stage by stage, with exact derivatives.

    L = Σ_{k<H} γᵏℓ + γᴴV + Σ ψ(g; λ, ρ) + Σ (ν h + ρ/2 h²)
    ψ(g; λ, ρ) = (max(0, λ + ρ g)² − λ²)/(2ρ)

g ≤ 0 path and terminal inequalities and the bounds of x₁ … x_H, h = 0 equalities, λ ≥ 0 and ν
multipliers, ρ > 0 penalty. Nocedal & Wright, Numerical Optimization, 2006, eq. 17.65 with its
slacks eliminated; within a trajectory optimiser: Howell, Jackson & Manchester, ALTRO, IROS 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import casadi as ca
import numpy as np

from hybridmodel.planners.buffered import Buffered, at_nodes
from hybridmodel.problem import OptimalControlProblem


@dataclass(frozen=True, eq=False)
class Constraints:
    """Values or multipliers of all constraints.

    below, equal          (…, H, rows)  g and h of each step; the bounds of x stand last in g
    last_below, last_equal  (…, rows)   the same at the end of the horizon
    """

    below: np.ndarray
    equal: np.ndarray
    last_below: np.ndarray
    last_equal: np.ndarray

    def violation(self) -> np.ndarray:
        """How far all are overstepped together (…,); NaN where one is not finite."""
        within = np.maximum(self.below, 0).sum((-2, -1)) + np.abs(self.equal).sum((-2, -1))
        return within + np.maximum(self.last_below, 0).sum(-1) + np.abs(self.last_equal).sum(-1)

    def largest(self) -> float:
        """The largest entry in absolute value, 0 where there is none."""
        parts = (self.below, self.equal, self.last_below, self.last_equal)
        return max((float(np.abs(part).max(initial=0.0)) for part in parts), default=0.0)

    def at(self, i: int) -> Constraints:
        """Those of one of several trajectories."""
        return Constraints(self.below[i], self.equal[i], self.last_below[i], self.last_equal[i])

    def residual(self, multipliers: Constraints, penalty: float) -> float:
        """max of |h| and |max(g, −λ/ρ)|: 0 where all hold and λ is complementary to g."""
        return Constraints(
            np.maximum(self.below, -multipliers.below / penalty),
            self.equal,
            np.maximum(self.last_below, -multipliers.last_below / penalty),
            self.last_equal,
        ).largest()

    def updated(self, multipliers: Constraints, penalty: float) -> Constraints:
        """λ ← max(0, λ + ρ g), ν ← ν + ρ h, where these are the values g and h."""
        return Constraints(
            np.maximum(multipliers.below + penalty * self.below, 0),
            multipliers.equal + penalty * self.equal,
            np.maximum(multipliers.last_below + penalty * self.last_below, 0),
            multipliers.last_equal + penalty * self.last_equal,
        )


@dataclass(frozen=True, eq=False)
class Valued:
    """Of `side` trajectories: L, the cost alone (side,), and the values of the constraints."""

    merit: np.ndarray
    cost: np.ndarray
    constraints: Constraints


class Lagrangian:
    """Functions of a problem, built once; `side` trajectories are valued at one time."""

    def __init__(self, problem: OptimalControlProblem, side: int) -> None:
        self.problem, self.side = problem, side
        model, bounds = problem.model, (problem.state_high, problem.state_low)
        self._rows = tuple(np.flatnonzero(np.isfinite(bound)) for bound in bounds)
        H, n = problem.horizon, model.nx
        self._k = np.arange(H, dtype=float)[:, None]
        self._later, self._weight = (self._k > 0).astype(float), problem.discount**self._k
        self._last_weight = np.array(problem.discount**H)
        z, end = ca.MX.sym("z", n + model.system.nu), ca.MX.sym("end", n)
        x, u, k, pi = z[:n], z[n:], ca.MX.sym("k"), ca.MX.sym("pi", problem.n_parameters)
        later, weight, rho = (ca.MX.sym(name) for name in ("later", "weight", "rho"))
        v = ca.MX.sym("v", len(problem.weights()))

        def outside(x: ca.MX) -> list[ca.MX]:
            above = [x[int(i)] - problem.state_high[i] for i in self._rows[0]]
            return above + [problem.state_low[i] - x[int(i)] for i in self._rows[1]]

        stage = (
            weight * problem.stage(x, u, k, pi, v),
            ca.vertcat(problem.path_g(x, u, pi), *(later * row for row in outside(x))),
            problem.path_h(x, u, pi),
        )
        last = (
            weight * problem.terminal(end, pi, v),
            ca.vertcat(problem.end_g(end, pi), *outside(end)),
            problem.end_h(end, pi),
        )
        self._sizes = [part.numel() for part in (*stage[1:], *last[1:])]
        self._forms: dict[str, Buffered] = {}
        for name, terms, variables, given, count in (
            ("stage", stage, z, [z, k, pi, later, weight], H),
            ("last", last, end, [end, pi, weight], 1),
        ):
            cost, below, equal = terms
            dual_g, dual_h = ca.MX.sym("dual_g", below.numel()), ca.MX.sym("dual_h", equal.numel())
            pushed = ca.fmax(dual_g + rho * below, 0)
            merit = cost + (ca.sumsqr(pushed) - ca.sumsqr(dual_g)) / (2 * rho)
            merit += ca.dot(dual_h, equal) + rho / 2 * ca.sumsqr(equal)
            hessian, gradient = ca.hessian(merit, variables)
            inputs = [*given, dual_g, dual_h, rho, v]
            shared = [len(inputs) - 2, len(inputs) - 1]
            value = ca.Function(f"{name}_value", inputs, [merit, *terms])
            slopes = ca.Function(f"{name}_slopes", inputs, [gradient, hessian])
            self._forms[f"{name}_value"] = at_nodes(value, side * count, shared)
            self._forms[f"{name}_slopes"] = at_nodes(slopes, count, shared)
        self.refresh()

    def refresh(self) -> None:
        """Takes the weights of learned costs as they are now."""
        self._v = self.problem.weights()

    def nothing(self) -> Constraints:
        """Multipliers that are zero."""
        H, (below, equal, last_below, last_equal) = self.problem.horizon, self._sizes
        shapes = ((H, below), (H, equal), (last_below,), (last_equal,))
        return Constraints(*(np.zeros(shape) for shape in shapes))

    def values(
        self, x: np.ndarray, u: np.ndarray, pi: np.ndarray, duals: Constraints, penalty: float
    ) -> Valued:
        """Of x (side, H+1, nx) and u (side, H, nu)."""
        H, side = self.problem.horizon, self.side

        def each(rows: np.ndarray) -> np.ndarray:
            return np.broadcast_to(rows, (side, *rows.shape))

        shared = np.array(penalty), self._v
        merit, cost, below, equal = self._forms["stage_value"](
            np.concatenate([x[:, :-1], u], 2), *map(each, self._stage(pi, duals)), *shared
        )
        last_merit, last_cost, last_below, last_equal = self._forms["last_value"](
            x[:, -1], *map(each, self._end(pi, duals)), *shared
        )
        return Valued(
            merit.reshape(side, H).sum(1) + last_merit[:, 0],
            cost.reshape(side, H).sum(1) + last_cost[:, 0],
            Constraints(
                below.reshape(side, H, -1), equal.reshape(side, H, -1), last_below, last_equal
            ),
        )

    def slopes(
        self, x: np.ndarray, u: np.ndarray, pi: np.ndarray, duals: Constraints, penalty: float
    ) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Gradients (H, nx + nu), Hessians of the stages, and those of the end."""
        shared = np.array(penalty), self._v
        gradient, hessian = self._forms["stage_slopes"](
            np.hstack([x[:-1], u]), *self._stage(pi, duals), *shared
        )
        last, curved = self._forms["last_slopes"](x[-1], *self._end(pi, duals), *shared)
        n = x.shape[1]
        return gradient, hessian, (last[0], curved.reshape(n, n))

    def named(self, duals: Constraints) -> dict[str, np.ndarray]:
        """Multipliers in the layout of `MultipleShooting`; rows of x hold upper less lower."""
        problem, H = self.problem, self.problem.horizon
        high, low = self._rows
        g, last_g = problem.path_g.numel_out(0), problem.end_g.numel_out(0)
        x = np.zeros((H + 1, problem.model.nx))
        bounds = np.vstack([duals.below[:, g:], duals.last_below[None, last_g:]])
        x[:, high] += bounds[:, : len(high)]
        x[:, low] -= bounds[:, len(high) :]
        return {
            "inequality": duals.below[:, :g],
            "equality": duals.equal,
            "terminal_inequality": duals.last_below[None, :last_g],
            "terminal_equality": duals.last_equal[None],
            "x": x,
        }

    def unnamed(self, given: Mapping[str, np.ndarray]) -> Constraints | None:
        """The other way; None where they are not of this layout or not finite."""
        wanted = self.named(self.nothing())
        for name, rows in wanted.items():
            if name not in given or given[name].shape != rows.shape:
                return None
            if not np.isfinite(given[name]).all():
                return None
        high, low = self._rows
        bounds = np.hstack([given["x"][:, high], -given["x"][:, low]])
        bounds[0] = 0.0  # x₀ is given, not bounded
        below, last = given["inequality"], given["terminal_inequality"][0]
        return Constraints(
            np.maximum(np.hstack([below, bounds[:-1]]), 0),
            given["equality"].copy(),
            np.maximum(np.append(last, bounds[-1]), 0),
            given["terminal_equality"][0].copy(),
        )

    def _stage(self, pi: np.ndarray, duals: Constraints) -> tuple[np.ndarray, ...]:
        """What the functions of a stage are given beside z, one row a step."""
        return self._k, pi[:-1], self._later, self._weight, duals.below, duals.equal

    def _end(self, pi: np.ndarray, duals: Constraints) -> tuple[np.ndarray, ...]:
        return pi[-1], self._last_weight, duals.last_below, duals.last_equal
