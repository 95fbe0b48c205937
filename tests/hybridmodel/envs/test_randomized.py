"""Draws of plants: repeatable, within their intervals, nominal where these are points."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import hybridmodel as hm
from hybridmodel.envs import (
    HiddenEffects,
    Interval,
    OdePlant,
    Randomized,
    RobotEffects,
    make,
)
from physics import Pendulum

DT = 0.05
SYSTEM = Pendulum()
WAVE = hm.Multisine(SYSTEM.inputs, amplitude=0.5)
DRAWS = Randomized(
    parameters={"mass": Interval(0.5, 2.0, "log"), "length": Interval(0.4, 0.6)},
    effects={
        "input_gain": Interval(0.8, 1.2),
        "input_delay": Interval(0, 3, "whole"),
        "viscous": (Interval(0.0, 0.1),),
        "push": (Interval(0.0, 1.0), 0.1, (Interval(-2.0, 2.0),)),
    },
    always=HiddenEffects(observation_noise=0.01, parameters={"damping": 0.01}),
    seed=3,
)


def plant(hidden: HiddenEffects) -> OdePlant:
    return OdePlant(SYSTEM, dt=DT, substeps=4, hidden=hidden)


def test_same_seed_same_draws_whatever_is_asked_before() -> None:
    again = Randomized(
        parameters=dict(reversed(DRAWS.parameters.items())),
        effects=dict(reversed(DRAWS.effects.items())),
        always=DRAWS.always,
        seed=3,
    )
    assert [again.hidden(k) for k in (7, 0, 3)] == [DRAWS.hidden(k) for k in (7, 0, 3)]
    assert again.numbers(2) == DRAWS.numbers(2) != DRAWS.numbers(1)
    assert (
        Randomized(parameters=DRAWS.parameters, seed=4).numbers(0)["mass"]
        != (Randomized(parameters=DRAWS.parameters, seed=3).numbers(0)["mass"])
    )


def test_draws_lie_in_their_intervals_and_reach_both_ends_of_them() -> None:
    rows = [DRAWS.numbers(k) for k in range(400)]
    for name, interval in DRAWS.intervals.items():
        values = np.array([row[name] for row in rows])
        assert (values >= interval.low).all()
        assert (values <= interval.high).all()
        width = interval.high - interval.low
        assert np.ptp(values) > 0.95 * width
    assert {row["input_delay"] for row in rows} == {0, 1, 2, 3}
    # half of the masses lie below the geometric mean, half of the lengths below the mean
    for name, middle in (("mass", 1.0), ("length", 0.5)):
        below = np.mean([row[name] < middle for row in rows])
        assert abs(below - 0.5) < 4 * 0.5 / np.sqrt(400)


def test_ends_are_exact() -> None:
    for interval in (Interval(0.1, 0.7), Interval(0.1, 0.7, "log"), Interval(1, 4, "whole")):
        assert interval.at(0.0) == interval.low
        assert interval.at(1.0) == interval.high
    assert Interval(0.1, 10.0, "log").at(0.5) == pytest.approx(1.0)
    point = 0.3
    assert all(Interval(point, point, spread).at(0.77) == point for spread in ("uniform", "log"))


def test_a_draw_is_what_the_plant_hides() -> None:
    numbers, hidden = DRAWS.numbers(5), DRAWS.hidden(5)
    assert hidden.parameters == {
        "damping": 0.01,
        "mass": numbers["mass"],
        "length": numbers["length"],
    }
    assert hidden.input_gain == numbers["input_gain"]
    assert hidden.input_delay == numbers["input_delay"]
    assert hidden.viscous == (numbers["viscous_0"],)
    assert hidden.push == (numbers["push_0"], 0.1, (numbers["push_2_0"],))
    assert hidden.observation_noise == 0.01
    loaded = Randomized(effects={"payload": Interval(0.0, 1.0)}, always=RobotEffects())
    assert isinstance(loaded.hidden(0), RobotEffects)


@pytest.mark.parametrize("engine", ["ode", "pybullet"])
def test_intervals_that_are_points_give_the_nominal_plant(engine: Any) -> None:
    def made(hidden: HiddenEffects) -> Any:
        return make(SYSTEM, engine=engine, dt=DT, substeps=10, hidden=hidden)

    still = Randomized(
        parameters={name: Interval(float(p), float(p)) for name, p in SYSTEM.parameters.items()},
        effects={"input_gain": Interval(1.0, 1.0), "input_delay": Interval(0, 0, "whole")},
    )
    log = still.collect(made, WAVE, plants=[4], steps=20, seed=1)[0]
    nominal = Randomized().collect(made, WAVE, plants=[4], steps=20, seed=1)[0]
    np.testing.assert_array_equal(log.y, nominal.y)


def test_each_log_tells_its_plant() -> None:
    data = DRAWS.collect(plant, WAVE, plants=range(6), steps=20)
    assert [log.context for log in data] == [DRAWS.numbers(k) for k in range(6)]
    assert data == DRAWS.collect(plant, WAVE, plants=range(6), steps=20)
    assert data[4] == DRAWS.collect(plant, WAVE, plants=[4], steps=20)[0]
    other = DRAWS.collect(plant, WAVE, plants=range(6), steps=20, seed=1)
    assert [log.context for log in other] == [log.context for log in data]
    assert all((a.u != b.u).any() for a, b in zip(data, other, strict=True))
    # the context is the truth: the oracle of each log repeats it
    quiet = Randomized(parameters=DRAWS.parameters)
    for log in quiet.collect(plant, WAVE, plants=range(2), steps=20):
        exact = OdePlant(SYSTEM.with_parameters(**log.context), dt=DT, substeps=4)
        exact.reset(options={"state": log.y[0]})
        np.testing.assert_array_equal([exact.step(u)[0] for u in log.u], log.y[1:])
    assert hm.context_as_exogenous(data, ["mass"])[0].d.shape == (20, 1)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"effects": {"gain": Interval(0, 1)}}, "effects: HiddenEffects has no field 'gain'"),
        ({"effects": {"parameters": {}}}, "has no field 'parameters'"),
        ({"effects": {"payload": Interval(0, 1)}}, "has no field 'payload'"),
        ({"effects": {"dead_zone": Interval(-1.0, 1.0)}}, "dead_zone must be"),
        ({"effects": {"ripple": Interval(0.0, 1.5)}}, "ripple must be"),
        ({"effects": {"input_delay": Interval(0, 3)}}, "input_delay must be an integer"),
        ({"parameters": {"mass": (0.5, 2.0)}}, "parameters: mass must be an Interval"),
        (
            {"parameters": {"wind": Interval(1, 2)}, "effects": {"wind": Interval(1, 2)}},
            "both would be called 'wind'",
        ),
        ({"seed": -1}, "seed must be an integer ≥ 0"),
        ({"seed": 0.5}, "seed must be an integer ≥ 0"),
    ],
)
def test_wrong_intervals_are_named(rules: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Randomized(**rules)


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ((2.0, 1.0), "low ≤ high"),
        ((0.0, np.inf), "must be finite"),
        ((0.0, "1"), "must be finite"),
        ((0.0, 1.0, "log"), "low must be positive"),
        ((0.0, 1.5, "whole"), "must be whole"),
        ((0.0, 1.0, "normal"), "spread must be one of"),
    ],
)
def test_wrong_ends_are_named(ends: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interval(*ends)


def test_wrong_plants_are_named() -> None:
    with pytest.raises(ValueError, match="k must be an integer ≥ 0"):
        DRAWS.hidden(-1)
    with pytest.raises(ValueError, match="k must be an integer ≥ 0, got 'first'"):
        DRAWS.collect(plant, WAVE, plants=["first"], steps=3)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="no parameter 'colour'"):
        Randomized(parameters={"colour": Interval(0, 1)}).collect(plant, WAVE, plants=[0], steps=3)
    with pytest.raises(ValueError, match="trajectories is empty"):
        DRAWS.collect(plant, WAVE, plants=[], steps=3)


def test_draws_need_neither_engine_nor_torch() -> None:
    code = """
import sys
from hybridmodel.envs import Interval, Randomized
Randomized(parameters={"mass": Interval(0.5, 2.0, "log")}).hidden(0)
assert not {"torch", "gymnasium", "pybullet", "mujoco"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
