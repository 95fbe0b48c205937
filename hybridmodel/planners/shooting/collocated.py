"""The dynamics of all nodes by collocation: within a step the states are a polynomial.

    x(t_k + τ dt) = Σ_i ℓ_i(τ) x_{k,i},   Σ_i ℓ̇_i(τ_j) x_{k,i} = dt f(x_{k,j}, u_k),   j = 1 … d
    x_{k+1} = Σ_i ℓ_i(1) x_{k,i},   x_{k,0} = x_k,   ℓ_i the Lagrange polynomials of (0, τ_1 … τ_d)

Biegler, Nonlinear Programming, SIAM 2010, ch. 10. x_{k,1} … x_{k,d} are unknowns of the program.
Of order 2d − 1 at Radau's points and 2d at Legendre's (Hairer & Wanner, Solving ODEs II, IV.5).
"""

from __future__ import annotations

from typing import Literal

import casadi as ca
import numpy as np

from hybridmodel.equations import flow
from hybridmodel.model import HybridModel
from hybridmodel.planners.shooting.dynamics import Dynamics, Inner
from hybridmodel.planners.shooting.networks import networks

Points = Literal["radau", "legendre"]


def collocated_dynamics(
    model: HybridModel, count: int, *, degree: int, points: Points, members: bool = False
) -> Dynamics:
    """By `degree` points in each of N steps, with the weights as parameters.

    Raises ValueError with the reason where the model has no ODE.
    """
    model.ode_function(weights="parameters")
    nets, nx, nu, N = networks(model, members=members), model.nx, model.system.nu, count
    x, u = ca.MX.sym("x", nx), ca.MX.sym("u", nu)
    p, d = ca.MX.sym("p", len(model.fit_parameters)), ca.MX.sym("d", model.system.nd)
    w = ca.MX.sym("w", nets.size)
    value = flow(model.equations, nets.at(w), model.scheme, x, u, p, d)
    # derivatives in the weights, many times the work, are left out only where nothing asks for them
    asked, calls = {"is_diff_in": [True, True, False, False, False]}, nets.count * degree * N
    many = ca.Function("f", [x, u, p, d, w], [value], asked).map(calls)
    tau = ca.collocation_points(degree, points)
    slopes, ends, _ = (c.full() for c in map(ca.DM, ca.collocation_coeff(tau)))
    n = nets.count * nx

    def inside(U: ca.MX) -> list[ca.MX]:
        """x_{k,1} … x_{k,d}, (E·nx, N) each."""
        return [U[nu + j * n : nu + (j + 1) * n, :] for j in range(degree)]

    def rows(X: ca.MX, U: ca.MX, p: ca.MX, D: ca.MX, w: ca.MX) -> ca.MX:
        nodes = [X, *inside(U)]
        turns = [sum(slopes[i, j] * s for i, s in enumerate(nodes)) for j in range(degree)]
        known = nets.each(U[:nu, :], degree), ca.repmat(p, 1, calls), nets.each(D, degree)
        found = many(ca.reshape(U[nu:, :], nx, calls), *known, nets.columns(w, degree * N))
        return ca.vertcat(*turns) - model.dt * ca.reshape(found, degree * n, N)

    def steps(X: ca.MX, U: ca.MX, p: ca.MX, D: ca.MX, w: ca.MX) -> ca.MX:
        nodes = [X, *inside(U)]
        return ca.MX(sum(c * s for c, s in zip(ends.ravel(), nodes, strict=True)))

    def start(states: np.ndarray) -> np.ndarray:
        before, after = states[:-1], states[1:]
        return np.hstack([before + t * (after - before) for t in tau])

    inner = Inner(degree * n, rows, start)
    return Dynamics("collocation", steps, nets.weights, members=nets.count, inner=inner)
