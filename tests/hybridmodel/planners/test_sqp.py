"""The SQP against known optima, IPOPT, and the conditions of optimality evaluated by CasADi."""

from __future__ import annotations

import dataclasses

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import Cost, HybridModel, MultipleShooting, OptimalControlProblem, Quadratic
from hybridmodel.planners import Plan, Status
from hybridmodel.planners.nodes import CasadiNodes, KernelNodes
from hybridmodel.planners.shooting.active_rows import solve_active
from hybridmodel.planners.shooting.interior_point import solve_interior
from hybridmodel.planners.shooting.quadratic import RiccatiSolver, Solution, StageQP
from hybridmodel.planners.sqp import SQP
from physics import CartPole, Linear, Pendulum, Quadrotor
from residuals import MLP

OSCILLATOR = Linear(A=((0.0, 1.0), (-1.0, -0.2)), B=((0.0,), (1.0,)))
X0 = np.array([1.0, -0.5])


def regulator(discount: float = 1.0, bound: float = 50.0) -> OptimalControlProblem:
    cost = Quadratic(
        OSCILLATOR, state={"x0": 1.0, "x1": 0.1}, input={"u0": 0.05}, terminal={"x0": 5, "x1": 1}
    )
    model = HybridModel(OSCILLATOR, dt=0.1)
    bounds = ([-bound], [bound])
    return OptimalControlProblem(model, cost, horizon=10, discount=discount, input_bounds=bounds)


def riccati(problem: OptimalControlProblem, x0: np.ndarray) -> tuple[float, np.ndarray]:
    """Optimal cost and inputs of the discounted finite horizon, on the model's exact F."""
    A, B = (m.numpy() for m in problem.model.linearize(*(torch.zeros(n).double() for n in (2, 1))))
    Q, R, P = np.diag([1.0, 0.1]), np.diag([0.05]), np.diag([5.0, 1.0])
    gamma, gains = problem.discount, []
    for _ in range(problem.horizon):
        K = np.linalg.solve(R + gamma * B.T @ P @ B, gamma * B.T @ P @ A)
        P = Q + gamma * A.T @ P @ (A - B @ K)
        gains.append(K)
    x, u = x0, []
    for K in reversed(gains):
        u.append(-K @ x)
        x = A @ x + B @ u[-1]
    return float(x0 @ P @ x0), np.array(u)


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_one_step_solves_the_linear_quadratic_regulator(discount: float) -> None:
    problem = regulator(discount)
    cost, u = riccati(problem, X0)
    plan = SQP(problem).plan(X0)
    assert (plan.status, plan.iterations) == (Status.CONVERGED, 1)
    assert plan.cost == pytest.approx(cost, rel=1e-12)
    assert plan.u == pytest.approx(u, abs=1e-8)


# -- quadratic programs ------------------------------------------------------------------------


def program(seed: int, nx: int = 3, nu: int = 2, N: int = 6, tilt: float = 0.0) -> StageQP:
    """A random program with box rows on u and one row on z; tilt makes H indefinite."""
    draw = np.random.default_rng(seed)
    n = nx + nu
    half = draw.normal(size=(N + 1, n, n)) / 2
    C = np.zeros((N + 1, 2 * nu + 1, n))
    C[:N, :nu, nx:], C[:N, nu : 2 * nu, nx:] = np.eye(nu), -np.eye(nu)
    C[1:N, -1] = draw.normal(size=n)
    c = np.full(C.shape[:2], -0.3)
    most = np.full(c.shape, np.inf)
    most[:, -1] = 1e4
    H = half @ half.transpose(0, 2, 1) + (0.5 - tilt) * np.eye(n)
    H[-1, nx:], H[-1, :, nx:] = 0, 0
    g = draw.normal(size=(N + 1, n))
    g[-1, nx:] = 0
    return StageQP(
        H=H,
        g=g,
        J=draw.normal(size=(N, n, nx)) * 0.5,
        b=draw.normal(size=(N, nx)) * 0.3,
        C=C,
        c=c,
        least=np.zeros(c.shape),
        most=most,
        x0=draw.normal(size=nx) * 0.3,
    )


def unmet(qp: StageQP, found: Solution) -> float:
    """The largest error in the KKT conditions, by the whole matrices."""
    N, n, nx = qp.J.shape
    A = np.zeros((nx * (N + 1), (N + 1) * n))
    A[:nx, :nx] = np.eye(nx)
    for k in range(N):
        rows = slice((k + 1) * nx, (k + 2) * nx)
        A[rows, k * n : (k + 1) * n] = -qp.J[k].T
        A[rows, (k + 1) * n : (k + 1) * n + nx] = np.eye(nx)
    C, H = (np.asarray(ca.diagcat(*map(ca.DM, parts))) for parts in (qp.C, qp.H))
    z, rows = found.z.ravel(), found.rows.ravel()
    value = C @ z + qp.c.ravel()
    dual = H @ z + qp.g.ravel() + A[nx:].T @ found.dynamics.ravel() + C.T @ rows
    ahead = A @ z - np.concatenate([qp.x0, qp.b.ravel()])
    parts = dual[nx:], ahead, np.maximum(value, 0), rows * value, np.minimum(rows, 0)
    return max(np.abs(part).max() for part in parts)


@pytest.mark.parametrize("seed", range(6))
def test_both_ways_through_a_program_find_its_solution(seed: int) -> None:
    qp = program(seed)
    solver, start = RiccatiSolver(3, 2, 6), np.zeros_like(qp.c)
    inner = solve_interior(solver, qp, rows=start, centre=1e-2, tolerance=1e-10)
    assert inner.shift == 0
    assert (inner.rows > 1e-3).sum() > 2  # some rows act
    assert unmet(qp, inner) < 1e-8
    outer = solve_active(solver, qp, rows=inner.rows, tolerance=1e-9)
    assert outer is not None
    assert unmet(qp, outer) < 1e-7
    assert outer.z == pytest.approx(inner.z, abs=1e-7)


def test_an_indefinite_program_is_made_convex_and_no_more_than_that() -> None:
    qp = program(1, tilt=2.0)
    solver = RiccatiSolver(3, 2, 6)
    found = solve_interior(solver, qp, rows=np.zeros_like(qp.c), centre=1e-2, tolerance=1e-9)
    assert found.usable
    assert found.shift > 0
    assert solve_interior(
        solver, program(1), rows=np.zeros_like(qp.c), centre=1e-2, tolerance=1e-9
    ).shift == 0  # fmt: skip


def test_a_program_with_numbers_that_are_none_is_told_so() -> None:
    qp = program(0)
    broken = dataclasses.replace(qp, g=np.where(qp.g == qp.g[2, 1], np.nan, qp.g))
    solver, start = RiccatiSolver(3, 2, 6), np.zeros_like(qp.c)
    with np.errstate(all="ignore"):
        assert solve_active(solver, broken, rows=start, tolerance=1e-9) is None
        found = solve_interior(solver, broken, rows=start, centre=1e-2, tolerance=1e-9)
    assert not found.usable


# -- derivatives -------------------------------------------------------------------------------


def test_kernel_and_casadi_give_the_same_derivatives() -> None:
    model = HybridModel(CartPole(), MLP((8,)), dt=0.05)
    with torch.no_grad():
        model.residual.chain[-2].weight.normal_(generator=torch.Generator().manual_seed(0))
    draw = np.random.default_rng(0)
    z, d, given = draw.normal(size=(6, 5)), np.zeros((6, 0)), draw.normal(size=(6, 4))
    sides = [kind(model, 6) for kind in (KernelNodes, CasadiNodes)]
    for side in sides:
        side.at(z, d)
    assert sides[0].values() == pytest.approx(sides[1].values(), abs=1e-12)
    for mine, other in zip(*(s.derivatives(given) for s in sides), strict=True):
        assert mine == pytest.approx(other, abs=1e-10)


# -- against IPOPT -----------------------------------------------------------------------------


def pendulum(**keywords) -> OptimalControlProblem:
    """A swing-up whose torque is too weak to lift it at once."""
    cost = Quadratic(
        Pendulum(),
        state={"angle": 1.0, "rate": 0.1},
        input={"torque": 0.01},
        target={"angle": np.pi},
    )
    options = {"horizon": 30, "input_bounds": ([-2.0], [2.0])}
    return OptimalControlProblem(HybridModel(Pendulum(), dt=0.08), cost, **options | keywords)


def cart_pole(**keywords) -> OptimalControlProblem:
    """A swing-up in 1.5 s."""
    cost = Quadratic(
        CartPole(),
        state={"position": 1.0, "angle": 5.0, "velocity": 0.1, "rate": 0.1},
        input={"force": 1e-2},
        terminal={"position": 10.0, "angle": 50.0, "velocity": 1.0, "rate": 1.0},
        target={"angle": np.pi},
    )
    options = {"horizon": 30, "input_bounds": ([-8.0], [8.0])}
    return OptimalControlProblem(HybridModel(CartPole(), dt=0.05), cost, **options | keywords)


HANGING = np.array([0.0, 0.1, 0.0, 0.0])
CASES = {
    "pendulum": (pendulum, {}, np.array([0.2, 0.0])),
    "pendulum, state bounds": (
        pendulum,
        {"state_bounds": ([-np.inf, -3.0], [np.inf, 3.0])},
        np.array([0.2, 0.0]),
    ),
    "cart-pole": (cart_pole, {}, HANGING),
    "cart-pole, path": (
        cart_pole,
        {"inequality": lambda x, u, pi: ca.vertcat(x[0] - 0.8, -x[0] - 0.8)},
        HANGING,
    ),
    "cart-pole, end": (
        cart_pole,
        {
            "terminal_equality": lambda x, pi: x[0],
            "terminal_inequality": lambda x, pi: x[1] ** 2 - 0.01,
        },
        HANGING,
    ),
}


@pytest.fixture(scope="module", params=CASES)
def solved(request):
    """SQP, IPOPT, its plan and x0 of each case."""
    make, keywords, x0 = CASES[request.param]
    problem = make(**keywords)
    ipopt = MultipleShooting(problem, tolerance=1e-9, samples=0)
    plan = ipopt.plan(x0)
    assert plan.status is Status.CONVERGED
    return SQP(problem), ipopt, plan, x0


def test_returns_to_ipopts_optimum_from_nearby(solved) -> None:
    sqp, _, best, x0 = solved
    draw = np.random.default_rng(0)
    for _ in range(3):
        u = best.u * (1 + 0.1 * draw.normal(size=best.u.shape))
        x = best.x * (1 + 0.1 * draw.normal(size=best.x.shape))
        plan = sqp.plan(x0, warm_start=Plan(u=u, x=x, cost=np.nan, status=Status.BUDGET))
        assert plan.status is Status.CONVERGED
        assert plan.cost == pytest.approx(best.cost, rel=1e-4)


def test_a_plan_of_ipopt_is_taken_over_with_its_multipliers(solved) -> None:
    sqp, ipopt, best, x0 = solved
    plan = sqp.plan(x0, warm_start=best)
    assert plan.status is Status.CONVERGED
    assert plan.iterations <= 2
    assert plan.cost == pytest.approx(best.cost, rel=1e-6)
    assert plan.multipliers.keys() == best.multipliers.keys()
    for name, rows in best.multipliers.items():
        scale = 1e-3 * (1 + np.abs(rows).max(initial=0))
        assert plan.multipliers[name] == pytest.approx(rows, abs=scale), name
    back = ipopt.plan(x0, warm_start=plan)
    assert back.usable
    assert back.cost <= plan.cost * (1 + 1e-9)


def test_the_conditions_of_optimality_hold_by_casadi(solved) -> None:
    sqp, _, best, x0 = solved
    problem, plan = sqp.problem, sqp.plan(x0, warm_start=dataclasses.replace(best, multipliers={}))
    assert plan.status is Status.CONVERGED
    H, nx, nu = problem.horizon, problem.model.nx, problem.model.system.nu
    step, pi = problem.model.step_function(), ca.DM(0, 1)
    X, U = ca.SX.sym("X", nx, H + 1), ca.SX.sym("U", nu, H)
    m = {name: ca.DM(rows.T) for name, rows in plan.multipliers.items()}
    L = problem.terminal(X[:, H], pi, ca.DM(0, 1))
    L += ca.dot(m["terminal_inequality"], problem.end_g(X[:, H], pi))
    L += ca.dot(m["terminal_equality"], problem.end_h(X[:, H], pi))
    L += ca.dot(m["x"], X) + ca.dot(m["u"], U)
    for k in range(H):
        x, u = X[:, k], U[:, k]
        after = ca.vertcat(step(x, u, ca.DM(0, 1), pi))
        L += problem.stage(x, u, k, pi, ca.DM(0, 1)) + ca.dot(
            m["defect"][:, k], X[:, k + 1] - after
        )
        L += ca.dot(m["inequality"][:, k], problem.path_g(x, u, pi))
        L += ca.dot(m["equality"][:, k], problem.path_h(x, u, pi))
    variables = ca.veccat(X, U)
    gradient = ca.Function("gradient", [X, U], [ca.gradient(L, variables)])
    size = 1 + max(np.abs(rows).max(initial=0) for rows in plan.multipliers.values())
    assert np.abs(gradient(plan.x.T, plan.u.T).full()).max() < 1e-4 * size
    at_bound = (problem.input_high - plan.u) * np.maximum(plan.multipliers["u"], 0)
    at_bound += (plan.u - problem.input_low) * np.maximum(-plan.multipliers["u"], 0)
    assert np.abs(at_bound).max() < 1e-5 * size
    assert (plan.multipliers["inequality"] >= -1e-8).all()


@pytest.mark.parametrize("make", [pendulum, cart_pole])
def test_rest_below_the_target_is_left_though_it_is_stationary(make) -> None:
    problem = make()
    planner, x0 = SQP(problem), np.zeros(problem.model.nx)
    u = np.zeros((problem.horizon, 1))
    resting, x, _ = problem.evaluate(x0, u)
    assert np.array_equal(x, np.zeros_like(x))
    plan = planner.plan(x0)
    assert plan.status is Status.CONVERGED
    assert plan.cost < 0.9 * resting
    assert plan.cost <= planner.plan(x0 + 0.01).cost * 1.05  # no stationary point beside it
    assert planner.plan(x0) == plan
    stuck = Plan(u=u, x=x, cost=resting, status=Status.CONVERGED)
    again = planner.plan(x0, warm_start=stuck)
    assert again.cost == pytest.approx(plan.cost, rel=1e-6)
    assert planner.plan(x0, warm_start=plan).iterations <= 1  # a minimum is not left


def test_flat_directions_are_no_saddle() -> None:
    """Of two equal inputs only the sum counts, and at rest nothing is gained."""
    twin = Linear(A=((0.0, 1.0), (-1.0, -0.2)), B=((0.0, 0.0), (1.0, 1.0)))
    cost = Quadratic(twin, state={"x0": 1.0}, input={"u0": 0.1, "u1": 0.0})
    bounds = ([-1.0] * 2, [1.0] * 2)
    problem = OptimalControlProblem(HybridModel(twin, dt=0.1), cost, horizon=5, input_bounds=bounds)
    plan = SQP(problem).plan(np.zeros(2))
    assert (plan.status, plan.iterations, plan.cost) == (Status.CONVERGED, 0, 0.0)


# -- what cannot be done -----------------------------------------------------------------------


def test_infeasible_problems_never_converge() -> None:
    far = cart_pole(terminal_equality=lambda x, pi: x[0] - 100, horizon=12)
    contrary = pendulum(
        equality=lambda x, u, pi: u[0] - 1.0, inequality=lambda x, u, pi: u[0] - 0.5, horizon=12
    )
    walls = pendulum(state_bounds=([-0.1, -0.1], [0.1, 0.1]), horizon=12)
    for problem, x0 in ((far, HANGING), (contrary, np.zeros(2)), (walls, np.full(2, 2.0))):
        plan = SQP(problem, iterations=40).plan(x0)
        assert plan.status in (Status.INFEASIBLE, Status.BUDGET)
        assert np.isfinite(plan.u).all()


def test_numbers_that_are_none_are_told_and_not_raised() -> None:
    unstable = Linear(A=((1e200,),), B=((1.0,),))
    problem = OptimalControlProblem(
        HybridModel(unstable, dt=1.0),
        Quadratic(unstable, state={"x0": 1.0}, input={"u0": 1.0}),
        horizon=4,
        input_bounds=([-1.0], [1.0]),
    )
    plan = SQP(problem).plan(np.ones(1))
    assert plan.status is Status.FAILED
    planner = SQP(pendulum())
    good = planner.plan(np.array([0.2, 0.0]))
    bad = dataclasses.replace(
        good, multipliers={k: v * np.nan for k, v in good.multipliers.items()}
    )
    assert planner.plan(np.array([0.2, 0.0]), warm_start=bad).usable
    for x0 in ((1e300, 1.0), (1e8, -1e9), (1e150, 1e150)):
        plan = planner.plan(np.array(x0))
        assert (np.abs(plan.u) <= 2).all()


def test_a_deadline_ends_it_within_one_iteration() -> None:
    planner = SQP(cart_pole())
    plan = planner.plan(HANGING, deadline=1e-9)
    assert plan.status is Status.DEADLINE
    assert plan.iterations <= 1
    assert plan.usable
    assert planner.plan(HANGING, deadline=1e6) == planner.plan(HANGING)


# -- real time ---------------------------------------------------------------------------------


def test_preparation_and_feedback_are_a_real_time_iteration() -> None:
    problem = cart_pole()
    sqp, single = SQP(problem), SQP(problem, rti=True)
    plan = sqp.plan(HANGING)
    x0 = HANGING + np.array([0.01, 0.02, 0.03, -0.02])
    sqp.prepare(plan)
    quick = sqp.feedback(x0)
    once = single.plan(x0, warm_start=plan)
    exact = sqp.plan(x0, warm_start=plan)
    stale, _, _ = problem.evaluate(x0, plan.u)
    assert quick.u == pytest.approx(once.u, abs=1e-12)
    assert quick.iterations == once.iterations == 1
    assert quick.cost - exact.cost < 0.1 * (stale - exact.cost)  # one step does most of it
    assert quick.gains.shape == (problem.horizon, 1, 4)
    errors = []
    for size in (1e-2, 1e-3):  # what is left is of second order in the disturbance
        near = HANGING + size * np.array([0.1, 0.2, 0.3, -0.2])
        errors.append(np.abs(sqp.feedback(near).u - sqp.plan(near, warm_start=plan).u).max())
    assert errors[1] < 0.05 * errors[0] + 1e-7


def test_real_time_iterations_name_what_is_missing() -> None:
    sqp = SQP(regulator())
    with pytest.raises(ValueError, match=r"feedback must follow prepare\(guess\)"):
        sqp.feedback(X0)
    plan = sqp.plan(X0)
    with pytest.raises(ValueError, match="guess must be finite"):
        sqp.prepare(dataclasses.replace(plan, u=plan.u * np.nan))
    sqp.prepare(plan)
    with pytest.raises(ValueError, match="x0 must be 2 finite numbers"):
        sqp.feedback(np.zeros(3))
    with pytest.raises(ValueError, match="iterations must be at least 1, got 0"):
        SQP(regulator(), iterations=0)
    with pytest.raises(ValueError, match="tolerance must be positive, got 0"):
        SQP(regulator(), tolerance=0)


def test_both_signs_of_a_quaternion_are_one_rotation() -> None:
    system = Quadrotor()
    cost = Quadratic(
        system,
        state={"x": 5.0, "y": 5.0, "z": 5.0, "attitude": 2.0},
        input={s.name: 0.05 for s in system.inputs},
        target=dict(zip((s.name for s in system.inputs), system.hover, strict=True)),
    )
    problem = OptimalControlProblem(HybridModel(system, dt=0.05), cost, horizon=8)
    sqp, single = SQP(problem), SQP(problem, rti=True)
    x0 = np.zeros(13)
    x0[:3], x0[3:7] = (0.3, -0.2, 0.1), (0.8, 0.36, 0.0, -0.48)
    x0[3:7] /= np.linalg.norm(x0[3:7])
    signs = np.where((np.arange(13) >= 3) & (np.arange(13) < 7), -1.0, 1.0)
    other = signs * x0
    plan = sqp.plan(x0)
    assert plan.status is Status.CONVERGED
    assert plan.cost == pytest.approx(MultipleShooting(problem, samples=0).plan(x0).cost, rel=1e-6)
    assert np.linalg.norm(plan.x[:, 3:7], axis=1) == pytest.approx(1.0, abs=1e-12)
    same = sqp.plan(other, warm_start=plan)
    assert same.status is Status.CONVERGED
    assert same.iterations <= 1
    assert same.u == pytest.approx(plan.u, abs=1e-6)
    assert same.x[0] == pytest.approx(other)
    assert sqp.plan(other, warm_start=same).iterations <= 1  # its multipliers are its own
    near = x0 + 0.01 * np.cos(np.arange(13.0))
    quick, again = (single.plan(x, warm_start=plan) for x in (near, signs * near))
    assert again.u == pytest.approx(quick.u, abs=1e-9)
    assert again.gains == pytest.approx(quick.gains * signs, abs=1e-9)


# -- no rebuild --------------------------------------------------------------------------------


class Follow(Cost):
    """The angle follows π."""

    parameters = ("reference",)

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return (x[0] - pi[0]) ** 2 + 1e-3 * u[0] ** 2

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return (x[0] - pi[0]) ** 2


@pytest.mark.parametrize("backend", ["kernel", "torch"])
def test_weights_physics_and_references_move_without_a_rebuild(backend) -> None:
    model = HybridModel(
        Pendulum(), MLP((4,)), dt=0.05, fit_parameters=("gravity",), backend=backend
    )
    problem = OptimalControlProblem(model, Follow(), horizon=6)
    planner, x0 = SQP(problem), np.array([0.5, 0.0])
    before = planner.plan(x0, parameters=np.array([0.3]))
    assert before.u != pytest.approx(planner.plan(x0, parameters=np.array([0.6])).u, abs=1e-2)
    with torch.no_grad():
        model.theta.add_(0.3)
        model.residual.chain[-2].bias.add_(2.0)
    after = planner.plan(x0, parameters=np.array([0.3]))
    assert after.status is Status.CONVERGED
    assert after.u != pytest.approx(before.u, abs=1e-2)
    exact = MultipleShooting(problem).plan(x0, parameters=np.array([0.3]))
    assert after.cost == pytest.approx(exact.cost, rel=1e-6)


def test_random_starts_all_converge() -> None:
    problem = cart_pole()
    planner, draw = SQP(problem), np.random.default_rng(0)
    for _ in range(6):
        u = draw.uniform(-8, 8, (problem.horizon, 1))
        _, x, _ = problem.evaluate(HANGING, u)
        guess = Plan(u=u, x=x, cost=np.nan, status=Status.BUDGET)
        plan = planner.plan(HANGING, warm_start=guess)
        assert plan.status is Status.CONVERGED
