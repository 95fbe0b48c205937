"""Planners against a known optimum, bounds, constraints, parameters, deadlines."""

from __future__ import annotations

import dataclasses
import time

import casadi as ca
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel import (
    CEM,
    Cost,
    GradientDescent,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Plan,
    Planner,
    Quadratic,
    Status,
)
from physics import CartPole, Linear, Pendulum, Signal
from residuals import MLP

LAWS = settings(derandomize=True, deadline=None, max_examples=25)
PLANNERS = {"cem": CEM, "descent": GradientDescent, "shooting": MultipleShooting}
each = pytest.mark.parametrize("kind", PLANNERS)
SMALL = {
    "cem": {"samples": 40, "elites": 8, "iterations": 3},
    "descent": {"iterations": 20, "starts": 2},
    "shooting": {"iterations": 50},
}


def small(kind: str, problem: OptimalControlProblem, **keywords) -> Planner:
    return PLANNERS[kind](problem, **SMALL[kind] | keywords)


# -- the oracle ------------------------------------------------------------------------------

OSCILLATOR = Linear(A=((0.0, 1.0), (-1.0, -0.2)), B=((0.0,), (1.0,)))
Q, R, QH = np.diag([1.0, 0.1]), np.diag([0.05]), np.diag([5.0, 1.0])


def regulator(H: int = 10, discount: float = 1.0, bound: float = 50.0) -> OptimalControlProblem:
    cost = Quadratic(
        OSCILLATOR, state={"x0": 1.0, "x1": 0.1}, input={"u0": 0.05}, terminal={"x0": 5, "x1": 1}
    )
    return OptimalControlProblem(
        HybridModel(OSCILLATOR, dt=0.1),
        cost,
        horizon=H,
        discount=discount,
        input_bounds=([-bound], [bound]),
    )


def riccati(problem: OptimalControlProblem, x0: np.ndarray) -> tuple[float, np.ndarray]:
    """Optimal cost and inputs of the discounted finite horizon, on the model's exact F."""
    A, B = (m.numpy() for m in problem.model.linearize(*(torch.zeros(n).double() for n in (2, 1))))
    gamma, H = problem.discount, problem.horizon
    P, gains = QH, []
    for _ in range(H):
        K = np.linalg.solve(R + gamma * B.T @ P @ B, gamma * B.T @ P @ A)
        P = Q + gamma * A.T @ P @ (A - B @ K)
        gains.append(K)
    x, u = x0, []
    for K in reversed(gains):
        u.append(-K @ x)
        x = A @ x + B @ u[-1]
    return float(x0 @ P @ x0), np.array(u)


X0 = np.array([1.0, -0.5])
EXACT = {  # planner, relative error in cost, error in u
    "shooting": (lambda p: MultipleShooting(p, tolerance=1e-10), 1e-6, 1e-5),
    "descent": (lambda p: GradientDescent(p, iterations=250, rate=0.05, starts=1), 1e-4, 1e-1),
    "cem": (
        lambda p: CEM(p, samples=400, elites=40, iterations=20, knots=6, spread=0.3), 1e-3, 1.0
    ),
}  # fmt: skip


@pytest.mark.parametrize("discount", [1.0, 0.9])
@pytest.mark.parametrize("kind", EXACT)
def test_finds_the_riccati_optimum(kind: str, discount: float) -> None:
    make, tolerance, near = EXACT[kind]
    problem = regulator(discount=discount, bound=10.0)
    cost, u = riccati(problem, X0)
    assert np.abs(u).max() < 9  # the bounds are inactive
    plan = make(problem).plan(X0)
    assert plan.usable
    assert cost * (1 - 1e-9) <= plan.cost <= cost * (1 + tolerance)
    assert plan.u == pytest.approx(u, abs=near)


def test_a_bound_that_acts_is_met_by_the_optimum() -> None:
    free, _ = riccati(regulator(), X0)
    plan = MultipleShooting(regulator(bound=1.0)).plan(X0)
    assert plan.status is Status.CONVERGED
    assert np.abs(plan.u).max() == pytest.approx(1.0, abs=1e-5)
    assert plan.cost > free


# -- every planner ---------------------------------------------------------------------------


def swing(**keywords) -> OptimalControlProblem:
    cost = Quadratic(
        Pendulum(),
        state={"angle": 1.0, "rate": 0.1},
        input={"torque": 0.01},
        target={"angle": np.pi},
    )
    model = HybridModel(Pendulum(), dt=0.05)
    bounds = {"horizon": 8, "input_bounds": ([-1.0], [2.5])}
    return OptimalControlProblem(model, cost, **bounds | keywords)


SWING = swing()
SWINGERS = {kind: small(kind, SWING) for kind in PLANNERS}


@each
@settings(derandomize=True, deadline=None, max_examples=12)
@given(x0=st.tuples(*[st.floats(-1e300, 1e300) | st.floats(-20, 20)] * 2))
def test_inputs_stay_inside_their_bounds_from_any_state(kind: str, x0) -> None:
    plan = SWINGERS[kind].plan(np.array(x0))
    assert ((SWING.input_low <= plan.u) & (plan.u <= SWING.input_high)).all()
    assert plan.usable == (plan.status not in (Status.FAILED, Status.INFEASIBLE))
    assert not plan.usable or np.isfinite(plan.x).all()


@pytest.mark.slow
@each
@pytest.mark.parametrize("other", PLANNERS)
def test_any_plan_starts_any_planner(kind: str, other: str) -> None:
    x0 = np.array([0.4, 0.0])
    guess = SWINGERS[other].plan(x0)
    plan = SWINGERS[kind].plan(x0, warm_start=guess)
    assert plan.usable
    assert plan.cost <= guess.cost * (1 + 1e-9)
    shifted = SWINGERS[kind].plan(plan.x[1], warm_start=plan.shift())
    assert shifted.usable


@each
def test_the_seed_decides(kind: str) -> None:
    x0 = np.array([0.4, 0.0])
    plan = SWINGERS[kind].plan(x0, seed=1)
    again = small(kind, swing()).plan(x0, seed=1)
    assert plan == again
    assert plan == dataclasses.replace(plan, seconds=plan.seconds + 1)
    assert SWINGERS[kind].plan(x0) == SWINGERS[kind].plan(x0, seed=0)
    if kind == "cem":
        assert plan != SWINGERS[kind].plan(x0, seed=2)


def test_knots_take_over_a_plan_that_they_can_make() -> None:
    planner = small("cem", SWING, knots=5, iterations=1)
    guess = planner.plan(np.array([0.4, 0.1]))
    again = planner.space.matrix @ planner.space.pseudo_inverse @ torch.tensor(guess.u)
    assert again.numpy() == pytest.approx(guess.u, abs=1e-12)
    assert planner.plan(np.array([0.4, 0.1]), warm_start=guess).cost <= guess.cost * (1 + 1e-9)


class Counted(Planner):
    """Counts how often a planner looks at its clock, which is past the deadline at once."""

    def __init__(self, planner: Planner) -> None:
        self.problem, self.planner, self.looks = planner.problem, planner, 0

    def search(self, task):
        counter = self

        class Late(type(task)):
            def expired(self) -> bool:
                counter.looks += 1
                return super().expired()

        late = Late(**{f.name: getattr(task, f.name) for f in dataclasses.fields(task)})
        return self.planner.search(late)


@each
def test_a_deadline_ends_it_within_one_iteration_with_a_usable_plan(kind: str) -> None:
    slow = {"cem": {"iterations": 10**6}, "descent": {"iterations": 10**6}, "shooting": {}}[kind]
    planner = Counted(small(kind, SWING, **slow))
    plan = planner.plan(np.array([0.4, 0.0]), deadline=1e-9)
    assert plan.status is Status.DEADLINE
    assert plan.usable
    assert plan.iterations <= 1
    assert planner.looks <= 3
    started = time.perf_counter()
    assert planner.plan(np.array([0.4, 0.0]), deadline=0.05).usable
    assert time.perf_counter() - started < 2.0  # generous: other processes share the machine


@each
def test_a_wide_deadline_changes_nothing(kind: str) -> None:
    x0 = np.array([0.4, 0.0])
    assert SWINGERS[kind].plan(x0, deadline=1e6) == SWINGERS[kind].plan(x0)


class Follow(Cost):
    """The angle follows π; so does the last one."""

    parameters = ("reference",)

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return (x[0] - pi[0]) ** 2 + 1e-3 * u[0] ** 2

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return (x[0] - pi[0]) ** 2


@each
def test_a_reference_moves_without_a_rebuild(kind: str) -> None:
    problem = OptimalControlProblem(
        HybridModel(OSCILLATOR, dt=0.1), Follow(), horizon=8, input_bounds=([-5.0], [5.0])
    )
    planner = small(kind, problem)
    up, down = (planner.plan(np.zeros(2), parameters=np.array([r])) for r in (0.5, -0.5))
    assert up.x[-1, 0] > 0.1
    assert down.x[-1, 0] < -0.1
    assert planner.plan(np.zeros(2), parameters=np.full((9, 1), 0.5)) == up
    moving = np.linspace(0, 0.5, 9)[:, None]
    plan = planner.plan(np.zeros(2), parameters=moving)
    assert plan.cost == problem.evaluate(np.zeros(2), plan.u, moving)[0]
    assert plan != up
    with pytest.raises(ValueError, match=r"shape \(9, 1\) or \(1,\) for \['reference'\]"):
        planner.plan(np.zeros(2))


class Pulled(Linear):
    """An oscillator under a known force."""

    exogenous = (Signal("force"),)

    def dynamics(self, x, u, p, d):
        return super().dynamics(x, u, p, d) + ca.vertcat(0, d[0])


@each
def test_known_forces_act_through_the_parameters(kind: str) -> None:
    system = Pulled(A=OSCILLATOR.A, B=OSCILLATOR.B)
    problem = OptimalControlProblem(
        HybridModel(system, dt=0.1),
        Follow(),
        horizon=6,
        input_bounds=([-5.0], [5.0]),
    )
    force = np.column_stack([np.linspace(1, 2, 7), np.zeros(7)])
    plan = small(kind, problem, iterations=40).plan(np.zeros(2), parameters=force)
    assert plan.u.mean() < -0.5  # against the force
    ahead = problem.model.rollout(
        torch.zeros(2).double(), torch.tensor(plan.u), torch.tensor(force[:-1, :1])
    )
    assert plan.x == pytest.approx(ahead.numpy(), abs=1e-12)
    with pytest.raises(ValueError, match=r"for \['force', 'reference'\]"):
        problem.problem_parameters(None)


@each
def test_planning_errors_name_the_argument(kind: str) -> None:
    planner = SWINGERS[kind]
    for x0 in (np.array([np.nan, 0]), np.array([np.inf, 0]), np.zeros(3), np.zeros((1, 2))):
        with pytest.raises(ValueError, match="x0 must be 2 finite numbers"):
            planner.plan(x0)
    with pytest.raises(ValueError, match="previous_input must be 1 finite numbers"):
        planner.plan(np.zeros(2), previous_input=np.zeros(2))
    for deadline in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="deadline must be a positive number of seconds"):
            planner.plan(np.zeros(2), deadline=deadline)
    short = SWINGERS["cem"].plan(np.zeros(2))
    short = dataclasses.replace(short, u=short.u[1:], x=short.x[1:])
    with pytest.raises(ValueError, match=r"warm_start must be a plan with u \(8, 1\) and x \(9, "):
        planner.plan(np.zeros(2), warm_start=short)


@each
def test_a_useless_warm_start_is_survived(kind: str) -> None:
    good = SWINGERS[kind].plan(np.array([0.4, 0.0]))
    for u, x in ((np.nan, 0.0), (1e9, 0.0), (0.0, np.nan)):
        bad = dataclasses.replace(good, u=np.full_like(good.u, u), x=np.full_like(good.x, x))
        assert SWINGERS[kind].plan(np.array([0.4, 0.0]), warm_start=bad).usable


# -- constraints -----------------------------------------------------------------------------


def cart(**keywords) -> OptimalControlProblem:
    """A cart driven towards 1 m, four times as far as it may go."""
    cost = Quadratic(
        CartPole(), state={"position": 5.0}, input={"force": 1e-3}, target={"position": 1.0}
    )
    bounds = {"horizon": 12, "state_bounds": ([-np.inf] * 4, [np.inf] * 4)}
    return OptimalControlProblem(HybridModel(CartPole(), dt=0.1), cost, **bounds | keywords)


CONSTRAINTS = {
    "state_bounds": ([-np.inf] * 4, [0.25, np.inf, np.inf, np.inf]),
    "inequality": lambda x, u, pi: x[0] - 0.25,
    "terminal_inequality": lambda x, pi: x[0] - 0.25,
    "terminal_equality": lambda x, pi: x[0] - 0.25,
    "equality": lambda x, u, pi: u[0] - 0.5,
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_shooting_respects_every_kind_of_constraint(name: str) -> None:
    problem = cart(**{name: CONSTRAINTS[name]})
    plan = MultipleShooting(problem).plan(np.zeros(4))
    assert plan.status is Status.CONVERGED
    assert problem.evaluate(np.zeros(4), plan.u)[2] < 1e-4
    rows = {
        "state_bounds": plan.x[1:, 0] - 0.25,
        "inequality": plan.x[:-1, 0] - 0.25,
        "terminal_inequality": plan.x[-1:, 0] - 0.25,
        "terminal_equality": np.abs(plan.x[-1:, 0] - 0.25),
        "equality": np.abs(plan.u[:, 0] - 0.5),
    }
    assert rows[name].max() < 1e-5
    assert MultipleShooting(cart()).plan(np.zeros(4)).cost < plan.cost  # it did act


@each
def test_what_cannot_be_kept_is_reported_and_never_raised(kind: str) -> None:
    impossible = cart(terminal_equality=lambda x, pi: x[0] - 100)
    plan = small(kind, impossible).plan(np.zeros(4))
    assert plan.status is Status.INFEASIBLE
    assert not plan.usable
    assert np.isfinite(plan.u).all()
    outside = cart(state_bounds=([-0.1] * 4, [0.1] * 4))
    assert small(kind, outside).plan(np.full(4, 5.0)).status is Status.INFEASIBLE


@each
def test_a_rollout_that_blows_up_is_reported_as_failed(kind: str) -> None:
    unstable = Linear(A=((1e200,),), B=((1.0,),))
    problem = OptimalControlProblem(
        HybridModel(unstable, dt=1.0),
        Quadratic(unstable, state={"x0": 1.0}, input={"u0": 1.0}),
        horizon=4,
        input_bounds=([-1.0], [1.0]),
    )
    plan = small(kind, problem).plan(np.ones(1))
    assert plan.status is Status.FAILED
    assert not plan.usable
    assert (np.abs(plan.u) <= 1).all()


def test_shooting_follows_new_weights_and_parameters_without_a_rebuild() -> None:
    model = HybridModel(Pendulum(), MLP((4,)), dt=0.05, fit_parameters=("gravity",))
    cost = Quadratic(Pendulum(), state={"angle": 1.0}, input={"torque": 0.01})
    problem = OptimalControlProblem(model, cost, horizon=6)
    planner = MultipleShooting(problem)
    before = planner.plan(np.array([0.5, 0.0]))
    with torch.no_grad():
        model.theta.add_(0.3)
        model.residual.chain[-2].bias.add_(2.0)
    after = planner.plan(np.array([0.5, 0.0]))
    assert after.usable
    assert after != before
    assert after == MultipleShooting(problem).plan(np.array([0.5, 0.0]))


# -- plans -----------------------------------------------------------------------------------


def test_shift_moves_rows_up_and_repeats_the_last() -> None:
    plan = MultipleShooting(SWING).plan(np.array([0.4, 0.0]))
    moved = plan.shift(3)
    assert np.array_equal(moved.u, plan.u[[3, 4, 5, 6, 7, 7, 7, 7]])
    assert np.array_equal(moved.x, plan.x[[3, 4, 5, 6, 7, 8, 8, 8, 8]])
    for name, rows in plan.multipliers.items():
        assert moved.multipliers[name].shape == rows.shape
        assert np.array_equal(moved.multipliers[name][:-3], rows[3:])
    assert plan.shift(0) == plan
    assert plan.shift(1).shift(2) == moved
    assert np.array_equal(plan.shift(99).u, np.tile(plan.u[-1], (8, 1)))
    with pytest.raises(ValueError, match="steps must be a whole number of at least 0, got -1"):
        plan.shift(-1)


def test_plans_are_compared_by_what_they_say() -> None:
    plan = Plan(u=np.ones((2, 1)), x=np.ones((3, 1)), cost=np.nan, status=Status.BUDGET)
    assert plan == dataclasses.replace(plan, u=plan.u.copy(), seconds=7.0)
    for change in (
        {"u": 2 * plan.u},
        {"x": 2 * plan.x},
        {"cost": 1.0},
        {"status": Status.FAILED},
        {"iterations": 3},
        {"gains": np.zeros((2, 1, 1))},
        {"multipliers": {"x": np.zeros((3, 1))}},
    ):
        assert plan != dataclasses.replace(plan, **change)
    assert plan != "plan"


# -- constructors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "keywords", "message"),
    [
        (CEM, {"samples": 10, "elites": 10}, r"elites must lie in \[2, samples\), got 10 of 10"),
        (CEM, {"elites": 1}, r"elites must lie in \[2, samples\), got 1 of 500"),
        (CEM, {"iterations": 0}, "iterations must be at least 1, got 0"),
        (CEM, {"knots": 9}, r"knots must lie in \[2, horizon 8\], got 9"),
        (CEM, {"knots": 1}, r"knots must lie in \[2, horizon 8\], got 1"),
        (GradientDescent, {"iterations": 0}, "iterations and starts must be at least 1"),
        (GradientDescent, {"starts": 0}, "iterations and starts must be at least 1"),
        (GradientDescent, {"rate": 0.0}, "rate must be positive, got 0.0"),
        (MultipleShooting, {"iterations": 0}, "iterations must be at least 1, got 0"),
        (MultipleShooting, {"tolerance": 0.0}, "tolerance must be positive, got 0.0"),
    ],
)
def test_constructor_errors_name_the_argument(make, keywords, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(SWING, **keywords)


def test_only_sampling_needs_finite_bounds() -> None:
    free = swing(input_bounds=([-np.inf], [np.inf]))
    with pytest.raises(ValueError, match="input_bounds must be finite for CEM"):
        CEM(free)
    for kind in ("descent", "shooting"):
        assert small(kind, free).plan(np.zeros(2)).usable


def test_a_horizon_of_one_step() -> None:
    for kind in PLANNERS:
        assert small(kind, swing(horizon=1)).plan(np.zeros(2)).usable


def test_an_input_that_may_not_move() -> None:
    for kind in PLANNERS:
        plan = small(kind, swing(input_bounds=([0.3], [0.3]))).plan(np.zeros(2))
        assert plan.usable
        assert (plan.u == 0.3).all()
