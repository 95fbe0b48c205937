"""Following a reference: what is followed, how it is judged, and what the report shows of it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import casadi as ca
import numpy as np
import pytest

from hybridmodel.baselines import ROWS, physics_row
from hybridmodel.data import Dataset, Trajectory
from hybridmodel.demo.pipeline import Outcome, Run
from hybridmodel.demo.record import read_record, summarize, write_record
from hybridmodel.evaluation import evaluate
from hybridmodel.fitting import FitResult
from hybridmodel.planners import Plan, Status
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.report import effects, motion, write_picture, write_report
from hybridmodel.report.drawing import quantity
from hybridmodel.report.errors import panels_of
from hybridmodel.tasks.following import Following, Lemniscate, Motions
from hybridmodel.tasks.named import TASKS
from hybridmodel.tasks.task import Task

EIGHT = Lemniscate(center=(1.0, 0.0, 2.0), long=(0.0, 0.5, 0.0), wide=(0.0, 0.0, 0.2), period=3.0)


@pytest.fixture(scope="module")
def quadrotor() -> Task:
    task = TASKS["quadrotor"]()
    assert isinstance(task.logging, Motions)
    assert isinstance(task.control, Following)
    return replace(
        task,
        logging=replace(task.logging, logs=3, held_out=1, steps=60),
        control=replace(task.control, seconds=2.0, settle=0.5),
    )


def following(task: Task) -> Following:
    assert isinstance(task.control, Following)
    return task.control


def on_reference(task: Task, shift: float = 0.0, steps: int | None = None) -> Trajectory:
    """A log whose point lies `shift` [m] above the reference, whatever the physics says."""
    control = following(task)
    steps = round(control.seconds / task.dt) if steps is None else steps
    t = task.dt * np.arange(steps + 1)
    x = np.tile(control.start(task.system), (steps + 1, 1))
    x[:, :3] = control.reference(t) + np.array([0.0, 0.0, shift])
    u = np.tile(control.rest_input(task.system), (steps, 1))
    return Trajectory(t=t.astype(np.float64), u=u, y=x, x=x)


def test_the_eight_begins_at_rest_in_its_middle_and_comes_back() -> None:
    np.testing.assert_array_equal(EIGHT(0.0), EIGHT.center)
    h = 1e-4
    assert np.linalg.norm(EIGHT(h) - EIGHT(0.0)) < 1e-6
    t = np.linspace(EIGHT.rise, 10, 50)
    np.testing.assert_allclose(EIGHT(t), EIGHT(t + EIGHT.period), atol=1e-12)
    np.testing.assert_allclose(EIGHT(t)[:, 0], 1.0)
    speed = np.linalg.norm(np.diff(EIGHT(np.arange(0, 6, 1e-3)), axis=0), axis=1) / 1e-3
    assert np.abs(np.diff(speed)).max() < 0.01  # nowhere a jump


def test_the_reference_itself_has_no_error_and_an_offset_its_own(quadrotor: Task) -> None:
    control = following(quadrotor)
    problem = control.problem(quadrotor, physics_row(quadrotor.system, 0.02, quadrotor.recipe))
    exact = control.score(quadrotor, problem, on_reference(quadrotor))
    assert exact.success
    assert exact.figures["worst"] < 1e-12
    near = control.score(quadrotor, problem, on_reference(quadrotor, 0.5 * control.tolerance))
    assert near.success
    assert near.figures["error"] == pytest.approx(0.5 * control.tolerance)
    far = control.score(quadrotor, problem, on_reference(quadrotor, 1.1 * control.tolerance))
    assert not far.success
    assert far.cost > near.cost > exact.cost


def test_a_run_that_ended_early_has_not_met_its_goal(quadrotor: Task) -> None:
    control = following(quadrotor)
    problem = control.problem(quadrotor, physics_row(quadrotor.system, 0.02, quadrotor.recipe))
    ended = control.score(quadrotor, problem, on_reference(quadrotor, steps=20))
    assert not ended.success
    assert ended.figures["worst"] > 0.1


@pytest.mark.parametrize("name", ["quadrotor", "kuka"])
def test_what_follows_is_the_same_for_numbers_and_symbols(name: str) -> None:
    if name == "kuka":
        pytest.importorskip("pybullet_data")
    task = pickle.loads(pickle.dumps(TASKS[name]()))  # as a worker gets it
    control, system = following(task), task.system
    x = ca.SX.sym("x", system.nx)
    y = ca.Function("y", [x], [control.follows(x)])
    states = control.start(system) + 0.1 * np.random.default_rng(0).normal(size=(5, system.nx))
    expected = np.array([y(state).full().ravel() for state in states])
    np.testing.assert_allclose(control.path(states), expected, atol=1e-12)
    np.testing.assert_allclose(control.path(control.start(system)[None])[0], control.reference(0.0))
    at_rest = ca.Function(
        "f", [x], [system.dynamics(x, control.rest_input(system), system.namespace(), ca.SX(0, 1))]
    )
    np.testing.assert_allclose(at_rest(control.start(system)).full(), 0, atol=1e-9)


def test_logs_are_whole_differ_and_stay_inside_the_bounds(quadrotor: Task) -> None:
    plant = quadrotor.plant("ode")
    logs = quadrotor.logging.make(quadrotor, plant, 0)
    again = quadrotor.logging.make(quadrotor, plant, 0)
    every = [*logs.train, *logs.validation, *logs.test]
    assert [log.steps for log in every] == [60] * 4
    assert not np.array_equal(every[0].u, every[1].u)
    assert np.array_equal(every[0].u, again.train[0].u)
    low, high = (
        np.array([getattr(s, n) for s in quadrotor.system.inputs]) for n in ("low", "high")
    )
    assert all(((low <= log.u) & (log.u <= high)).all() for log in every)


def test_a_better_model_follows_better(quadrotor: Task) -> None:
    control = replace(following(quadrotor), seconds=1.2, settle=0.4)
    task = replace(quadrotor, control=control)
    plant = quadrotor.plant("ode")
    true = quadrotor.system.with_parameters(mass=0.6, drag_x=0.35, drag_y=0.25, drag_z=0.15)
    errors: list[float] = []
    for system in (quadrotor.system, true):
        model = physics_row(system, task.dt, task.recipe)
        policy = control.policy(task, model, "gradient", 0)
        policy.reset(0)
        y, _ = plant.reset(seed=0, options={"state": control.start(system)})
        x = [plant.state]
        for k in range(round(control.seconds / task.dt)):
            y, *_ = plant.step(policy(k * task.dt, y))
            x.append(plant.state)
        distance = control.path(np.array(x)) - control.reference(task.dt * np.arange(len(x)))
        errors.append(float(np.sqrt(np.mean(distance[20:] ** 2))))
    assert errors[1] < 0.6 * errors[0]
    assert not policy.events


def test_many_signals_share_panels_by_unit() -> None:
    task = TASKS["quadrotor"]()
    panels = panels_of(task.system)
    assert list(panels) == [
        "x, y, z [m]",
        "attitude x, y, z [rad]",
        "velocity x, y, z [m/s]",
        "rate x, y, z [rad/s]",
    ]
    assert sorted(i for rows in panels.values() for i in rows) == list(range(12))
    few = TASKS["pendulum"]().system
    assert list(panels_of(few)) == [quantity(s) for s in few.states]


def test_a_plan_is_evaluated_as_torch_does(quadrotor: Task) -> None:
    control = following(quadrotor)
    model = physics_row(quadrotor.system, quadrotor.dt, quadrotor.recipe)
    problem = control.problem(quadrotor, model)
    generator = np.random.default_rng(0)
    u = generator.uniform(0.0, 3.0, (control.horizon, 4))
    pi = control.reference(0.02 * np.arange(control.horizon + 1))
    x0 = control.start(quadrotor.system)
    for start in (x0, x0 + np.array([3.99, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0])):  # through a wall
        found, expected = (
            evaluated(start, u, pi)
            for evaluated in (
                problem.evaluate,
                lambda *given: OptimalControlProblem.evaluate(problem, *given),
            )
        )
        assert found[0] == pytest.approx(expected[0])
        np.testing.assert_allclose(found[1], expected[1], atol=1e-12)
        assert found[2] == pytest.approx(expected[2])
    assert found[2] > 0


def test_the_report_tells_who_follows_best(
    quadrotor: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("no pybullet")

    monkeypatch.setattr(motion, "frames", missing)  # what the simulator draws, others test
    monkeypatch.setattr(effects, "plant_steps", missing)
    task, control = quadrotor, following(quadrotor)
    model = physics_row(task.system, task.dt, task.recipe)
    logs = task.logging.make(task, task.plant("ode"), 0)
    test = Dataset(logs.test)
    problem = control.problem(task, model)
    runs = {}
    for k, row in enumerate(ROWS):
        log = on_reference(task, 0.01 * (4 - k))
        plan = Plan(u=log.u[:20], x=log.y[:21], cost=1.0, status=Status.CONVERGED, seconds=0.01)
        score = control.score(task, problem, log)
        runs["gradient", row] = Run(log, score, ((0.0, plan), (0.04, plan)), {})
    epoch = {"stage": 0, "horizon": 1, "epoch": 0, "loss": 1.0, "validation": 0.5}
    epoch |= {"best": 0.5, "physics": 0.9, "seconds": 0.1}
    outcome = Outcome(
        task=task,
        engine="ode",
        seed=0,
        train=Dataset(logs.train),
        validation=Dataset(logs.validation),
        test=test,
        models=dict.fromkeys(ROWS, model),
        fits={row: FitResult(model, (epoch,), 0.1, 0.8, "budget", 1.0) for row in ROWS[1:]},
        sweep={0.01: 0.5},
        errors={row: evaluate(model, test, horizon=50, stride=5) for row in ROWS},
        runs=runs,
        settings={"engine": "ode"},
        seconds={"log": 1.0},
    )
    summary = summarize([outcome], quick=False, command="demo", wall_seconds=1.0)
    write_record(tmp_path, outcome, summary)
    again = read_record(tmp_path)
    assert again.runs["gradient", "hybrid"].score == runs["gradient", "hybrid"].score
    reasons = {r["text"]: r["holds"] for r in summary["verdict"]["reasons"]}
    assert reasons["multiple shooting: hybrid misses by 10 mm, physics 40 mm"]
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "10 mm rms, 4 times less than with physics alone" in html
    assert "swing" not in html
    assert "rms [mm]" in html
    assert write_picture(tmp_path, tmp_path / "picture.png").stat().st_size < 200_000
