"""Sampling planners: known optima, laws of noise, weights and knots, and what all promise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import casadi as ca
import numpy as np
import pytest
import torch
from torch import Tensor

from hybridmodel import Cost, HybridModel, OptimalControlProblem, Plan, Quadratic, Status
from hybridmodel.planners.cem import CEM
from hybridmodel.planners.icem import ICEM
from hybridmodel.planners.mppi import MPPI, temperature, weights
from hybridmodel.planners.random_shooting import RandomShooting
from hybridmodel.planners.refined import RefinedCEM
from hybridmodel.planners.sampling.knots import (
    CubicKnots,
    EveryStep,
    Held,
    Knots,
    LinearKnots,
    Rates,
)
from hybridmodel.planners.sampling.noise import coloured
from hybridmodel.planners.sampling.search import Distribution, Round, Sampling
from physics import CartPole, Linear, Pendulum

PLANNERS: Mapping[str, tuple[type[Sampling], Mapping[str, Any]]] = {
    "random": (RandomShooting, {"samples": 60}),
    "cem": (CEM, {"samples": 40, "elites": 8, "iterations": 3}),
    "icem": (ICEM, {"samples": 40, "elites": 8, "iterations": 3}),
    "mppi": (MPPI, {"samples": 40, "iterations": 3}),
    "refined": (RefinedCEM, {"samples": 30, "elites": 5, "iterations": 2}),
}
SHAPES = (EveryStep(), Held(3), LinearKnots(5), CubicKnots(5), Rates())
each = pytest.mark.parametrize("kind", PLANNERS)
shaped = pytest.mark.parametrize("knots", SHAPES, ids=lambda k: type(k).__name__)

OSCILLATOR = Linear(A=((0.0, 1.0), (-1.0, -0.2)), B=((0.0,), (1.0,)))
Q, R, QH = np.diag([1.0, 0.1]), np.diag([0.05]), np.diag([5.0, 1.0])
X0 = np.array([1.0, -0.5])


def regulator(H: int = 10, bound: float = 10.0) -> OptimalControlProblem:
    cost = Quadratic(
        OSCILLATOR, state={"x0": 1.0, "x1": 0.1}, input={"u0": 0.05}, terminal={"x0": 5, "x1": 1}
    )
    model = HybridModel(OSCILLATOR, dt=0.1)
    return OptimalControlProblem(model, cost, horizon=H, input_bounds=([-bound], [bound]))


def riccati(problem: OptimalControlProblem) -> tuple[float, list[np.ndarray]]:
    """Optimal cost from X0 and the gains of u = −K x."""
    A, B = (m.numpy() for m in problem.model.linearize(*(torch.zeros(n).double() for n in (2, 1))))
    P, gains = QH, []
    for _ in range(problem.horizon):
        gains.append(np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A))
        P = Q + A.T @ P @ (A - B @ gains[-1])
    return float(X0 @ P @ X0), gains[::-1]


def swing(**keywords) -> OptimalControlProblem:
    cost = Quadratic(
        Pendulum(),
        state={"angle": 1.0, "rate": 0.1},
        input={"torque": 0.01},
        target={"angle": np.pi},
    )
    bounds = {"horizon": 8, "input_bounds": ([-1.0], [2.5])}
    return OptimalControlProblem(HybridModel(Pendulum(), dt=0.05), cost, **bounds | keywords)


def small(kind: str, problem: OptimalControlProblem, **keywords: Any) -> Sampling:
    make, least = PLANNERS[kind]
    return make(problem, **{**least, **keywords})


LQR, SWING = regulator(), swing()
NARROW, FIXED = swing(input_bounds=([0.1], [0.3])), swing(input_bounds=([0.3], [0.3]))
START = np.array([0.4, 0.0])


# -- known optima ----------------------------------------------------------------------------

EXACT = {
    "cem": lambda p: CEM(p, samples=400, elites=40, iterations=20),
    "cem, float32": lambda p: CEM(p, samples=400, elites=40, iterations=20, precision="float32"),
    "icem": lambda p: ICEM(p, samples=400, elites=40, iterations=20, colour=0.5),
    "mppi": lambda p: MPPI(p, samples=400, iterations=20),
    "mppi, splines": lambda p: MPPI(p, samples=400, iterations=20, knots=CubicKnots(6)),
    "smooth mppi": lambda p: MPPI(p, samples=400, iterations=20, knots=Rates()),
    "refined": lambda p: RefinedCEM(p, iterations=5),
}


@pytest.mark.parametrize("kind", EXACT)
def test_finds_the_riccati_optimum(kind: str) -> None:
    optimum, _ = riccati(LQR)
    planner = EXACT[kind](LQR)
    for seed in range(5):
        cost = planner.plan(X0, seed=seed).cost
        assert optimum * (1 - 1e-9) <= cost <= optimum * (1 + 1e-3)


def test_random_shooting_comes_nearer_as_its_law_says() -> None:
    """In n dimensions the expected gap of the best of N falls as N^{−2/n}; here n = 2."""
    problem = regulator(H=2)
    optimum, _ = riccati(problem)

    def gap(samples: int) -> float:
        planner = RandomShooting(problem, samples=samples, spread=0.4)
        return float(np.mean([planner.plan(X0, seed=s).cost - optimum for s in range(200)]))

    few, many = gap(100), gap(1600)
    assert few / many == pytest.approx(16, rel=0.4)


def test_gradients_make_up_for_samples() -> None:
    budget: Mapping[str, Any] = {"samples": 40, "elites": 8, "iterations": 4}
    plain, refined = CEM(LQR, **budget), RefinedCEM(LQR, **budget)
    for seed in range(5):
        assert refined.plan(X0, seed=seed).cost < plain.plan(X0, seed=seed).cost


def optimal(problem: OptimalControlProblem):
    """u = −Kₖ x, counting its calls as steps."""
    gains = [torch.from_numpy(K) for K in riccati(problem)[1]]
    calls = iter(range(10**6))
    return lambda x: -x @ gains[next(calls) % len(gains)].T


@each
def test_an_optimal_policy_makes_the_plan_optimal(kind: str) -> None:
    optimum, _ = riccati(LQR)
    planner = small(kind, LQR, policy=optimal(LQR), policy_share=0.2)
    plan = planner.plan(X0)
    assert plan.cost == pytest.approx(optimum, rel=1e-9)
    assert small(kind, LQR).plan(X0).cost > optimum * (1 + 1e-6)


def test_a_policy_leaves_room_for_what_is_drawn() -> None:
    rounds: list[Tensor] = []

    class Spy(ICEM):
        def update(self, judged: Round) -> Distribution:
            rounds.append(judged.points)
            return super().update(judged)

    policy = lambda x: x[:, :1]  # noqa: E731
    Spy(SWING, samples=100, elites=4, iterations=14, policy=policy, policy_share=0.2).plan(START)
    assert len(rounds[-1]) == 8
    again = (rounds[-1][:, None] == rounds[0]).all((2, 3)).any(1)
    assert 0 < int(again.sum()) < 4


def test_what_a_policy_gets_and_may_return() -> None:
    network = torch.nn.Linear(2, 1)
    assert CEM(SWING, samples=20, elites=4, policy=network).plan(START).usable
    undefined = CEM(SWING, samples=20, elites=4, policy=lambda x: x[:, :1] * torch.nan)
    plan = undefined.plan(START)
    assert plan.usable
    assert np.isfinite(plan.u).all()
    with pytest.raises(ValueError, match=r"policy must return u \(2, 1\), got \(2, 2\)"):
        CEM(SWING, samples=20, elites=4, policy=lambda x: x).plan(START)


# -- noise -----------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_coloured_noise_has_unit_variance_and_its_spectrum(exponent: float) -> None:
    n = 200
    W = coloured(n, exponent)
    covariance = W @ W.T
    assert np.diag(covariance) == pytest.approx(np.ones(n), abs=1e-9)
    window = np.hanning(n)  # steep spectra leak without it
    waves = np.fft.rfft(window[:, None] * W, axis=0)
    power = (np.abs(waves) ** 2).sum(1)  # the expected periodogram
    k = np.arange(8, n // 4)
    slope = np.polyfit(np.log(k), np.log(power[k]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)


def test_white_noise_is_left_alone_and_coloured_noise_is_smooth() -> None:
    assert coloured(30, 0.0) == pytest.approx(np.eye(30), abs=1e-12)
    steps = [np.mean(np.diff(coloured(30, b), axis=0) ** 2) for b in (0.0, 1.0, 2.0, 4.0)]
    assert steps == sorted(steps, reverse=True)
    for exponent in (-1.0, 8.0):
        for n in (1, 2, 3):
            assert (coloured(n, exponent) ** 2).sum(1) == pytest.approx(np.ones(n), abs=1e-6)


def test_candidates_have_the_colour_that_was_asked_for() -> None:
    drawn: list[Tensor] = []

    class Spy(RandomShooting):
        def update(self, judged: Round) -> Distribution:
            drawn.append(judged.points[1:])
            return judged.distribution

    Spy(swing(horizon=20), samples=20_000, colour=2.0, spread=0.1).plan(START)
    rows = drawn[0][..., 0].numpy() / 0.1
    W = coloured(20, 2.0)
    assert rows.T @ rows / len(rows) == pytest.approx(W @ W.T, abs=0.05)


# -- knots -----------------------------------------------------------------------------------


@shaped
@pytest.mark.parametrize("horizon", [5, 8, 31])
def test_a_shape_is_a_projection(knots: Knots, horizon: int) -> None:
    M, inverse = knots.matrix(horizon), knots.pseudo_inverse(horizon)
    assert M.shape == inverse.T.shape
    assert M.shape[0] == horizon
    projection = M @ inverse
    assert projection @ projection == pytest.approx(projection, abs=1e-10)
    assert np.allclose(projection, projection.T, rtol=0, atol=1e-10)
    assert inverse @ M == pytest.approx(np.eye(M.shape[1]), abs=1e-10)
    if not knots.relative:  # points are inputs: a constant is a constant
        assert M.sum(1) == pytest.approx(np.ones(horizon))


def test_held_inputs_are_constant_over_their_steps() -> None:
    u = Held(3).matrix(8) @ np.array([1.0, 2.0, 3.0])
    assert u == pytest.approx(np.array([1, 1, 1, 2, 2, 2, 3, 3]))
    assert Held(1).matrix(5) == pytest.approx(np.eye(5))
    assert Held(99).matrix(5) == pytest.approx(np.ones((5, 1)))
    plan = CEM(SWING, samples=40, elites=8, knots=Held(4)).plan(START)
    assert len(np.unique(plan.u)) == 2


def test_splines_keep_polynomials_of_their_degree() -> None:
    t = np.linspace(-1, 2, 31)
    for knots, degree in ((LinearKnots(7), 1), (CubicKnots(7), 3), (CubicKnots(4), 3)):
        at = np.linspace(-1, 2, knots.count)
        for power in range(degree + 1):
            assert knots.matrix(31) @ at**power == pytest.approx(t**power, abs=1e-12)
    assert LinearKnots(31).matrix(31) == pytest.approx(np.eye(31))


def test_rates_sum_up_from_the_input_before() -> None:
    M = Rates().matrix(30)
    assert (M**2).sum(1).mean() == pytest.approx(1)  # so that a spread means the same
    assert np.diff(M @ np.arange(30.0)) == pytest.approx(M[0, 0] * np.arange(1.0, 30))
    problem = swing(horizon=30)
    planner = RandomShooting(problem, samples=50, knots=Rates(), spread=1e-3)
    for before in (-0.5, 1.5, 9.0):
        plan = planner.plan(START, previous_input=np.array([before]))
        assert plan.u == pytest.approx(np.full((30, 1), min(before, 2.5)), abs=0.02)
    assert planner.plan(START).u == pytest.approx(np.full((30, 1), 0.75), abs=0.02)


@each
@shaped
def test_a_warm_start_never_gets_worse_whatever_the_knots(kind: str, knots: Knots) -> None:
    planner = small(kind, SWING, knots=knots, precision="float32", colour=1.0)
    u = np.array([2.5, -1, 2.5, 2.5, -1, 0, 1, 2])[:, None]
    cost, x, _ = SWING.evaluate(START, u)
    guess = Plan(u=u, x=x, cost=cost, status=Status.BUDGET)
    good = CEM(SWING, samples=200, elites=20, iterations=10).plan(START)
    for given in (guess, good):
        plan = planner.plan(START, warm_start=given, previous_input=np.zeros(1))
        assert plan.usable
        assert plan.cost <= given.cost * (1 + 1e-12)
        assert ((SWING.input_low <= plan.u) & (plan.u <= SWING.input_high)).all()


def test_a_feasible_warm_start_is_not_given_up_for_a_cheaper_violation() -> None:
    cost = Quadratic(
        CartPole(), state={"position": 1e6}, input={"force": 1e-3}, target={"position": 1.0}
    )
    problem = OptimalControlProblem(
        HybridModel(CartPole(), dt=0.1),
        cost,
        horizon=6,
        inequality=lambda x, u, pi: x[0] - 0.01,
    )
    still = np.zeros((6, 1))
    value, x, _ = problem.evaluate(np.zeros(4), still)
    guess = Plan(u=still, x=x, cost=value, status=Status.BUDGET)
    planner = CEM(problem, samples=60, elites=10)
    assert planner.plan(np.zeros(4)).status is Status.INFEASIBLE
    assert planner.plan(np.zeros(4), warm_start=guess).usable


# -- weights ---------------------------------------------------------------------------------

TOTALS = torch.from_numpy(np.random.default_rng(0).gamma(2.0, 3.0, 200))


def test_weights_are_a_softmax_that_forgets_constants() -> None:
    w = weights(TOTALS, 0.7)
    raw = np.exp(-TOTALS.numpy() / 0.7)
    assert w.numpy() == pytest.approx(raw / raw.sum(), rel=1e-12)
    assert weights(TOTALS + 1e6, 0.7).numpy() == pytest.approx(w.numpy(), rel=1e-6)
    assert weights(3 * TOTALS, 3 * 0.7).numpy() == pytest.approx(w.numpy(), rel=1e-12)
    some = weights(torch.tensor([1.0, torch.inf, 2.0]), 1.0)
    assert some[1] == 0
    assert float(some.sum()) == pytest.approx(1)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_temperature_makes_the_effective_number_of_samples(share: float) -> None:
    none = torch.zeros_like(TOTALS)
    scale = temperature(TOTALS, none, share * 200)
    w = weights(TOTALS, scale)
    assert float(1 / w.square().sum()) == pytest.approx(share * 200, rel=1e-3)
    assert temperature(7 * TOTALS + 5, none, share * 200) == pytest.approx(7 * scale, rel=1e-9)
    lost = torch.cat([TOTALS, torch.full((50,), torch.inf)])
    assert temperature(lost, torch.zeros(250), share * 200) == pytest.approx(scale)
    assert temperature(torch.ones(5), torch.zeros(5), 2.0) == 1.0


@pytest.mark.parametrize("control_cost", [0.0, 0.4, 1.0])
def test_the_update_is_that_of_the_paper(control_cost: float) -> None:
    draw = np.random.default_rng(1).normal
    mean, deviation, points = (
        draw(size=(4, 2)),
        0.3 + np.abs(draw(size=(4, 2))),
        draw(size=(9, 4, 2)),
    )
    totals = draw(size=9)
    planner = MPPI(SWING, temperature=0.6, control_cost=control_cost, anneal=0.5)
    before = Distribution(*(torch.from_numpy(v) for v in (mean, deviation, mean[None])))
    after = planner.update(
        Round(1, before, torch.from_numpy(points), torch.from_numpy(totals), lambda p: p)
    )
    noise = points - mean
    quadratic = np.einsum("km,ikm->i", mean / deviation**2, noise)
    cost = totals + 0.6 * control_cost * quadratic
    w = np.exp(-(cost - cost.min()) / 0.6)
    expected = mean + np.einsum("i,ikm->km", w / w.sum(), noise)
    assert after.mean.numpy() == pytest.approx(expected, rel=1e-12)
    assert after.deviation.numpy() == pytest.approx(deviation / 2)


class Raised(Quadratic):
    """The same cost and a constant."""

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return super().terminal(x, pi) + 1000


def test_a_constant_in_the_cost_changes_no_plan() -> None:
    weighted = {"state": {"angle": 1.0}, "input": {"torque": 0.01}, "target": {"angle": np.pi}}
    model = HybridModel(Pendulum(), dt=0.05)
    bounds = {"horizon": 8, "input_bounds": ([-1.0], [2.5])}
    plans = [
        MPPI(OptimalControlProblem(model, cost(Pendulum(), **weighted), **bounds)).plan(START)
        for cost in (Quadratic, Raised)
    ]
    assert plans[0].u == pytest.approx(plans[1].u, abs=1e-6)
    assert plans[1].cost == pytest.approx(plans[0].cost + 1000, abs=1e-6)


# -- iCEM ------------------------------------------------------------------------------------


def test_icem_draws_ever_fewer() -> None:
    planner = ICEM(SWING, samples=100, elites=10, decay=2.0)
    assert [planner.count(i) for i in range(1, 6)] == [100, 50, 25, 20, 20]
    assert ICEM(SWING, samples=15, elites=10).count(10**6) == 15


def test_icem_keeps_elites_from_plan_to_plan() -> None:
    planner = ICEM(SWING, samples=60, elites=10, keep=0.5)
    plan = planner.plan(START)
    elites = plan.elites
    assert elites.shape == (8, 5, 1)
    shifted = plan.shift()
    assert np.array_equal(shifted.elites[:-1], elites[1:])
    seen: list[Tensor] = []

    class Spy(ICEM):
        def update(self, judged: Round) -> Distribution:
            seen.append(self.space.inputs(judged.points, torch.zeros(1, dtype=torch.float64)))
            return super().update(judged)

    Spy(SWING, samples=60, elites=10, keep=0.5).plan(plan.x[1], warm_start=shifted)
    first = seen[0].numpy()
    assert first[0] == pytest.approx(shifted.u, abs=1e-12)
    assert first[1:6].transpose(1, 0, 2) == pytest.approx(shifted.elites, abs=1e-12)
    for wrong in (np.full((8, 5, 1), np.nan), np.full((8, 0, 1), 1.0), np.ones((8, 1))):
        broken = dataclasses.replace(shifted, elites=wrong)
        assert planner.plan(START, warm_start=broken).usable
    assert CEM(SWING, samples=40, elites=8).plan(START, warm_start=shifted).usable


# -- promises of all -------------------------------------------------------------------------


@each
def test_the_seed_decides(kind: str) -> None:
    planner = small(kind, SWING, colour=1.0, policy=lambda x: x[:, :1])
    again = small(kind, swing(), colour=1.0, policy=lambda x: x[:, :1])
    assert planner.plan(START, seed=1) == again.plan(START, seed=1)
    assert planner.plan(START, seed=1) != planner.plan(START, seed=2)


@each
def test_a_deadline_ends_it_within_an_iteration(kind: str) -> None:
    planner = small(kind, SWING, iterations=10**6, policy=lambda x: x[:, :1])
    plan = planner.plan(START, deadline=1e-9)
    assert plan.status is Status.DEADLINE
    assert plan.iterations == 1
    assert plan.usable
    assert planner.plan(START, deadline=0.05).seconds < 1  # generous: the machine is shared


@each
@shaped
def test_inputs_stay_inside_their_bounds(kind: str, knots: Knots) -> None:
    planner = small(kind, NARROW, spread=5.0, knots=knots, precision="float32")
    u = planner.plan(START, previous_input=np.array([9.0])).u
    assert ((u >= 0.1) & (u <= 0.3)).all()
    fixed = small(kind, FIXED, knots=knots).plan(START)
    assert fixed.usable
    assert (fixed.u == 0.3).all()


class Rooted(Cost):
    """A cost that is not a number where an input is negative."""

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return (u[0] + 0.5) ** 2 + 1e-9 * ca.sqrt(u[0])

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(0)


@each
def test_candidates_without_a_cost_never_win(kind: str) -> None:
    problem = OptimalControlProblem(
        HybridModel(Pendulum(), dt=0.05), Rooted(), horizon=4, input_bounds=([-1.0], [2.0])
    )
    for seed in range(5):
        plan = small(kind, problem, samples=200).plan(START, seed=seed)
        assert plan.usable
        assert (plan.u >= 0).all()
    hopeless = OptimalControlProblem(
        HybridModel(Pendulum(), dt=0.05), Rooted(), horizon=4, input_bounds=([-1.0], [-0.5])
    )
    plan = small(kind, hopeless).plan(START)
    assert plan.status is Status.FAILED
    assert ((plan.u >= -1) & (plan.u <= -0.5)).all()


# -- constructors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "keywords", "message"),
    [
        (RandomShooting, {"samples": 1}, "samples must be at least 2, got 1"),
        (RandomShooting, {"spread": 0.0}, "spread and warm_spread must be positive, got 0.0"),
        (RandomShooting, {"colour": np.nan}, "colour must be a finite exponent, got nan"),
        (RandomShooting, {"policy_share": 0.0}, r"policy_share must lie in \(0, 1\], got 0.0"),
        (RandomShooting, {"precision": "half"}, "precision must be one of"),
        (RandomShooting, {"knots": "3"}, "knots must be a number, a Knots or None, got '3'"),
        (CEM, {"knots": CubicKnots(9)}, r"knots must lie in \[2, horizon 8\], got 9"),
        (ICEM, {"decay": 0.9}, "decay must be at least 1, got 0.9"),
        (ICEM, {"elites": 1}, r"elites must lie in \[2, samples\), got 1 of 500"),
        (MPPI, {"temperature": 0.0}, "temperature must be positive or None, got 0.0"),
        (MPPI, {"effective": 0.0}, r"effective must lie in \(0, 1\], got 0.0"),
        (MPPI, {"anneal": 2.0}, r"anneal must lie in \(0, 1\], got 2.0"),
        (MPPI, {"control_cost": -1.0}, r"control_cost must lie in \[0, 1\], got -1.0"),
        (RefinedCEM, {"steps": 0}, "steps must be at least 1, got 0"),
        (RefinedCEM, {"rate": 0.0}, "rate must be positive, got 0.0"),
    ],
)
def test_constructor_errors_name_the_argument(
    make: type[Sampling], keywords: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(SWING, **keywords)


def test_held_steps_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        Held(0)
