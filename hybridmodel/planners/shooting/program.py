"""The nonlinear program of multiple shooting in stages, with exact first and second derivatives.

    min  Σ_{k≤N} fₖ(zₖ)   s.t.  xₖ₊₁ = F(zₖ),  cₖ(zₖ) ≤ 0 (or = 0),   zₖ = (xₖ, uₖ)

Rows c of a stage: bounds of x and u that are finite, then g and h; rows that a stage lacks are
there and hold nothing, so that all stages have one shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import casadi as ca
import numpy as np

from hybridmodel.planners.buffered import Buffered, at_nodes
from hybridmodel.planners.nodes import nodes
from hybridmodel.problem import OptimalControlProblem


@dataclass(frozen=True, eq=False)
class Values:
    """cost, defects F(z) − x⁺ (N, nx) and rows c (N+1, m) at a point."""

    cost: float
    defects: np.ndarray
    rows: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether all of it is a number."""
        parts = (self.cost, self.defects.sum(), self.rows.sum())
        return bool(np.isfinite(parts).all())


@dataclass(frozen=True, eq=False)
class Derivatives:
    """∇f (N+1, n), ∂c/∂z (N+1, m, n), J (N, n, nx) by columns, ∇²L (N+1, n, n)."""

    gradient: np.ndarray
    rows: np.ndarray
    jacobian: np.ndarray
    hessian: np.ndarray


class ShootingProgram:
    """Stage functions of a problem, built once; the model's numbers are those at each call."""

    def __init__(self, problem: OptimalControlProblem) -> None:
        self.problem = problem
        N, nx, nu = problem.horizon, problem.model.nx, problem.model.system.nu
        self.N, self.nx, self.nu, self.n = N, nx, nu, nx + nu
        self.nodes = nodes(problem.model, N)
        low = np.concatenate([problem.state_low, problem.input_low])
        high = np.concatenate([problem.state_high, problem.input_high])
        fixed = low == high
        self._bounds = [(j, 1.0, b) for j, b in enumerate(high) if np.isfinite(b)]
        self._bounds += [
            (j, -1.0, -b) for j, b in enumerate(low) if np.isfinite(b) and not fixed[j]
        ]
        self.nb = len(self._bounds)
        self.sizes = {
            "inequality": problem.path_g.size1_out(0),
            "equality": problem.path_h.size1_out(0),
            "terminal_inequality": problem.end_g.size1_out(0),
            "terminal_equality": problem.end_h.size1_out(0),
        }
        path, end = (sum(list(self.sizes.values())[i : i + 2]) for i in (0, 2))
        self.path, self.end, self.m = path, end, self.nb + max(path, end)
        nb, sizes = self.nb, self.sizes
        self.is_equality = np.zeros((N + 1, self.m), bool)
        self.is_equality[:, :nb] = [fixed[j] for j, _, _ in self._bounds]
        self.is_equality[:N, nb + sizes["inequality"] : nb + path] = True
        self.is_equality[N, nb + sizes["terminal_inequality"] : nb + end] = True
        self.live = np.zeros((N + 1, self.m), bool)
        of_state = np.array([j < nx for j, _, _ in self._bounds], bool)
        self.live[1:N, :nb], self.live[0, :nb], self.live[N, :nb] = True, ~of_state, of_state
        self.live[:N, nb : nb + path], self.live[N, nb : nb + end] = True, True
        self.is_equality &= self.live
        self.is_input_bound = np.zeros((N + 1, self.m), bool)
        self.is_input_bound[:N, :nb] = ~of_state & ~self.is_equality[:N, :nb]
        self._linear = np.zeros((N + 1, self.m, self.n))
        for i, (j, sign, _) in enumerate(self._bounds):
            self._linear[:, i, j] = sign
        self._linear *= self.live[..., None]
        self._offsets = np.array([sign and bound for _, sign, bound in self._bounds])
        self._weights = problem.discount ** np.arange(N + 1.0)
        self._build()

    def _build(self) -> None:
        problem, N, nx, n = self.problem, self.N, self.nx, self.n
        z, k, pi = ca.MX.sym("z", n), ca.MX.sym("k"), ca.MX.sym("pi", problem.n_parameters)
        weight, v = ca.MX.sym("weight"), ca.MX.sym("v", len(problem.weights()))
        x, u = z[:nx], z[nx:]
        f = weight * problem.stage(x, u, k, pi, v)
        c = ca.vertcat(problem.path_g(x, u, pi), problem.path_h(x, u, pi))
        end_f = weight * problem.terminal(x, pi, v)
        end_c = ca.vertcat(problem.end_g(x, pi), problem.end_h(x, pi))
        self._stage = _functions("stage", [z, v, k, pi, weight], f, c, N)
        self._terminal = _functions("terminal", [z, v, k, pi, weight], end_f, end_c, 1)

    def point(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """z (N+1, n) of states (N+1, nx) and inputs (N, nu)."""
        return np.hstack([x, np.vstack([u, np.zeros((1, self.nu))])])

    def values(self, z: np.ndarray, pi: np.ndarray) -> Values:
        """Of a point z (N+1, n) with π (N+1, nπ)."""
        N, nx = self.N, self.nx
        self.nodes.at(z[:-1].copy(), pi[:-1, : self.problem.model.system.nd].copy())
        ahead = self.nodes.values()
        cost, c = self._stage[0](*self._arguments(z, pi)[0])
        end, last = self._terminal[0](*self._arguments(z, pi)[1])
        rows = np.full((N + 1, self.m), -1.0)
        columns = [j for j, _, _ in self._bounds]
        bounds = z[:, columns] * [sign for _, sign, _ in self._bounds] - self._offsets
        nb = self.nb
        rows[:, :nb] = np.where(self.live[:, :nb], bounds, -1.0)
        rows[:N, nb : nb + self.path] = c
        rows[N, nb : nb + self.end] = last[0]
        return Values(float(cost.sum() + end.sum()), ahead - z[1:, :nx], rows)

    def derivatives(
        self, z: np.ndarray, pi: np.ndarray, dynamics: np.ndarray, rows: np.ndarray
    ) -> Derivatives:
        """At the point that `values` was last asked for, with multipliers of xₖ₊₁ − F and c."""
        N, nb = self.N, self.nb
        jacobian, curved = self.nodes.derivatives(-dynamics)
        stage, terminal = self._arguments(z, pi)
        path = np.ascontiguousarray(rows[:N, nb : nb + self.path])
        end = np.ascontiguousarray(rows[N:, nb : nb + self.end])
        parts = self._stage[1](*stage, path)
        last = self._terminal[1](*terminal, end)
        gradient, hessian = (
            np.concatenate([a, b]) for a, b in zip(parts[:2], last[:2], strict=True)
        )
        hessian[:N] += curved
        C = self._linear.copy()
        C[:N, nb : nb + self.path] = parts[2].transpose(0, 2, 1)
        C[N:, nb : nb + self.end] = last[2].transpose(0, 2, 1)
        return Derivatives(gradient, C, jacobian, hessian)

    def _arguments(self, z: np.ndarray, pi: np.ndarray) -> tuple[list[np.ndarray], ...]:
        k = np.arange(self.N + 1.0)
        parts, v = (k, pi, self._weights), self.problem.weights()
        stage, terminal = ([part[i] for part in parts] for i in (slice(-1), slice(-1, None)))
        return [z[:-1], v, *stage], [z[-1:], v, *terminal]

    # -- multipliers by name -------------------------------------------------------------------

    def named(
        self, dynamics: np.ndarray, rows: np.ndarray, first: np.ndarray
    ) -> dict[str, np.ndarray]:
        """By constraint as `MultipleShooting` has them; first (nx,) is that of x₀."""
        N, nb, sizes = self.N, self.nb, self.sizes
        found = {"defect": dynamics.copy()}
        for part, names in ((rows[:N], ("", "in")), (rows[N:], ("terminal_", "terminal_in"))):
            g = names[1] + "equality"
            h = names[0] + "equality"
            found[g] = part[:, nb : nb + sizes[g]].copy()
            found[h] = part[:, nb + sizes[g] : nb + sizes[g] + sizes[h]].copy()
        of_bounds = np.zeros((N + 1, self.n))
        for i, (j, sign, _) in enumerate(self._bounds):
            of_bounds[:, j] += sign * rows[:, i]
        of_bounds[0, : self.nx] = first
        return found | {"x": of_bounds[:, : self.nx], "u": of_bounds[:-1, self.nx :]}

    def unnamed(self, given: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
        """Multipliers of dynamics and rows; None where these are not of this program."""
        N, nb, sizes = self.N, self.nb, self.sizes
        shapes = {"defect": (N, self.nx), "x": (N + 1, self.nx), "u": (N, self.nu)}
        shapes |= {name: (1 if "terminal" in name else N, size) for name, size in sizes.items()}
        for name, shape in shapes.items():
            if name not in given or given[name].shape != shape:
                return None
            if not np.isfinite(given[name]).all():
                return None
        rows = np.zeros((N + 1, self.m))
        of_bounds = self.point(given["x"], given["u"])
        for i, (j, sign, _) in enumerate(self._bounds):
            rows[:, i] = sign * of_bounds[:, j]
        path, end = (
            np.hstack([given[h + "inequality"], given[h + "equality"]]) for h in ("", "terminal_")
        )
        rows[:N, nb : nb + self.path], rows[N:, nb : nb + self.end] = path, end
        rows = np.where(self.is_equality, rows, np.maximum(rows, 0))
        return np.array(given["defect"]), np.where(self.live, rows, 0.0)


def _functions(
    name: str, inputs: list[ca.MX], f: ca.MX, c: ca.MX, N: int
) -> tuple[Buffered, Buffered]:
    """(f, c) and (∇f, ∇²(f + λᵀc), ∂c/∂z by columns of its transpose) at N nodes."""
    z, given = inputs[0], ca.MX.sym("multipliers", c.shape[0])
    hessian, _ = ca.hessian(f + ca.dot(given, c), z)
    value = ca.Function(name, inputs, [f, c])
    derived = [ca.gradient(f, z), hessian, ca.jacobian(c, z)]
    both = ca.Function(f"{name}_derivatives", [*inputs, given], derived)
    return at_nodes(value, N, [1]), at_nodes(both, N, [1])
