"""Laws of collocation: its order, known optima, and what it shares with multiple shooting."""

from __future__ import annotations

from typing import Any

import casadi as ca
import numpy as np
import pytest
import torch
from torch import nn

from hybridmodel import Cost, HybridModel, MultipleShooting, OptimalControlProblem, Quadratic
from hybridmodel import placement as placements
from hybridmodel.planners import Plan, Status
from hybridmodel.planners.collocation import Collocation
from hybridmodel.planners.shooting.collocated import Points, collocated_dynamics
from physics import CartPole, InputDelay, Linear, Pendulum
from residuals import GRU, MLP

OSCILLATOR = Linear(A=((0.0, 1.0), (-4.0, -0.4)), B=((0.0,), (1.0,)))
X0 = np.array([1.0, -0.5])
Q, R, QH = np.diag([1.0, 0.1]), np.diag([0.05]), np.diag([5.0, 1.0])


def regulator(dt: float = 0.1, substeps: int = 1, **keywords) -> OptimalControlProblem:
    cost = Quadratic(
        OSCILLATOR, state={"x0": 1.0, "x1": 0.1}, input={"u0": 0.05}, terminal={"x0": 5, "x1": 1}
    )
    model = HybridModel(OSCILLATOR, dt=dt, substeps=substeps)
    options: dict[str, Any] = {"horizon": 8, "input_bounds": ([-50.0], [50.0])} | keywords
    return OptimalControlProblem(model, cost, **options)


def riccati(of: OptimalControlProblem) -> np.ndarray:
    """Optimal inputs on the model's own F."""
    A, B = (m.numpy() for m in of.model.linearize(*(torch.zeros(n).double() for n in (2, 1))))
    P, gains = QH, []
    for _ in range(of.horizon):
        K = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
        P = Q + A.T @ P @ (A - B @ K)
        gains.append(K)
    x, u = X0, []
    for K in reversed(gains):
        u.append(-K @ x)
        x = A @ x + B @ u[-1]
    return np.array(u)


def hybrid(system, residual=None, **keywords) -> HybridModel:
    """With weights that matter."""
    options: dict[str, Any] = {"dt": 0.02} | keywords
    model = HybridModel(system, residual or MLP((6,)), **options)
    generator = torch.Generator().manual_seed(0)
    assert model.residual is not None
    with torch.no_grad():
        for weight in model.residual.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return model


def cart(**keywords) -> OptimalControlProblem:
    system = CartPole()
    cost = Quadratic(
        system,
        state={"position": 1.0, "angle": 5.0, "velocity": 0.1, "rate": 0.1},
        input={"force": 1e-2},
        target={"angle": 1.0},
    )
    options: dict[str, Any] = {"horizon": 10, "input_bounds": ([-6.0], [6.0])} | keywords
    return OptimalControlProblem(hybrid(system), cost, **options)


START = np.full(4, 0.1)


class Follow(Cost):
    """The angle follows π."""

    parameters = ("reference",)

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return (x[0] - pi[0]) ** 2 + 1e-2 * u[0] ** 2

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return (x[0] - pi[0]) ** 2


# -- the method ------------------------------------------------------------------------------


def step_error(dt: float, degree: int, points: Points) -> float:
    """Distance of one collocated step to the flow itself."""
    model = hybrid(Pendulum(), dt=dt)
    dynamics = collocated_dynamics(model, 1, degree=degree, points=points)
    assert dynamics.inner is not None
    x, u = np.array([0.7, -0.3]), np.array([1.5])
    known = ca.MX(0, 1), ca.MX(0, 1), ca.MX(ca.DM(dynamics.weights()))
    Z = ca.MX.sym("Z", dynamics.inner.size)
    arguments = ca.MX(ca.DM(x)), ca.vertcat(ca.DM(u), Z), *known
    equations = ca.Function("R", [Z], [dynamics.inner.rows(*arguments)])
    found = ca.rootfinder("Z", "newton", equations, {"abstol": 1e-14})(np.tile(x, degree))
    ends = ca.Function("end", [Z], [dynamics.steps(*arguments)])(found).full().ravel()
    exact = model.rebuilt(substeps=50)(torch.tensor(x), torch.tensor(u)).detach().numpy()
    return float(np.abs(ends - exact).max())


@pytest.mark.parametrize(
    ("points", "degree", "order", "finest"),
    [
        ("radau", 1, 1, 0.006),
        ("radau", 2, 3, 0.012),
        ("radau", 3, 5, 0.012),
        ("legendre", 1, 2, 0.012),
        ("legendre", 2, 4, 0.012),
    ],
)
def test_a_step_has_the_order_of_its_points(
    points: Points, degree: int, order: int, finest: float
) -> None:
    coarse, fine = (step_error(dt, degree, points) for dt in (2 * finest, finest))
    assert np.log2(coarse / fine) == pytest.approx(order + 1, abs=0.3)


@pytest.mark.parametrize("points", ["radau", "legendre"])
def test_a_linear_regulator_is_found_to_the_error_of_the_integrator(points: Points) -> None:
    of = regulator()
    plan = Collocation(of, points=points, tolerance=1e-10, samples=0).plan(X0)
    exact = riccati(regulator(substeps=50))
    assert plan.status is Status.CONVERGED
    of_rk4 = np.abs(riccati(of) - exact).max()
    assert np.abs(plan.u - exact).max() < of_rk4 * 0.1  # of higher order than RK4
    assert np.abs(plan.u - riccati(of)).max() < 1.1 * of_rk4
    assert plan.cost == pytest.approx(of.evaluate(X0, riccati(of))[0], rel=1e-8)


def test_short_steps_make_it_multiple_shooting() -> None:
    apart = []
    for dt in (0.2, 0.1, 0.05, 0.025):
        of = regulator(dt, horizon=round(0.8 / dt))
        one = Collocation(of, tolerance=1e-11, samples=0).plan(X0)
        other = MultipleShooting(of, tolerance=1e-11, samples=0).plan(X0)
        apart.append(np.abs(one.u - other.u).max() / np.abs(other.u).max())
    ratios = np.array(apart[:-1]) / apart[1:]
    assert (ratios > 8).all()  # RK4 is of order 4, and it is what is apart


@pytest.mark.parametrize("solver", ["ipopt", "fatrop"])
def test_plans_are_those_of_shooting_with_their_multipliers(solver) -> None:
    for of in (
        cart(),
        cart(discount=0.9),
        cart(inequality=lambda x, u, pi: ca.vertcat(x[0] - 0.12, u[0] * x[3] - 2.0)),
        cart(terminal_equality=lambda x, pi: x[0] - 0.1),
        cart(terminal_inequality=lambda x, pi: x[1] - 0.2),
        cart(state_bounds=([-np.inf] * 4, [np.inf, np.inf, 0.15, np.inf])),
    ):
        planner = Collocation(of, tolerance=1e-9, samples=0, solver=solver)
        plan = planner.plan(START)
        wanted = MultipleShooting(of, tolerance=1e-9, samples=0).plan(START)
        assert plan.status is wanted.status is Status.CONVERGED
        assert plan.cost == pytest.approx(wanted.cost, rel=1e-6)
        assert plan.u == pytest.approx(wanted.u, abs=2e-3)
        assert plan.cost == of.evaluate(START, plan.u)[0]
        for name in ("defect", "inequality", "terminal_equality", "x", "u"):
            rows = wanted.multipliers[name]
            scale = max(1.0, np.abs(rows).max(initial=0))
            assert plan.multipliers[name] == pytest.approx(rows, abs=5e-3 * scale), name


# -- as every planner ------------------------------------------------------------------------


def test_multipliers_start_it_again_and_any_plan_does() -> None:
    of = cart(inequality=lambda x, u, pi: x[0] - 0.12)
    planner = Collocation(of, samples=0)
    plan = planner.plan(START)
    bare = Plan(u=plan.u, x=plan.x, cost=plan.cost, status=plan.status)
    again, primal = (planner.plan(START, warm_start=w) for w in (plan, bare))
    assert again.iterations < primal.iterations
    assert again.cost <= plan.cost
    assert planner.plan(START) == plan
    shooting = MultipleShooting(of, samples=0)
    for one, other in ((planner, shooting), (shooting, planner)):
        start = one.plan(START)
        assert other.plan(START, warm_start=start).cost <= start.cost


def test_parameters_physics_and_weights_move_without_a_rebuild() -> None:
    model = hybrid(Pendulum(), fit_parameters=("gravity",))
    planner = Collocation(OptimalControlProblem(model, Follow(), horizon=6), samples=0)
    x0, pi = np.array([0.5, 0.0]), np.array([0.3])
    before, program = planner.plan(x0, parameters=pi), planner._program
    assert np.abs(planner.plan(x0, parameters=pi + 1).u - before.u).max() > 1e-2
    with torch.no_grad():
        model.theta.add_(0.3)
    after = planner.plan(x0, parameters=pi)
    assert planner._program is program
    assert np.abs(after.u - before.u).max() > 1e-3
    fresh = Collocation(OptimalControlProblem(model, Follow(), horizon=6), samples=0)
    assert after == fresh.plan(x0, parameters=pi)
    residual: Any = model.residual
    residual.chain[-2] = nn.Linear(6, 1).double()
    assert np.abs(planner.plan(x0, parameters=pi).u - after.u).max() > 1e-6


def test_late_plans_and_numbers_that_are_none_are_told() -> None:
    of = cart()
    planner = Collocation(of, samples=0)
    late = planner.plan(START, deadline=1e-9)
    assert late.status is Status.DEADLINE
    assert late.usable
    residual: Any = of.model.residual
    with torch.no_grad():
        residual.chain[-2].bias.fill_(np.nan)
    assert planner.plan(START).status is Status.FAILED


def test_models_without_an_ode_are_refused_with_the_reason() -> None:
    cost = Quadratic(CartPole(), state={"position": 1.0}, input={"force": 0.1})
    models = {
        "held over a step": hybrid(CartPole(), hold=True),
        "acts on the discrete step": hybrid(CartPole(), placement=placements.next_state),
        "system has memory": hybrid(InputDelay(system=CartPole(), steps=2)),
        "residual has memory": hybrid(CartPole(), GRU(3, hidden=(4,), warmup=2)),
    }
    for reason, model in models.items():
        with pytest.raises(ValueError, match=f"ode_function is refused: .*{reason}"):
            Collocation(OptimalControlProblem(model, cost, horizon=3))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"degree": 0}, r"degree must be a whole number in \[1, 9\], got 0"),
        ({"points": "lobatto"}, r"points must be one of \('radau', 'legendre'\), got 'lobatto'"),
        ({"solver": "sqp"}, r"solver must be one of \('ipopt', 'fatrop'\), got 'sqp'"),
        ({"tolerance": 0.0}, "tolerance must be positive, got 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Collocation(regulator(), **bad)
