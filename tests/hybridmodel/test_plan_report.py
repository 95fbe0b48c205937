"""Pictures of plans show what the plans hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np
import pytest
from PIL import Image

import hybridmodel as hm
from hybridmodel.planners import Plan, Status
from hybridmodel.report.plan import channels_of, plot_plan, times
from hybridmodel.report.plan_motion import animate_plan
from physics import CartPole, InputLag, Linear, Paced, Pendulum, Quadrotor, System

SYSTEM = Pendulum()
COST = hm.Quadratic(
    SYSTEM, state={"angle": 1.0}, input={"torque": 0.01}, target={"angle": np.pi, "rate": 9.0}
)
BOUNDS: Any = {"state_bounds": ([-50.0, -6.0], [50.0, 6.0])}


def problem(system: System = SYSTEM, cost: Any = COST, **options: Any) -> Any:
    return hm.OptimalControlProblem(hm.HybridModel(system, dt=0.05), cost, horizon=8, **options)


def rolled(of: Any, u: np.ndarray | None = None, x0: np.ndarray | None = None) -> Plan:
    model = of.model
    u = np.linspace(-2, 2, 8 * model.system.nu).reshape(8, -1) if u is None else u
    cost, x, _ = of.evaluate(np.zeros(model.nx) if x0 is None else x0, u)
    return Plan(u=u, x=x, cost=cost, status=Status.CONVERGED, iterations=3)


def test_curves_are_the_plans_own_numbers() -> None:
    of = problem(**BOUNDS)
    first = rolled(of)
    other = dataclasses.replace(rolled(of, -first.u), status=Status.BUDGET, iterations=0)
    figure = plot_plan(of, {"one": first, "other": other})
    angle, rate, torque = figure.axes
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "angle [rad]",
        "rate [rad/s]",
        "torque [N·m]",
    ]
    drawn = [line.get_ydata() for line in rate.lines]
    assert np.array_equal(drawn[0], other.x[:, 1])
    assert np.array_equal(drawn[1], first.x[:, 1])
    assert torque.get_xlim() == pytest.approx((0, 0.4))
    assert any(np.allclose(np.abs(line.get_ydata()), np.pi) for line in angle.lines)
    low, high = torque.get_ylim()
    assert low < -2 < 2 < high
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told[0] == f"one:  cost {first.cost:.4g} · converged · 3 iterations"
    assert told[1].endswith("budget used")


def test_limits_are_drawn_where_a_plan_comes_near() -> None:
    shaded, u = [], np.full((8, 1), 2.0)
    fastest = float(np.abs(rolled(problem(), u).x[:, 1]).max())
    for most in (20 * fastest, 1.1 * fastest):
        of = problem(state_bounds=([-50.0, -20 * fastest], [50.0, most]))
        shaded.append(len(plot_plan(of, rolled(of, u)).axes[1].patches))
    assert shaded == [0, 1]


def test_targets_without_a_weight_are_none() -> None:
    of = problem()
    begun = rolled(of, x0=np.array([3.0, 0.0]))
    aims = {c.signal.name: c.aim for c in channels_of(of, [begun], None)}
    assert aims["angle"] == pytest.approx(np.pi)
    assert aims["rate"] is None
    assert aims["torque"] is None
    to_go = channels_of(problem(cost=hm.CostToGo(of.model, COST)), [begun], None)
    assert to_go[0].aim == pytest.approx(np.pi)
    turned = rolled(of, x0=np.array([-3.0, 0.0]))
    assert channels_of(of, [turned], None)[0].aim == pytest.approx(-np.pi)


def test_a_reference_stands_beside_what_follows_it() -> None:
    cost = hm.Tracking(lambda x: ca.vertcat(ca.sin(x[0])), {"tip": 1.0}, beside=COST)
    of = problem(cost=cost)
    reference = np.linspace(0, 1, 9)[:, None]
    u = np.zeros((8, 1))
    _, x, _ = of.evaluate(np.array([0.3, 0.0]), u, reference)
    plan = Plan(u=u, x=x, cost=1.0, status=Status.CONVERGED)
    found = channels_of(of, [plan], reference)
    assert [c.signal.name for c in found] == ["angle", "rate", "tip", "torque"]
    assert found[2].values[0] == pytest.approx(np.sin(x[:, 0]))
    assert found[2].aim == pytest.approx(reference[:, 0])
    assert len(plot_plan(of, plan, parameters=reference).axes[2].lines) == 2


def test_time_is_what_the_plan_makes_of_it() -> None:
    paced = Paced(system=SYSTEM)
    of = problem(paced, COST.__class__(paced, state={"angle": 1.0}, input={"pace": 0.1}))
    u = np.stack([np.zeros(8), np.linspace(0.5, 1.2, 8)], 1)
    t = times(of, rolled(of, u))
    assert np.diff(t) == pytest.approx(0.05 * u[:, 1])


def test_many_states_and_memory_are_arranged() -> None:
    quadrotor = Quadrotor()
    cost = hm.Quadratic(quadrotor, state={"attitude": 1.0}, input={})
    of = problem(quadrotor, cost)
    figure = plot_plan(of, rolled(of, x0=np.array(quadrotor.neutral)))
    assert sum(ax.get_visible() for ax in figure.axes) == 17
    lagged = InputLag(system=SYSTEM, time_constant=0.1)
    of = problem(lagged, hm.Quadratic(lagged, state={"angle": 1.0}, input={}))
    assert len(plot_plan(of, rolled(of)).axes) == 4  # the torque that acts is a state


def test_what_failed_is_drawn_as_that(tmp_path: Path) -> None:
    of = problem()
    nothing = Plan(np.full((8, 1), np.nan), np.full((9, 2), np.nan), np.nan, Status.FAILED)
    figure = plot_plan(of, nothing)
    assert figure.get_suptitle() == "cost nan · failed"
    figure.savefig(tmp_path / "failed.png")
    with pytest.raises(ValueError, match="plan must be finite to be moved through"):
        animate_plan(of, nothing, tmp_path / "failed.webp")


class Painter:
    """A plant that draws its first state as a grey."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def reset(self, *, seed: int, options: dict[str, Any]) -> None:
        self.seen.append(float(options["state"][0]))

    def render(self) -> np.ndarray:
        return np.full((20, 40, 3), 255 - 10 * len(self.seen), np.uint8)


def test_a_plan_moves_in_real_time(tmp_path: Path) -> None:
    of, painter = problem(), Painter()
    plan = rolled(of)
    path = animate_plan(of, plan, tmp_path / "plan.webp", plant=painter, width=240)
    assert painter.seen == pytest.approx(plan.x[:, 0])
    with Image.open(path) as film:
        assert film.width == 240
        shown = []
        for k in range(film.n_frames):
            film.seek(k)
            film.load()
            shown.append(film.info["duration"])
    assert shown == [50] * 8 + [1050]  # it rests at the end


def test_the_simulator_draws_what_it_builds(tmp_path: Path) -> None:
    cart = CartPole()
    of = problem(cart, hm.Quadratic(cart, state={"angle": 1.0}, input={"force": 0.1}))
    path = animate_plan(of, rolled(of), tmp_path / "cart.webp", width=240)
    assert path.stat().st_size > 2000
    with pytest.raises(ValueError, match="path must end in"):
        animate_plan(of, rolled(of), tmp_path / "cart.gif")
    free = Linear(A=((0.0, 1.0), (0.0, 0.0)), B=((0.0,), (1.0,)))
    bare = problem(free, hm.Quadratic(free, state={"x0": 1.0}, input={}))
    with pytest.raises(ValueError, match="plant must be given for Linear"):
        animate_plan(bare, rolled(bare), tmp_path / "free.webp")


def test_what_is_no_plan_of_the_problem_is_refused() -> None:
    of = problem()
    plan = rolled(of)
    with pytest.raises(ValueError, match=r"plans must be a Plan with u \(8, 1\) and x \(9, 2\)"):
        plot_plan(of, dataclasses.replace(plan, u=plan.u[:-1]))
    with pytest.raises(ValueError, match=r"plans must be a Plan .* got NoneType"):
        plot_plan(of, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"plans\['b'\] must be a Plan .* got str"):
        plot_plan(of, {"a": plan, "b": "plan"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="plans must be 1 to 4, got 5"):
        plot_plan(of, dict.fromkeys("abcde", plan))
