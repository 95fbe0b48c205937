"""Errors that matter for control: nothing where the model is the plant, and counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hybridmodel as hm
from hybridmodel import envs, physics, report
from hybridmodel.report import (
    compounding_picture,
    control_error_pictures,
    exploitation_picture,
    query_picture,
    write_pictures,
)
from hybridmodel.rl.exploitation import ExploitationGap, exploitation_gap
from hybridmodel.rl.open_loop import open_loop
from hybridmodel.rl.queries import COLUMNS, QueryErrors, query_errors
from hybridmodel.rl.rare_events import EventErrors, event_errors
from residuals import Ensemble

DT = 0.05
HORIZON = 12


@pytest.fixture(scope="module")
def plant() -> envs.Environment:
    return envs.make(physics.Pendulum(), engine="ode", dt=DT, substeps=1)


@pytest.fixture(scope="module")
def exact() -> hm.HybridModel:
    """The plant itself: the same equations and the same step."""
    return hm.HybridModel(physics.Pendulum(), dt=DT)


@pytest.fixture(scope="module")
def wrong() -> hm.HybridModel:
    """A pendulum of three quarters of the mass."""
    return hm.HybridModel(physics.Pendulum(mass=0.75), dt=DT)


def swing_up(model: hm.HybridModel, **more: object) -> hm.OptimalControlProblem:
    cost = hm.Quadratic(
        model.system,
        state={"angle": 1.0, "rate": 0.05},
        input={"torque": 0.01},
        terminal={"angle": 5.0},
        target={"angle": np.pi},
    )
    return hm.OptimalControlProblem(model, cost, horizon=HORIZON, **more)  # type: ignore[arg-type]


Loop = tuple[hm.OptimalControlProblem, hm.RecedingHorizon, hm.Trajectory]


def loop(model: hm.HybridModel, plant: envs.Environment, **more: object) -> Loop:
    problem = swing_up(model, **more)
    policy = hm.receding_horizon(
        hm.CEM(problem, samples=60, elites=8, iterations=2, knots=5), every=4
    )
    return problem, policy, hm.collect(plant, policy, steps=24, seed=100, state=[2.0, 0.0])


@pytest.fixture(scope="module")
def wrong_loop(wrong: hm.HybridModel, plant: envs.Environment) -> Loop:
    return loop(wrong, plant)


@pytest.fixture(scope="module")
def exact_loop(exact: hm.HybridModel, plant: envs.Environment) -> Loop:
    return loop(exact, plant)


@pytest.fixture(scope="module")
def logs(plant: envs.Environment) -> hm.Dataset:
    wave = hm.RandomSteps(plant.system.inputs, amplitude=0.9)
    return hm.Dataset([hm.collect(plant, wave, steps=50, seed=k) for k in range(4)])


def queried(found: Loop, plant: envs.Environment, logs: hm.Dataset) -> QueryErrors:
    problem, policy, log = found
    return query_errors(
        problem.model,
        plant,
        policy.plans,
        executed=hm.Dataset([log]),
        held_out=logs,
        steps=(1, 5),
        count=30,
    )


def test_a_model_that_is_the_plant_errs_nowhere(
    exact_loop: Loop, plant: envs.Environment, logs: hm.Dataset
) -> None:
    found = queried(exact_loop, plant, logs)
    assert found.dropped == 0
    for column in COLUMNS:
        for step in found.steps:
            assert found.at(column, step) < 1e-9
            assert found.each(column, step).shape == (len(found.errors[column]),)


def test_errors_of_a_wrong_model_are_those_of_its_evaluation(
    wrong: hm.HybridModel, wrong_loop: Loop, plant: envs.Environment, logs: hm.Dataset
) -> None:
    found = queried(wrong_loop, plant, logs)
    known = hm.evaluate(wrong, logs, horizon=5)
    for step in (1, 5):
        assert found.at("held out", step) == pytest.approx(known.at(step), rel=1e-9)
    assert found.names == ("angle", "rate")
    assert found.median("queried", 5) > 0
    again = queried(wrong_loop, plant, logs)
    assert all(np.array_equal(found.errors[c], again.errors[c]) for c in COLUMNS)


def test_a_query_is_the_plant_started_where_the_plan_was(
    wrong: hm.HybridModel, wrong_loop: Loop, plant: envs.Environment, logs: hm.Dataset
) -> None:
    _, policy, log = wrong_loop
    (_, plan), *_ = policy.plans
    found = query_errors(
        wrong, plant, [(0.0, plan)], executed=hm.Dataset([log]), held_out=logs, steps=(3,), count=99
    )
    pieces = HORIZON - 3 + 1
    assert len(found.errors["queried"]) == pieces
    for k in range(pieces):
        true = open_loop(plant, plant.system, plan.x[k], plan.u[k : k + 3])[-1]
        np.testing.assert_allclose(
            found.errors["queried"][k, 0], plan.x[k + 3] - true, rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("more", [{}, {"discount": 0.9}, {"input_rate": [20.0]}])
def test_what_a_plan_promised_adds_up_to_its_cost(
    wrong: hm.HybridModel, plant: envs.Environment, more: dict
) -> None:
    problem, policy, _ = loop(wrong, plant, **more)
    gap = exploitation_gap(problem, plant, policy.plans)
    costs = [plan.cost for _, plan in policy.plans]
    np.testing.assert_allclose(gap.total[:, 0], costs, rtol=1e-9)
    assert gap.predicted.shape == gap.realised.shape == (len(policy.plans), HORIZON)
    assert gap.dt == DT
    assert not gap.ended.any()


def test_what_the_plant_paid_is_the_cost_along_its_states(
    wrong_loop: Loop, plant: envs.Environment
) -> None:
    problem, policy, _ = wrong_loop
    gap = exploitation_gap(problem, plant, policy.plans)
    for i, (_, plan) in enumerate(policy.plans):
        x = torch.tensor(open_loop(plant, plant.system, plan.x[0], plan.u))
        cost, _ = problem.judged(x, torch.tensor(plan.u), torch.zeros(HORIZON + 1, 0))
        assert gap.total[i, 1] == pytest.approx(float(cost), rel=1e-9)
    # one step in, both stand where the plan begins
    np.testing.assert_allclose(gap.gap[:, 0], 0, atol=1e-12)


def test_only_a_model_that_errs_is_exploited(
    exact_loop: Loop, wrong_loop: Loop, plant: envs.Environment
) -> None:
    gaps = {}
    for name, (problem, policy, _) in (("exact", exact_loop), ("wrong", wrong_loop)):
        gaps[name] = exploitation_gap(problem, plant, policy.plans)
    assert np.abs(gaps["exact"].relative).max() < 1e-9
    # a pendulum that weighs more than believed is lifted less than promised
    assert gaps["wrong"].quantiles((0.5,))[0, -1] > 0.01
    assert gaps["wrong"].optimism()[-1] > 0.8


@pytest.mark.parametrize("more", [{}, {"input_rate": [40.0]}])
def test_a_perfect_model_of_a_plant_with_a_delay_is_not_exploited(more: dict) -> None:
    late = hm.HybridModel(physics.InputDelay(system=physics.Pendulum(), steps=4), dt=DT)
    hidden = envs.HiddenEffects(input_delay=4)
    plant = envs.make(physics.Pendulum(), engine="ode", dt=DT, substeps=1, hidden=hidden)
    problem, policy, log = loop(late, plant, **more)
    assert np.abs(policy.plans[-1][1].x[0, 2:6]).max() > 0.1  # there are inputs under way
    gap = exploitation_gap(problem, plant, policy.plans)
    assert np.abs(gap.relative).max() < 1e-9
    logs = hm.Dataset([log])
    found = query_errors(late, plant, policy.plans, executed=logs, held_out=logs, steps=(1, 8))
    assert all(found.at(column, 8) < 1e-9 for column in COLUMNS)


def test_plants_that_do_not_fit_are_named(
    wrong_loop: Loop, plant: envs.Environment, logs: hm.Dataset
) -> None:
    class Elsewhere:
        """Starts where it wants."""

        dt = DT

        def reset(self, *, seed: int | None = None, options: dict | None = None):
            return plant.reset(seed=seed, options={"state": [0.5, 0.0]})

        def step(self, action: np.ndarray, /):
            return plant.step(action)

    problem, policy, log = wrong_loop
    given = {"executed": hm.Dataset([log]), "held_out": logs, "steps": (1,), "count": 3}
    slow = envs.make(physics.Pendulum(), engine="ode", dt=2 * DT)
    for other in (slow, Elsewhere()):
        with pytest.raises(ValueError, match="environment"):
            exploitation_gap(problem, other, policy.plans)
        with pytest.raises(ValueError, match="environment"):
            query_errors(problem.model, other, policy.plans, **given)


def test_a_whole_turn_away_is_the_same_place(plant: envs.Environment) -> None:
    class Wrapped:
        """Tells angles in ±π, as many environments do."""

        dt = DT

        def reset(self, *, seed: int | None = None, options: dict | None = None):
            y, info = plant.reset(seed=seed, options=options)
            return y, {"x": (info["x"] + np.pi) % (2 * np.pi) - np.pi}

        def step(self, action: np.ndarray, /):
            return plant.step(action)

    found = open_loop(Wrapped(), plant.system, np.array([4.0, 1.0]), np.zeros((2, 1)))
    assert found[0, 0] == pytest.approx(4.0 - 2 * np.pi)


def test_a_risk_over_members_is_no_cost_of_one_course(
    wrong_loop: Loop, plant: envs.Environment
) -> None:
    ensemble = hm.HybridModel(
        physics.Pendulum(), Ensemble((4,), count=2), dt=DT, placement=hm.placement.input
    )
    problem = swing_up(ensemble, risk=hm.Worst())
    with pytest.raises(ValueError, match=r"problem.*Worst"):
        exploitation_gap(problem, plant, wrong_loop[1].plans)


def test_a_plant_that_ends_pays_its_last_state_on(exact: hm.HybridModel) -> None:
    narrow = replace(
        physics.Pendulum(),
        states=(
            replace(exact.system.states[0], low=-0.5, high=0.5),
            exact.system.states[1],
        ),
    )
    short = envs.make(narrow, engine="ode", dt=DT, substeps=1)
    problem = swing_up(exact)
    plan = hm.CEM(problem, samples=60, elites=8, iterations=2).plan([0.4, 3.0])
    gap = exploitation_gap(problem, short, [(0.0, plan)])
    assert gap.ended.all()
    stages = np.diff(gap.realised[0])
    np.testing.assert_allclose(np.diff(stages[-4:] - 0.01 * plan.u[-4:, 0] ** 2), 0, atol=1e-12)


def test_windows_with_and_without_events_make_up_all_windows(
    wrong: hm.HybridModel, logs: hm.Dataset
) -> None:
    def fast(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        return np.abs(x[:, 1]) > 1.0

    found = event_errors(wrong, logs, fast, horizon=5)
    masks = [fast(log.x[:-1], log.u) for log in logs if log.x is not None]
    assert event_errors(wrong, logs, masks, horizon=5) == found
    assert found.steps == (sum(int(m.sum()) for m in masks), logs.steps)
    windows = [m[k : k + 5].any() for m in masks for k in range(50 - 5 + 1)]
    assert found.event.windows == sum(windows)
    assert found.event.windows + found.quiet.windows == len(windows)
    total = hm.evaluate(wrong, logs, horizon=5).curve()
    both = found.event.windows * found.event.rmse**2 + found.quiet.windows * found.quiet.rmse**2
    assert both / len(windows) == pytest.approx(np.mean(total**2), rel=1e-9)
    assert found.ratio == pytest.approx(found.event.rmse / found.quiet.rmse)
    for share in (found.event, found.quiet):
        assert share.interval[0] <= share.rmse <= share.interval[1]


def test_a_knock_in_every_log_shows_where_it_was(exact: hm.HybridModel, logs: hm.Dataset) -> None:
    knocked, masks = [], []
    for i, log in enumerate(logs):
        assert log.x is not None
        x = np.array(log.x)
        at = 20 + 2 * i
        after = open_loop(
            envs.make(exact.system, engine="ode", dt=DT, substeps=1),
            exact.system,
            x[at] * [1, -0.5] + [0, 0.7],
            log.u[at:],
        )
        x[at:] = after
        mask = np.zeros(log.steps, dtype=bool)
        mask[at - 1] = True
        knocked.append(replace(log, x=x, y=x))
        masks.append(mask)
    found = event_errors(exact, hm.Dataset(knocked), masks, horizon=4)
    assert found.quiet.rmse < 1e-9 < found.event.rmse
    assert found.event.windows == 4 * len(logs)
    assert found.event.logs == len(logs)


def test_an_interval_of_one_log_is_none(wrong: hm.HybridModel, logs: hm.Dataset) -> None:
    masks = [np.zeros(50, dtype=bool) for _ in logs]
    masks[1][10] = True
    found = event_errors(wrong, logs, masks, horizon=5)
    assert found.event.interval == (0.0, np.inf)
    assert np.isfinite(found.quiet.interval[1])


def test_bad_arguments_are_named(
    wrong: hm.HybridModel, wrong_loop: Loop, plant: envs.Environment, logs: hm.Dataset
) -> None:
    problem, policy, log = wrong_loop
    given = {"executed": hm.Dataset([log]), "held_out": logs}
    with pytest.raises(ValueError, match="steps"):
        query_errors(wrong, plant, policy.plans, **given, steps=(5, 1))
    with pytest.raises(ValueError, match="plans"):
        query_errors(wrong, plant, policy.plans, **given, steps=(HORIZON + 1,))
    bare = [plan for _, plan in policy.plans]
    with pytest.raises(ValueError, match="plans"):
        query_errors(wrong, plant, bare, **given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="steps"):
        query_errors(wrong, plant, policy.plans, **given, steps=(1.0,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="plans"):
        exploitation_gap(problem, plant, [])
    with pytest.raises(ValueError, match="plans"):
        exploitation_gap(problem, plant, bare)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="event"):
        event_errors(wrong, logs, lambda x, u: np.zeros(len(u), dtype=bool))
    with pytest.raises(ValueError, match="event"):
        event_errors(wrong, logs, lambda x, u: np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="level"):
        event_errors(wrong, logs, [], level=1.0)


def test_pictures_tell_what_was_found(
    wrong_loop: Loop,
    plant: envs.Environment,
    logs: hm.Dataset,
    tmp_path: Path,
) -> None:
    queries: dict[str, QueryErrors] = {}
    gaps: dict[str, ExploitationGap] = {}
    events: dict[str, EventErrors] = {}
    curves: dict[str, hm.Evaluation] = {}
    nearly = hm.HybridModel(physics.Pendulum(mass=0.95), dt=DT)
    for row, model in (("physics", wrong_loop[0].model), ("hybrid", nearly)):
        problem, policy, log = wrong_loop
        queries[row] = query_errors(
            model,
            plant,
            policy.plans,
            executed=hm.Dataset([log]),
            held_out=logs,
            steps=(1, 5),
            count=20,
        )
        gaps[row] = exploitation_gap(problem, plant, policy.plans)
        events[row] = event_errors(model, logs, lambda x, u: x[:, 1] > 1.0, horizon=4)
        curves[row] = hm.evaluate(model, logs, horizon=20)
    pictures = control_error_pictures(queries, gaps, curves, events, dt=DT, event="fast swings")
    assert all(p.image.startswith("<svg") for p in pictures.values())
    assert "hybrid" in pictures["Where plans ask"].finding
    assert "fast swings" in pictures["Rare events"].finding
    path = write_pictures(tmp_path / "control.html", pictures, title="A pendulum")
    text = path.read_text()
    assert all(heading in text for heading in pictures)
    assert text == write_pictures(path, pictures, title="A pendulum").read_text()


def test_a_page_of_rewards_shows_every_plan() -> None:
    def gap(scale: float, shift: float) -> ExploitationGap:
        predicted = np.cumsum(np.full((20, 5), scale), axis=1) * np.linspace(1, 2, 20)[:, None]
        realised = predicted + shift
        value = np.zeros((20, 2))
        return ExploitationGap(np.arange(20.0), predicted, realised, value, np.zeros(20, bool), DT)

    for scale in (-1.0, -1e-3, 0.0, 1.0):
        picture = exploitation_picture({"hybrid": gap(scale, 0.1)})
        dots = picture.image.count("<use ") - picture.image.count("tick")
        assert dots >= 20
        assert "above" in picture.finding
    assert "below" in exploitation_picture({"hybrid": gap(-1.0, -0.2)}).finding
    # of 8.25 on average
    assert "9.1 % of" in exploitation_picture({"hybrid": gap(-1.0, -0.75)}).finding


def test_a_model_without_errors_has_pictures_too(
    exact_loop: Loop, plant: envs.Environment, logs: hm.Dataset
) -> None:
    found = queried(exact_loop, plant, logs)
    nothing = {c: np.zeros_like(e) for c, e in found.errors.items()}
    picture = query_picture({"hybrid": replace(found, errors=nothing, dropped=3)})
    assert "held-out logs (0 %)" in picture.finding
    assert "3 more that it could not follow" in picture.reading
    assert "could not follow" not in query_picture({"hybrid": found}).reading
    curve = hm.evaluate(exact_loop[0].model, logs, horizon=1)
    with pytest.raises(ValueError, match="found"):
        compounding_picture({"hybrid": curve}, dt=DT)
    with pytest.raises(ValueError, match="found"):
        report.learning_picture({})


def test_the_headline_of_learning_is_where_it_ended() -> None:
    runs = [
        [{"steps": 10, "trials": [99.0]}, {"steps": 20, "trials": [last - 1, last + 1]}]
        for last in (1.0, 2.0, 3.0, 50.0)
    ]
    picture = report.learning_picture({"hybrid": runs})
    assert "hybrid 2.5 after 20 real steps" in picture.finding
    assert "4 runs" in picture.finding
