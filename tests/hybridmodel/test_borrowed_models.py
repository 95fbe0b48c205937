"""Twelve models of other people: as published, loaded, checked, fitted and planned on."""

from __future__ import annotations

import itertools
from dataclasses import replace

import casadi as ca
import numpy as np
import pytest
import torch
from scipy.linalg import expm

import hybridmodel as hm
from benchmarks.models import MODELS, Borrowed, Outcome, run
from benchmarks.models.acados_style import hanging_chain, pendulum_on_cart
from benchmarks.models.dompc_style import MASSES_A, MASSES_B
from benchmarks.models.running import Rolled, load, logs
from hybridmodel import envs, placement, residuals

BY_NAME = {model.name: model for model in MODELS}
ALL = pytest.mark.parametrize("model", MODELS, ids=str)


def column(value: object) -> np.ndarray:
    return np.array(value, dtype=float).reshape(-1)


def draw(model: Borrowed, count: int) -> tuple[np.ndarray, ...]:
    """States of the region, inputs inside their bounds, disturbances: (count, ·) each."""
    rng = np.random.default_rng(3)
    low, high = np.array(model.region).T
    least, most = np.array([(s.low, s.high) for s in model.inputs]).T
    size = np.array(model.disturbance)
    return (
        rng.uniform(low, high, (count, len(low))),
        rng.uniform(least, most, (count, len(least))),
        size * rng.uniform(-1, 1, (count, len(size))),
    )


def called(model: Borrowed, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The published Function itself, given what its own signature asks for."""
    p = np.array([float(value) for value in model.parameters.values()])
    if model.arguments is not None:
        whole = {"x": x, "u": u, "p": p, "d": d, "": []}
        given = [whole[name] for name in model.arguments]
    elif model.function.n_in() == len(x) + len(u) + len(p):  # named scalars
        given = [*x, *u, *p]
    else:
        given = [x, u, p][: model.function.n_in()]
    return column(model.function.call([ca.DM(value) for value in given])[0])


def test_they_are_twelve_of_every_kind() -> None:
    functions = [model.function for model in MODELS]
    names = [function.name_in() for function in functions]
    assert len(MODELS) == 12
    assert len(BY_NAME) == 12
    assert {function.class_name() for function in functions} == {"SXFunction", "MXFunction"}
    assert any(model.discrete for model in MODELS)
    assert any(model.exogenous for model in MODELS)
    assert any(len(model.states) >= 10 for model in MODELS)
    assert any(model.parameters for model in MODELS)
    assert any(own[0] == "i0" for own in names)
    assert any(own[0] == "_x" for own in names)
    assert any(model.function.n_out() > 1 for model in MODELS)
    inside = {part.class_name() for f in functions for part in f.find_functions()}
    assert inside == {"BSplineInterpolant", "MXFunction"}  # a table, and calls of other Functions
    kinks = BY_NAME["two tanks"].function
    assert ca.OP_FMAX in [kinks.instruction_id(k) for k in range(kinks.n_instructions())]


def test_what_was_changed_is_told() -> None:
    unchanged = {model.name for model in MODELS if not model.changed}
    assert unchanged == {
        "van der Pol oscillator",
        "rocket",
        "oscillating masses",
        "pendulum on a cart",
        "Furuta pendulum",
    }


@ALL
def test_the_plant_is_another_but_of_the_same_form(model: Borrowed) -> None:
    x, u, d = draw(model, 3)
    plant = replace(model, function=model.plant)
    found = [
        np.array([called(each, *row) for row in zip(x, u, d, strict=True)])
        for each in (model, plant)
    ]
    gaps = np.ptp(found, axis=0).max(0)
    moved = {s.name for s, gap in zip(model.states, gaps, strict=True) if gap}
    assert moved
    assert moved <= set(model.corrected)  # so that a residual can learn all of it


# -- as published ------------------------------------------------------------------------------


def test_the_rocket_is_twenty_steps_of_its_ode() -> None:
    position, speed, mass = 1.0, 2.0, 0.9
    for _ in range(20):
        rates = speed, (0.3 - 0.05 * speed**2) / mass, -0.1 * 0.3**2
        position, speed, mass = (
            s + 0.01 * r for s, r in zip((position, speed, mass), rates, strict=True)
        )
    found = BY_NAME["rocket"].function([1.0, 2.0, 0.9], 0.3)
    assert column(found) == pytest.approx([position, speed, mass], rel=1e-12)


def test_the_van_der_pol_oscillator_gains_energy_where_it_is_slow() -> None:
    for x1, x2 in ((0.3, 0.5), (0.3, 1.5)):
        rates, cost = BY_NAME["van der Pol oscillator"].function([x1, x2], 0.0)
        gained = column(rates) @ [x1, x2]  # of (x₁² + x₂²)/2
        assert gained == pytest.approx((1 - x2**2) * x1**2, rel=1e-12)
        assert float(cost) == pytest.approx(x1**2 + x2**2)


def test_the_oscillator_rings_at_its_natural_frequency() -> None:
    mass, stiffness = 5.625e-6, 1.0
    x = np.array([1e-3, 0.0])
    for _ in range(20):
        x = column(BY_NAME["nonlinear oscillator"].function(x, 0.0, [mass, 0.0, stiffness, 0.0]))
    phase = np.sqrt(stiffness / mass) * 20 / 610.1
    assert x[0] == pytest.approx(1e-3 * np.cos(phase), abs=1e-7)


def test_the_tanks_keep_what_flows_in() -> None:
    h = np.array([0.3, 0.7])
    rates = column(BY_NAME["two tanks"].function(h, [0.6, 0.2]))
    assert rates.sum() == pytest.approx(0.08 * 0.6 - 0.04 * np.sqrt(h[1] + 1e-5), rel=1e-12)
    clipped = BY_NAME["two tanks"].function([1.7, -0.2], [2.0, -1.0])
    assert column(clipped) == pytest.approx(
        column(BY_NAME["two tanks"].function([1.0, 0.0], [1.0, 0.0]))
    )


def test_the_reactor_s_hot_wall_gives_what_the_jacket_takes() -> None:
    reactor = BY_NAME["continuous stirred tank reactor"]
    at = np.array([0.8, 0.5, 134.0, 130.0])
    u, step = np.array([30.0, -6000.0]), np.array([0.0, 0.0, 0.0, 1.0])
    change = called(reactor, at + step, u, np.empty(0)) - called(reactor, at, u, np.empty(0))
    exchange = 4032.0 * 0.215  # kJ/(h K)
    assert change[2:] == pytest.approx([exchange / (0.9342 * 3.01 * 10.01), -exchange / 10.0])


def test_the_bioreactor_s_biomass_balance() -> None:
    x, s, v, feed = 1.2, 0.4, 110.0, 0.1
    found = column(BY_NAME["batch bioreactor"].function(x, s, 0.3, v, feed, 0.4, 200.0))
    growth = 0.02 * s / (0.05 + s + s**2 / 5) * x
    substrate = -growth / 0.4 - 0.004 * x / 1.2 + feed / v * (200.0 - s)
    product = 0.004 * x - feed / v * 0.3
    assert found == pytest.approx([growth - feed / v * x, substrate, product, feed], rel=1e-12)


def test_the_oscillating_masses_are_two_masses_between_three_springs() -> None:
    A, B = np.zeros((4, 4)), np.zeros((4, 2))
    A[0, 1] = A[2, 3] = 1.0
    A[1, [0, 2]], A[3, [0, 2]] = (-2.0, 1.0), (1.0, -2.0)
    B[1, 0] = B[3, 1] = 1.0
    exact = expm(0.2 * np.block([[A, B], [np.zeros((2, 6))]]))
    assert np.array(MASSES_A) == pytest.approx(exact[:4, :4], abs=1e-8)
    assert np.array(MASSES_B) == pytest.approx(exact[:4, 4:], abs=1e-8)


def test_the_polymerisation_loses_no_mass() -> None:
    reactor = BY_NAME["industrial polymerisation reactor"]
    u = np.array([2e4, 350.0, 340.0])
    rates = called(reactor, np.array(reactor.start), u, np.empty(0))
    assert rates[:3].sum() == pytest.approx(u[0], rel=1e-12)
    assert rates[8] == pytest.approx(u[0])
    # the adiabatic temperature is what burning all monomer would reach
    x, h = np.array(reactor.start), 1e-7
    reached = [y[3] + y[1] * 950.0 / (y[:3].sum() * 5.0) for y in (x - h * rates, x + h * rates)]
    assert rates[9] == pytest.approx((reached[1] - reached[0]) / (2 * h), rel=1e-5)


def test_the_pendulum_on_a_cart_keeps_its_energy() -> None:
    x, u = ca.SX.sym("x", 4), ca.SX.sym("u")
    m, length = 0.1, 0.8
    horizontal = x[2] - length * ca.cos(x[1]) * x[3]  # of the ball: p − l sin θ
    vertical = -length * ca.sin(x[1]) * x[3]
    energy = (
        x[2] ** 2 / 2 + m / 2 * (horizontal**2 + vertical**2) + m * 9.81 * length * ca.cos(x[1])
    )
    power = ca.jtimes(energy, x, pendulum_on_cart()(x, u, []))
    gained = ca.Function("gained", [x, u], [power - u * x[2]])
    assert float(gained([0.3, 0.7, -0.4, 1.1], 2.0)) == pytest.approx(0.0, abs=1e-12)


def test_the_chain_keeps_its_energy_between_fixed_ends() -> None:
    x = ca.SX.sym("x", 15)
    points = [ca.SX.zeros(3), *ca.vertsplit(x[:9], 3)]
    stretch = [ca.norm_2(b - a) - 0.033 for a, b in itertools.pairwise(points)]
    spring = sum(0.5 * s**2 for s in stretch)
    energy = 0.033 * (ca.sumsqr(x[9:]) / 2 + 9.81 * (x[2] + x[5])) + spring
    power = ca.jtimes(energy, x, hanging_chain()(x, ca.SX.zeros(3), ca.SX.zeros(6)))
    at = np.random.default_rng(0).uniform(0.1, 1.0, 15)
    assert float(ca.Function("power", [x], [power])(at)) == pytest.approx(0.0, abs=1e-12)


def test_the_race_car_follows_a_straight_and_a_bend() -> None:
    car = BY_NAME["race car"]
    at = np.array([0.0, 0.05, 0.0, 1.0, 0.5, 0.0])
    rates = called(car, at, np.zeros(2), np.empty(0))  # no curvature at s = 0
    force = (0.28 - 0.05) * 0.5 - 0.006 - 0.011 * np.tanh(5.0)
    assert rates == pytest.approx([1.0, 0.0, 0.0, force / 0.043, 0.0, 0.0], abs=1e-6)
    at[0] = 1.0
    inside = called(car, at, np.zeros(2), np.empty(0))
    bend = 1.2 * np.sin(1.0) * np.cos(0.5)
    assert inside[0] == pytest.approx(1 / (1 - 0.05 * bend), rel=1e-4)
    assert inside[2] == pytest.approx(-bend * inside[0], rel=1e-3)


def test_the_furuta_pendulum_rests_upright_and_hanging_and_falls() -> None:
    furuta = BY_NAME["Furuta pendulum"].function
    for rest in (0.0, np.pi):
        assert column(furuta([0.4, rest, 0, 0], 0.0, [])) == pytest.approx(0.0, abs=1e-12)
    assert column(furuta([0, 0.1, 0, 0], 0.0, []))[3] > 0
    assert column(furuta([0, np.pi + 0.1, 0, 0], 0.0, []))[3] < 0


# -- loaded, fitted, planned -------------------------------------------------------------------


@ALL
def test_loading_changes_nothing(model: Borrowed) -> None:
    system = load(model)
    x, u, d = draw(model, 3)
    wanted = np.array([called(model, *row) for row in zip(x, u, d, strict=True)])
    bare = hm.HybridModel(system, dt=model.dt)
    given = [torch.as_tensor(value) for value in (x, u, d)]
    if model.discrete:
        function = bare.step_function()
        with torch.no_grad():
            found = bare(*given).numpy()
    else:
        function = bare.ode_function()
        flow = bare.torch_equations.derivative
        found = flow(given[0], given[1], torch.zeros(3, 0, dtype=torch.float64), given[2])
        found = found.detach().numpy()
    scale = np.abs(wanted).max(0) + 1e-9
    symbolic = [column(function(xi, ui, [], di)) for xi, ui, di in zip(x, u, d, strict=True)]
    assert np.array(symbolic) / scale == pytest.approx(wanted / scale, abs=1e-12)
    assert found / scale == pytest.approx(wanted / scale, abs=1e-12)


@ALL
def test_an_untrained_residual_changes_nothing(model: Borrowed) -> None:
    system = load(model)
    place = placement.next_state if model.discrete else placement.derivative
    hybrid = hm.HybridModel(system, residuals.MLP((4,)), dt=model.dt, placement=place)
    bare = hm.HybridModel(system, dt=model.dt)
    given = [torch.as_tensor(value) for value in draw(model, 3)]
    with torch.no_grad():
        assert torch.equal(hybrid(*given), bare(*given))


@ALL
def test_all_paths_agree(model: Borrowed) -> None:
    substeps = 1 if model.discrete else model.substeps
    place = (placement.next_state if model.discrete else placement.derivative).on(*model.corrected)
    residual = residuals.MLP((3,))
    hybrid = hm.HybridModel(
        load(model),
        residual,
        dt=model.dt,
        substeps=substeps,
        placement=place,
        fit_parameters=tuple(model.true),
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in residual.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    found = hm.check_agreement(hybrid, points=4)
    assert found.holds, str(found)
    left = {path.path for path in found.paths if path.remark}
    continuous = {"step, CasADi with dt as input", "derivative, torch"}  # of a step x⁺ neither is
    kernel = set() if hybrid.path.name == "kernel" else {"step, kernel"}  # no interpolants yet
    assert left == (continuous if model.discrete else set()) | kernel


@pytest.mark.slow
@ALL
def test_all_laws_hold(model: Borrowed) -> None:
    found = hm.check_system(load(model), points=4)
    assert found.holds, str(found)
    left = {finding.law for finding in found.findings if finding.outcome == "not checked"}
    angles, rates = (any(getattr(s, k) for s in model.states) for k in ("angle", "rate_of"))
    there = {"turns": angles, "covers": False, "kinematics": rates}
    assert left == {law for law, found in there.items() if not found}


@pytest.mark.slow
@ALL
def test_it_is_fitted_and_planned_on(model: Borrowed) -> None:
    outcome = run(model, quick=True)
    assert outcome.after < outcome.before
    assert outcome.status is hm.Status.CONVERGED
    assert outcome.cost < outcome.idle
    assert outcome.applied < outcome.waited
    assert outcome.planned


def test_parameters_are_found_where_nothing_else_differs() -> None:
    reactor = BY_NAME["continuous stirred tank reactor"]
    bare = hm.HybridModel(load(reactor), dt=reactor.dt, fit_parameters=tuple(reactor.true))
    data = logs(replace(reactor, plant=reactor.function), share=2)
    found = hm.fit(bare, *data.split((0.75, 0.25)), horizons=(1,), epochs=20, parameter_rate=0.05)
    for name, value in reactor.true.items():
        assert found.model.system.parameters[name] == pytest.approx(value, rel=0.01)


@pytest.mark.parametrize("name", ["batch bioreactor", "race car", "Furuta pendulum"])
def test_the_ode_plant_takes_it_too(name: str) -> None:
    model = BY_NAME[name]
    plant = envs.make(load(model, model.plant), engine="ode", dt=model.dt, substeps=40)
    rolled, action = Rolled(model), np.array(model.idle)
    for environment in (plant, rolled):
        environment.reset(seed=0, options={"state": np.array(model.start)})
    found, wanted = (environment.step(action)[0] for environment in (plant, rolled))
    assert found == pytest.approx(wanted, rel=1e-5, abs=1e-7)


def test_no_failure_counts_as_success() -> None:
    outcome = Outcome(
        name="",
        loaded="",
        before=1.0,
        after=0.5,
        parameters={},
        status=hm.Status.CONVERGED,
        cost=1.0,
        idle=2.0,
        applied=1.5,
        waited=2.0,
        seconds=0.0,
    )
    assert outcome.fitted
    assert outcome.planned
    assert not replace(outcome, after=0.51).fitted
    assert not replace(outcome, status=hm.Status.INFEASIBLE).planned
    assert not replace(outcome, applied=2.0).planned
    assert not replace(outcome, waited=float("nan")).planned
