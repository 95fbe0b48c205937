"""The Riccati recursion of a linear-quadratic problem as two CasADi Functions.

    min  Σ_{k<N} ½ zₖᵀHₖzₖ + gₖᵀzₖ + ½ x_NᵀP x_N + pᵀx_N,   z = (x, u),   xₖ₊₁ = Jₖzₖ + bₖ

Rawlings, Mayne & Diehl, Model Predictive Control, 2nd ed. 2017, section 8.8.3. The recursion
exists exactly where the Hessian is positive definite on the null space of the dynamics, so its
pivots tell the inertia of the whole system.
"""

from __future__ import annotations

from collections.abc import Mapping

import casadi as ca

from hybridmodel.planners.buffered import Buffered


def factorisation(nx: int, nu: int, N: int) -> Buffered:
    """(H (N, n, n), J (N, n, nx) by columns, P_N) ↦ P (N+1, nx, nx), K (N, nx, nu) by columns,
    Muu⁻¹ (N, nu, nu), pivots (N, nu), all of them positive where the problem is convex."""
    n = nx + nu
    P, H, J = ca.SX.sym("P", nx, nx), ca.SX.sym("H", n, n), ca.SX.sym("J", nx, n)
    M = H + J.T @ P @ J
    Mxx, Mux, Muu = M[:nx, :nx], M[nx:, :nx], M[nx:, nx:]
    pivots, inverse = _inverse(Muu)
    K = -inverse @ Mux
    ahead = Mxx + Mux.T @ K
    ahead = (ahead + ahead.T) / 2
    options = {"cse": True}
    step = ca.Function("step", [P, H, J], [ahead, K, inverse, pivots], options)
    Hs, Js = ca.MX.sym("H", n, n * N), ca.MX.sym("J", nx, n * N)
    last = ca.MX.sym("P", nx, nx)
    Hk, Jk = ca.horzsplit(Hs, n), ca.horzsplit(Js, n)
    found: Mapping[str, list[ca.MX]] = {"P": [last], "K": [], "inverse": [], "pivots": []}
    for k in reversed(range(N)):
        parts = step(found["P"][-1], Hk[k], Jk[k])
        for rows, part in zip(found.values(), parts, strict=True):
            rows.append(part)
    outputs = [ca.horzcat(*reversed(rows)) for rows in found.values()]
    function = ca.Function("factorisation", [Hs, Js, last], outputs)
    return Buffered(function, [(N + 1, nx, nx), (N, nx, nu), (N, nu, nu), (N, nu)])


def substitution(nx: int, nu: int, N: int) -> Buffered:
    """(x₀, g (N, n), b (N, nx), p_N, J, P, K, Muu⁻¹) ↦ z (N, n), x_N, π (N, nx).

    π are the multipliers of xₖ₊₁ − Jₖzₖ − bₖ = 0.
    """
    n = nx + nu
    p, g, b = ca.SX.sym("p", nx), ca.SX.sym("g", n), ca.SX.sym("b", nx)
    P, J = ca.SX.sym("P", nx, nx), ca.SX.sym("J", nx, n)
    K, inverse = ca.SX.sym("K", nu, nx), ca.SX.sym("inverse", nu, nu)
    m = g + J.T @ (p + P @ b)
    back = ca.Function(
        "back", [p, g, b, P, J, K, inverse], [m[:nx] + K.T @ m[nx:], -inverse @ m[nx:]]
    )
    x, k = ca.SX.sym("x", nx), ca.SX.sym("k", nu)
    u = K @ x + k
    z = ca.vertcat(x, u)
    after = J @ z + b
    forth = ca.Function("forth", [x, b, J, K, k, P, p], [after, z, -(P @ after + p)])
    x0, last = ca.MX.sym("x0", nx), ca.MX.sym("p", nx)
    gs, bs, Js = ca.MX.sym("g", n, N), ca.MX.sym("b", nx, N), ca.MX.sym("J", nx, n * N)
    Ps, Ks = ca.MX.sym("P", nx, nx * (N + 1)), ca.MX.sym("K", nu, nx * N)
    inverses = ca.MX.sym("inverse", nu, nu * N)
    gk, bk, Jk = ca.horzsplit(gs), ca.horzsplit(bs), ca.horzsplit(Js, n)
    Pk, Kk, Ik = ca.horzsplit(Ps, nx), ca.horzsplit(Ks, nx), ca.horzsplit(inverses, nu)
    ps: list[ca.MX] = [last] * (N + 1)
    ks: list[ca.MX] = [last] * N
    for i in reversed(range(N)):
        ps[i], ks[i] = back(ps[i + 1], gk[i], bk[i], Pk[i + 1], Jk[i], Kk[i], Ik[i])
    here, zs, multipliers = x0, [], []
    for i in range(N):
        here, zi, pi = forth(here, bk[i], Jk[i], Kk[i], ks[i], Pk[i + 1], ps[i + 1])
        zs.append(zi)
        multipliers.append(pi)
    function = ca.Function(
        "substitution",
        [x0, gs, bs, last, Js, Ps, Ks, inverses],
        [ca.horzcat(*zs), here, ca.horzcat(*multipliers)],
    )
    return Buffered(function, [(N, n), (nx,), (N, nx)])


def _inverse(M: ca.SX) -> tuple[ca.SX, ca.SX]:
    """Pivots d and inverse of M = L diag(d) Lᵀ, without square roots."""
    n = M.shape[0]
    L, d = ca.SX.eye(n), [ca.SX(0)] * n
    for j in range(n):
        d[j] = M[j, j] - sum((L[j, i] ** 2 * d[i] for i in range(j)), ca.SX(0))
        for i in range(j + 1, n):
            rest = sum((L[i, m] * L[j, m] * d[m] for m in range(j)), ca.SX(0))
            L[i, j] = (M[i, j] - rest) / d[j]
    columns = ca.SX.eye(n)
    for i in range(n):
        for j in range(i):
            columns[i, :] -= L[i, j] * columns[j, :]
    pivots = ca.vertcat(*d)
    return pivots, columns.T @ ca.diag(1 / pivots) @ columns
