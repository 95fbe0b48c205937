"""iLQR and DDP against Riccati recursions, brute force, and IPOPT where constraints act."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import casadi as ca
import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are

from hybridmodel import (
    Caution,
    Cost,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Plan,
    Quadratic,
    Status,
)
from hybridmodel.planners.differential.box import box_qp
from hybridmodel.planners.differential.chart import Chart
from hybridmodel.planners.ilqr import ILQR
from hybridmodel.planners.tvlqr import tvlqr
from physics import CartPole, InputDelay, Linear, Pendulum, Quadrotor, Signal, tangent
from residuals import MLP, Ensemble, Supported

OSCILLATOR = Linear(A=((0.0, 1.0), (-1.0, -0.2)), B=((0.0,), (1.0,)))
X0 = np.array([1.0, -0.5])
Q, R, LAST = np.diag([1.0, 0.1]), np.diag([0.05]), np.diag([5.0, 1.0])


def regulator(bound: float = 50.0, discount: float = 1.0) -> OptimalControlProblem:
    cost = Quadratic(
        OSCILLATOR, state={"x0": 1.0, "x1": 0.1}, input={"u0": 0.05}, terminal={"x0": 5, "x1": 1}
    )
    model = HybridModel(OSCILLATOR, dt=0.1)
    bounds = ([-bound], [bound])
    return OptimalControlProblem(model, cost, horizon=10, input_bounds=bounds, discount=discount)


def pendulum(**keywords: Any) -> OptimalControlProblem:
    """A swing-up whose torque is too weak to lift it at once."""
    cost = Quadratic(
        Pendulum(),
        state={"angle": 1.0, "rate": 0.1},
        input={"torque": 0.01},
        target={"angle": np.pi},
    )
    options: dict[str, Any] = {"horizon": 30, "input_bounds": ([-2.0], [2.0])}
    return OptimalControlProblem(HybridModel(Pendulum(), dt=0.08), cost, **options | keywords)


def cart_pole(**keywords: Any) -> OptimalControlProblem:
    """A swing-up in 1.5 s."""
    cost = Quadratic(
        CartPole(),
        state={"position": 1.0, "angle": 5.0, "velocity": 0.1, "rate": 0.1},
        input={"force": 1e-2},
        terminal={"position": 10.0, "angle": 50.0, "velocity": 1.0, "rate": 1.0},
        target={"angle": np.pi},
    )
    options: dict[str, Any] = {"horizon": 30, "input_bounds": ([-8.0], [8.0])}
    return OptimalControlProblem(HybridModel(CartPole(), dt=0.05), cost, **options | keywords)


HANGING = np.array([0.0, 0.1, 0.0, 0.0])
SWINGS: Mapping[str, tuple[Callable[[], OptimalControlProblem], np.ndarray]] = {
    "pendulum": (pendulum, np.array([0.2, 0.0])),
    "cart-pole": (cart_pole, HANGING),
}


# -- linear systems ----------------------------------------------------------------------------


def riccati(problem: OptimalControlProblem) -> tuple[float, np.ndarray]:
    """Optimal cost from X0 and gains (H, 1, 2) of the discounted horizon, on the exact F."""
    A, B = (m.numpy() for m in problem.model.linearize(*(torch.zeros(n).double() for n in (2, 1))))
    gamma, P, gains = problem.discount, LAST, []
    for _ in range(problem.horizon):
        K = -np.linalg.solve(R + gamma * B.T @ P @ B, gamma * B.T @ P @ A)
        P = Q + gamma * A.T @ P @ (A + B @ K)
        gains.append(K)
    return float(X0 @ P @ X0), np.array(gains[::-1])


@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("second_order", [False, True])
def test_one_step_solves_a_regulator_with_the_gains_of_riccati(
    second_order: bool, discount: float
) -> None:
    problem = regulator(discount=discount)
    plan = ILQR(problem, second_order=second_order).plan(X0)
    cost, gains = riccati(problem)
    assert (plan.status, plan.iterations) == (Status.CONVERGED, 1)
    assert plan.cost == pytest.approx(cost, rel=1e-12)
    assert plan.gains == pytest.approx(gains, abs=1e-9)
    assert plan.u == pytest.approx(np.einsum("kij,kj->ki", gains, plan.x[:-1]), abs=1e-9)


def test_gains_around_any_plan_are_those_of_the_algebraic_riccati_equation() -> None:
    model = HybridModel(OSCILLATOR, dt=0.1)
    cost = Quadratic(OSCILLATOR, state={"x0": 1.0}, input={"u0": 1.0})
    problem = OptimalControlProblem(model, cost, horizon=300)
    u = np.sin(np.arange(300.0))[:, None]
    value, x, _ = problem.evaluate(X0, u)
    plan = Plan(u=u, x=x, cost=value, status=Status.BUDGET)
    A, B = (m.numpy() for m in model.linearize(*(torch.zeros(n).double() for n in (2, 1))))
    P = solve_discrete_are(A, B, Q, R)
    law = tvlqr(problem, plan, Q, R)
    K = -np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    assert law.gains is not None
    assert law.gains[:100] == pytest.approx(np.tile(K, (100, 1, 1)), abs=1e-9)
    steady = tvlqr(problem, plan, Q, R, final=P).gains
    assert steady == pytest.approx(np.tile(K, (300, 1, 1)), abs=1e-9)
    assert np.array_equal(law.u, plan.u)
    with pytest.raises(ValueError, match=r"Q must have shape \(2, 2\), got \(3, 3\)"):
        tvlqr(problem, plan, np.eye(3), R)
    with pytest.raises(ValueError, match=r"plan must be finite with u \(300, 1\)"):
        tvlqr(problem, dataclasses.replace(plan, u=u[1:]), Q, R)


@pytest.mark.parametrize("nu", [1, 2, 3])
def test_box_programs_agree_with_all_sets_of_active_bounds(nu: int) -> None:
    draw = np.random.default_rng(nu)
    for _ in range(40):
        half = draw.normal(size=(nu, nu))
        H, q = half @ half.T + 0.1 * np.eye(nu), draw.normal(size=nu)
        low, high = -draw.uniform(0, 1, nu), draw.uniform(0, 1, nu)
        best, least = np.zeros(nu), np.inf
        for sides in itertools.product((-1, 0, 1), repeat=nu):
            side = np.array(sides)
            a, free = np.where(side < 0, low, high), side == 0
            if free.any():
                rest = q[free] + H[np.ix_(free, ~free)] @ a[~free]
                a[free] = -np.linalg.solve(H[np.ix_(free, free)], rest)
            value = a @ (0.5 * H @ a + q)
            if value < least and ((low - 1e-12 <= a) & (a <= high + 1e-12)).all():
                best, least = a, value
        found = box_qp(H, q, low, high)
        assert found is not None
        assert found[0] == pytest.approx(best, abs=1e-9)
        assert np.array_equal(found[1], (low < best) & (best < high))
    assert box_qp(-np.eye(nu), np.ones(nu), np.zeros(nu), np.ones(nu)) is not None  # none is free
    assert box_qp(-np.eye(nu), np.zeros(nu), -np.ones(nu), np.ones(nu)) is None


# -- against IPOPT -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SWINGS)
def test_returns_to_ipopts_optimum_from_nearby_in_few_iterations(name: str) -> None:
    make, x0 = SWINGS[name]
    problem, draw = make(), np.random.default_rng(0)
    best = MultipleShooting(problem, tolerance=1e-9, samples=0).plan(x0)
    planner = ILQR(problem)
    for size, most in ((0.1, 30), (0.1, 30), (1e-3, 4)):  # Newton's method near the optimum
        u = best.u * (1 + size * draw.normal(size=best.u.shape))
        plan = planner.plan(x0, warm_start=dataclasses.replace(best, u=u, multipliers={}))
        assert plan.status is Status.CONVERGED
        assert plan.iterations <= most
        assert plan.cost == pytest.approx(best.cost, rel=1e-4)
    assert plan.cost == pytest.approx(best.cost, rel=1e-8)
    for key in ("defect", "u"):
        wanted = best.multipliers[key]
        assert plan.multipliers[key] == pytest.approx(wanted, abs=1e-3 * np.abs(wanted).max())
    for again in (planner, ILQR(problem, second_order=False)):
        same = again.plan(x0, warm_start=plan)
        assert (same.status, same.iterations) == (Status.CONVERGED, 0)
        assert np.array_equal(same.u, plan.u)


def test_a_bound_that_acts_is_met_exactly() -> None:
    problem = regulator(1.0)
    plan = ILQR(problem).plan(X0)
    assert plan.status is Status.CONVERGED
    assert np.abs(plan.u).max() == 1.0
    assert plan.cost == pytest.approx(MultipleShooting(problem).plan(X0).cost, rel=1e-6)
    assert plan.gains is not None
    assert (plan.gains[np.abs(plan.u[:, 0]) == 1.0] == 0).all()


CONSTRAINTS: Mapping[str, Any] = {
    "inequality": lambda x, u, pi: x[0] - 0.25,
    "equality": lambda x, u, pi: u[0] - 0.5,
    "terminal_inequality": lambda x, pi: x[0] - 0.25,
    "terminal_equality": lambda x, pi: x[0] - 0.25,
    "state_bounds": ([-np.inf] * 4, [0.25, np.inf, np.inf, np.inf]),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints_are_met_at_the_cost_and_with_the_multipliers_of_ipopt(name: str) -> None:
    system, x0 = CartPole(), np.zeros(4)
    cost = Quadratic(
        system, state={"position": 5.0}, input={"force": 1e-3}, target={"position": 1.0}
    )
    given = {name: CONSTRAINTS[name]}
    problem = OptimalControlProblem(HybridModel(system, dt=0.1), cost, horizon=12, **given)
    plan = ILQR(problem).plan(x0)
    assert plan.status is Status.CONVERGED
    assert problem.evaluate(x0, plan.u)[2] < 1e-5
    ipopt = MultipleShooting(problem, tolerance=1e-9, samples=0)
    best = ipopt.plan(x0)
    assert plan.cost == pytest.approx(best.cost, rel=1e-5)
    assert plan.multipliers.keys() == best.multipliers.keys()
    for key, rows in best.multipliers.items():
        size = 2e-3 * (1 + np.abs(rows).max(initial=0))
        assert plan.multipliers[key] == pytest.approx(rows, abs=size), key
    again = ILQR(problem).plan(x0, warm_start=best)
    assert again.status is Status.CONVERGED
    assert again.iterations <= 3
    assert ipopt.plan(x0, warm_start=plan).cost == pytest.approx(best.cost, rel=1e-6)


def test_what_cannot_be_kept_is_told() -> None:
    plan = ILQR(cart_pole(terminal_equality=lambda x, pi: x[0] - 100)).plan(HANGING)
    assert plan.status is Status.INFEASIBLE
    assert np.isfinite(plan.u).all()


# -- starts ------------------------------------------------------------------------------------


def test_a_stationary_point_that_is_no_minimum_is_left() -> None:
    problem, x0 = pendulum(), np.zeros(2)
    rest = problem.evaluate(x0, np.zeros((30, 1)))[0]
    cost = Written(target=np.pi)  # whose slope at rest is zero
    still = OptimalControlProblem(problem.model, cost, horizon=30, input_bounds=([-2.0], [2.0]))
    hanging = still.evaluate(x0, np.zeros((30, 1)))[0]
    for of, before in ((problem, rest), (still, hanging)):
        plan = ILQR(of).plan(x0)
        assert plan.status is Status.CONVERGED
        assert plan.cost < 0.99 * before


def test_what_runs_away_without_inputs_is_held_by_feedback() -> None:
    system = Linear(A=((60.0,),), B=((1.0,),))
    cost = Quadratic(system, state={"x0": 1.0}, input={"u0": 1e-3})
    problem = OptimalControlProblem(HybridModel(system, dt=0.2), cost, horizon=60)
    assert not np.isfinite(problem.evaluate(np.ones(1), np.zeros((60, 1)))[0])
    plan = ILQR(problem).plan(np.ones(1))
    assert plan.usable
    assert plan.cost < 10


def test_numbers_that_are_none_are_told_and_not_raised() -> None:
    unstable = Linear(A=((1e200,),), B=((1.0,),))
    problem = OptimalControlProblem(
        HybridModel(unstable, dt=1.0),
        Quadratic(unstable, state={"x0": 1.0}, input={"u0": 1.0}),
        horizon=4,
        input_bounds=([-1.0], [1.0]),
    )
    plan = ILQR(problem).plan(np.ones(1))
    assert plan.status is Status.FAILED
    assert (np.abs(plan.u) <= 1).all()
    planner = ILQR(pendulum())
    good = planner.plan(np.array([0.2, 0.0]))
    assert good.gains is not None
    none = {key: rows * np.nan for key, rows in good.multipliers.items()}
    for change in (
        {"multipliers": none},
        {"gains": good.gains * np.nan},
        {"gains": 1e300 + good.gains},
    ):
        bad = dataclasses.replace(good, **change)
        assert planner.plan(np.array([0.2, 0.0]), warm_start=bad).usable
    for x0 in ((1e300, 1.0), (1e8, -1e9), (1e150, 1e150)):
        plan = planner.plan(np.array(x0))
        assert (np.abs(plan.u) <= 2).all()
        assert plan.status is Status.FAILED or np.isfinite(plan.x).all()


@pytest.mark.parametrize("iterations", [1, 100])
def test_a_warm_start_is_never_made_worse(iterations: int) -> None:
    problem, x0 = pendulum(horizon=12), np.array([0.4, 0.0])
    planner, draw = ILQR(problem, iterations=iterations), np.random.default_rng(0)
    for _ in range(8):
        u = draw.uniform(-2, 2, (12, 1))
        cost, x, _ = problem.evaluate(x0, u)
        gains = draw.normal(size=(12, 1, 2))
        guess = Plan(u=u, x=x, cost=cost, status=Status.BUDGET, gains=gains)
        assert planner.plan(x0, warm_start=guess).cost <= cost * (1 + 1e-12)


def test_feedback_costs_less_than_open_loop_from_a_state_that_is_off() -> None:
    problem = cart_pole()
    plan = ILQR(problem).plan(HANGING)
    assert plan.gains is not None
    draw = np.random.default_rng(0)
    for _ in range(5):
        x0 = HANGING + 0.05 * draw.normal(size=4)
        x, inputs = x0, []
        for k in range(problem.horizon):
            u = plan.u[k] + plan.gains[k] @ (x - plan.x[k])
            inputs.append(np.clip(u, -8, 8))
            x = problem.model(torch.tensor(x), torch.tensor(inputs[-1])).detach().numpy()
        closed, opened = (problem.evaluate(x0, v)[0] for v in (np.array(inputs), plan.u))
        assert closed < opened


# -- deadlines and seeds -----------------------------------------------------------------------


def test_a_deadline_ends_it_with_what_is_there() -> None:
    planner = ILQR(cart_pole())
    plan = planner.plan(HANGING, deadline=1e-9)
    assert (plan.status, plan.iterations) == (Status.DEADLINE, 0)
    assert plan.usable
    whole = planner.plan(HANGING)
    assert planner.plan(HANGING, deadline=1e6) == whole
    some = planner.plan(HANGING, deadline=whole.seconds / 2)
    assert some.cost == pytest.approx(planner.problem.evaluate(HANGING, some.u)[0], rel=1e-12)


def test_seeds_change_nothing() -> None:
    planner = ILQR(pendulum())
    assert planner.plan(np.zeros(2), seed=1) == planner.plan(np.zeros(2), seed=2)
    assert ILQR(pendulum()).plan(np.zeros(2)) == planner.plan(np.zeros(2))


# -- no rebuild --------------------------------------------------------------------------------


class Written(Cost):
    """1 − cos of the angle from a target, or from π."""

    def __init__(self, target: float | None = None) -> None:
        self.target = target
        self.parameters = () if target is not None else ("reference",)

    def _off(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return 1 - ca.cos(x[0] - (pi[0] if self.target is None else self.target))

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return self._off(x, pi) + 1e-2 * u[0] ** 2

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return 5 * self._off(x, pi)


@pytest.mark.parametrize("backend", ["kernel", "torch"])
def test_weights_physics_and_references_move_without_a_rebuild(backend: Any) -> None:
    model = HybridModel(
        Pendulum(), MLP((4,)), dt=0.05, fit_parameters=("gravity",), backend=backend
    )
    problem = OptimalControlProblem(model, Written(), horizon=6)
    planner, x0 = ILQR(problem), np.array([0.5, 0.0])
    moving = np.linspace(0.3, 0.6, 7)[:, None]
    before = planner.plan(x0, parameters=moving)
    assert before.u != pytest.approx(planner.plan(x0, parameters=moving + 0.3).u, abs=1e-2)
    with torch.no_grad():
        model.theta.add_(0.3)
        for weight in model.parameters():
            weight.add_(0.2)
    after = planner.plan(x0, parameters=moving)
    assert after.status is Status.CONVERGED
    assert after.u != pytest.approx(before.u, abs=1e-2)
    assert after == ILQR(problem).plan(x0, parameters=moving)
    exact = MultipleShooting(problem, tolerance=1e-9, samples=0).plan(x0, parameters=moving)
    assert after.cost == pytest.approx(exact.cost, rel=1e-8)


class Pushed(Pendulum):
    """Under a known torque."""

    exogenous = (Signal("push"),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: Any, d: ca.SX) -> ca.SX:
        return super().dynamics(x, u, p, d) + ca.vertcat(0, d[0])


@pytest.mark.parametrize("backend", ["auto", "kernel"])
def test_delays_and_known_forces_are_planned_with(backend: Any) -> None:
    model = HybridModel(InputDelay(system=Pushed(), steps=2), dt=0.05, backend=backend)
    cost = Quadratic(Pushed(), state={"angle": 1.0}, input={"torque": 0.01})
    problem = OptimalControlProblem(model, cost, horizon=10)
    force = np.linspace(1.0, -2.0, 11)[:, None]
    x0 = np.array([0.5, 0.0, 0.3, -0.2])
    plan = ILQR(problem).plan(x0, parameters=force)
    assert plan.status is Status.CONVERGED
    best = MultipleShooting(problem, tolerance=1e-9, samples=0).plan(x0, parameters=force)
    assert plan.cost == pytest.approx(best.cost, rel=1e-8)
    assert plan.u == pytest.approx(best.u, abs=1e-3)
    calm = ILQR(problem).plan(x0, parameters=0 * force)
    assert calm.u != pytest.approx(plan.u, abs=1e-2)


def test_caution_is_planned_with() -> None:
    model = HybridModel(Pendulum(), Supported(Ensemble((4,), count=2)), dt=0.05)
    generator = torch.Generator().manual_seed(0)
    residual = model.residual
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        x, u = (torch.randn(300, n, generator=generator, dtype=torch.float64) for n in (2, 1))
        z = model.residual_features(0.4 * x, 0.5 * u)
        assert isinstance(residual, Supported)
        residual.standardize(z.mean(0), z.std(0), 2 * torch.ones(1, dtype=torch.float64))
        residual.cover(z)
    cost = Quadratic(
        Pendulum(), state={"angle": 1.0}, input={"torque": 0.01}, target={"angle": 3.0}
    )
    caution = Caution(disagreement=1.0, support=20.0)
    problem = OptimalControlProblem(model, cost, horizon=6, caution=caution)
    plan = ILQR(problem).plan(np.zeros(2))
    assert plan.status is Status.CONVERGED
    best = MultipleShooting(problem, samples=0).plan(np.zeros(2), warm_start=plan)
    assert best.cost == pytest.approx(plan.cost, rel=1e-6)


# -- rotations ---------------------------------------------------------------------------------


def test_charts_are_the_slopes_and_the_bend_of_the_tangent_space() -> None:
    system, draw = Quadrotor(), np.random.default_rng(0)
    n, row = len(system.states), system.quaternion_rows[0]
    x = draw.normal(size=(1, n))
    x[:, row : row + 4] /= np.linalg.norm(x[:, row : row + 4])
    chart = Chart(system.quaternion_rows, x)
    xi, y, g = ca.SX.sym("xi", n - 1), ca.SX.sym("y", n), draw.normal(size=(1, n))
    moved = tangent.retract(system.states, ca.SX(ca.DM(x[0])), xi)
    away = tangent.difference(system.states, y, ca.SX(ca.DM(x[0])))
    T = ca.Function("T", [xi], [ca.jacobian(moved, xi), ca.hessian(ca.dot(g[0], moved), xi)[0]])
    slopes, bend = (np.asarray(v) for v in T(np.zeros(n - 1)))
    assert chart.T[0] == pytest.approx(slopes, abs=1e-12)
    E = np.asarray(ca.Function("E", [y], [ca.jacobian(away, y)])(x[0]))
    assert chart.E[0] @ slopes == pytest.approx(np.eye(n - 1), abs=1e-12)
    assert chart.E[0] @ slopes == pytest.approx(E @ slopes, abs=1e-12)
    found = chart.hessian(np.zeros((1, n + 4, n + 4)), g)[0]
    assert found[: n - 1, : n - 1] == pytest.approx(bend, abs=1e-12)


def test_a_tilted_quadrotor_is_righted_with_newtons_convergence() -> None:
    system = Quadrotor()
    row, hover = system.quaternion_rows[0], np.array(system.hover)
    cost = Quadratic(
        system,
        state={"x": 1.0, "y": 1.0, "z": 1.0, "attitude": 1.0, "velocity_x": 0.1, "rate_x": 0.01},
        input=dict.fromkeys((s.name for s in system.inputs), 0.01),
        target={s.name: float(hover[0]) for s in system.inputs},
    )
    problem = OptimalControlProblem(HybridModel(system, dt=0.05), cost, horizon=20)
    x0 = np.array(system.neutral)
    x0[row : row + 4] = np.cos(0.4), 0.0, np.sin(0.4), 0.0
    planner = ILQR(problem)
    plan = planner.plan(x0)
    assert plan.status is Status.CONVERGED
    best = MultipleShooting(problem, tolerance=1e-9, samples=0).plan(x0, warm_start=plan)
    assert plan.cost == pytest.approx(best.cost, rel=1e-7)
    draw = np.random.default_rng(0)
    u = plan.u * (1 + 1e-3 * draw.normal(size=plan.u.shape))
    again = planner.plan(x0, warm_start=dataclasses.replace(plan, u=u, gains=None))
    assert again.iterations <= 4
    assert again.cost == pytest.approx(plan.cost, rel=1e-9)
    law = tvlqr(problem, plan, np.eye(13), 0.1 * np.eye(4)).gains
    assert plan.gains is not None
    assert law is not None
    assert law.shape == plan.gains.shape == (20, 4, 13)
    radial = np.concatenate([np.zeros(row), x0[row : row + 4], np.zeros(9 - row)])
    assert law[0] @ radial == pytest.approx(np.zeros(4), abs=1e-9)  # its length is no error


# -- constructors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
        ({"tolerance": 0.0}, "tolerance must be positive, got 0.0"),
        ({"feasibility": -1.0}, "feasibility must be positive, got -1.0"),
        ({"penalty": 0.0}, "penalty must be positive, got 0.0"),
        ({"growth": 1.0}, "growth must be above 1, got 1.0"),
    ],
)
def test_constructor_errors_name_the_argument(keywords: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ILQR(regulator(), **keywords)
