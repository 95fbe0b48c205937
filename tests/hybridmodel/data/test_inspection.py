"""Faults put into clean logs are found, and clean logs have none."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel.data import Dataset, Table, Trajectory, inspect_log
from physics import Pendulum, Signal, Trivial

DT, STEPS, SEEDS = 0.02, 1000, 120
COUNTS = pytest.mark.parametrize("count", [9, pytest.param(SEEDS, marks=pytest.mark.slow)])
KINDS = ("multisine", "steps", "noise")
PLANT = Trivial(
    states=(Signal("angle", "rad"), Signal("rate", "rad/s", rate_of="angle")),
    inputs=(Signal("torque", "N·m"),),
)


def run(seed: int, *, feedback: bool = False, noise: float | None = None) -> dict[str, np.ndarray]:
    """A damped pendulum, linear in its angle, under one of three inputs or a controller."""
    rng = np.random.default_rng(seed)
    noise = 10 ** rng.uniform(-4, -2) if noise is None else noise
    t = DT * np.arange(STEPS + 1)
    kind = KINDS[seed % 3]
    if kind == "multisine":
        w = 2 * np.pi * np.arange(1, 9) / 5
        u = np.cos(np.outer(t, w) + rng.uniform(0, 6.28, 8)) @ rng.uniform(0.5, 1, 8)
    elif kind == "steps":
        u = np.repeat(rng.uniform(-2, 2, STEPS // 12 + 2), 12)[: STEPS + 1]
    else:
        u = rng.normal(size=STEPS + 1)
        for k in range(1, STEPS + 1):
            u[k] = 0.8 * u[k - 1] + 0.6 * u[k]
    # zero-order hold, exactly
    a, b = np.array([[0.0, 1.0], [-9.0, -0.5]]), np.array([0.0, 1.0])
    w, v = np.linalg.eig(a)
    step = (v * np.exp(w * DT) @ np.linalg.inv(v)).real
    push = np.linalg.solve(a, (step - np.eye(2)) @ b)
    x, xs, us = rng.normal(size=2) * 0.2, [], []
    for k in range(STEPS + 1):
        measured = x + noise * rng.normal(size=2)
        xs.append(measured)
        us.append(0.2 * u[k] - 8 * measured[0] - 2 * measured[1] if feedback else u[k])
        x = step @ x + push * us[-1]
    angle, rate = np.array(xs).T
    return {"time": t, "torque": np.array(us), "angle": angle, "rate": rate}


def table(record: dict[str, np.ndarray]) -> Table:
    return Table("log", tuple(record), record)


def kinds(record: dict[str, np.ndarray]) -> set[str]:
    return {finding.kind for finding in inspect_log(table(record), PLANT).warnings}


def jitter(record, rng) -> None:
    record["time"] = record["time"] + DT * rng.uniform(-0.3, 0.3, STEPS + 1)


def gap(record, rng) -> None:
    lost = int(rng.integers(10, 900))
    rows = np.arange(lost, lost + int(rng.integers(1, 20)))
    for name in record:
        record[name] = np.delete(record[name], rows)


def missing(record, rng) -> None:
    record["rate"][rng.choice(STEPS, 5, replace=False)] = np.nan


def outlier(record, rng) -> None:
    for row in rng.choice(np.arange(20, 980), 3, replace=False):
        record["angle"][row] += rng.choice([-1, 1]) * 3 * np.std(record["angle"])


def saturation(record, rng) -> None:
    limit = 0.6 * np.abs(record["rate"]).max()
    record["rate"] = np.clip(record["rate"], -limit, limit)


def quantisation(record, rng) -> None:
    step = rng.uniform(0.2, 0.4) * np.std(record["angle"])
    record["angle"] = np.round(record["angle"] / step) * step


def constant(record, rng) -> None:
    record["rate"] = np.full(STEPS + 1, 0.25)


def frozen(record, rng) -> None:
    start = int(np.argmax(np.abs(record["rate"][100:800]))) + 100  # it moves fast there
    record["angle"][start : start + 25] = record["angle"][start]


def rate(record, rng) -> None:
    record["rate"] = np.rad2deg(record["rate"])


FAULTS = {
    f.__name__: f
    for f in (jitter, gap, missing, outlier, saturation, quantisation, constant, frozen, rate)
}


@COUNTS
def test_clean_logs_raise_no_alarm(count: int) -> None:
    alarms = {seed: kinds(run(seed)) for seed in range(count)}
    assert {seed: found for seed, found in alarms.items() if found} == {}


@COUNTS
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_found(kind: str, count: int) -> None:
    missed = []
    for seed in range(count):
        record = run(seed)
        FAULTS[kind](record, np.random.default_rng(seed))
        if kind not in kinds(record):
            missed.append(seed)
    assert missed == []


def test_the_step_of_quantisation_is_the_one() -> None:
    for seed in range(8):
        record = run(seed)
        record["angle"] = np.round(record["angle"] / 0.0123) * 0.0123
        (found,) = inspect_log(table(record), PLANT).of("quantisation", "angle")
        assert found.number == pytest.approx(0.0123, rel=1e-6)


@pytest.mark.slow
def test_feedback_is_found_and_open_loop_is_not() -> None:
    # of multisines, which are predictable; a reference that is new each step hides feedback
    for seed in range(0, 60, 3):
        noise = 10 ** np.random.default_rng(seed).uniform(-2.5, -1.5)
        closed = run(seed, feedback=True, noise=noise)
        found = inspect_log(table(closed), PLANT).of("feedback", "torque")
        assert found
        assert found[0].number > 0.5
        assert not inspect_log(table(run(seed, noise=noise)), PLANT).of("feedback")


def test_a_late_rate_is_told_with_its_delay() -> None:
    for seed in range(8):
        record = run(3 * seed + 1, noise=1e-3)
        record["rate"] = np.roll(record["rate"], 4)
        found = inspect_log(table({k: v[10:] for k, v in record.items()}), PLANT)
        (late,) = found.of("delay", "rate")
        assert late.number == pytest.approx(4 * DT, abs=0.4 * DT)


def test_bounds_orders_and_inputs_that_rest() -> None:
    record = run(0)
    record["torque"] = np.zeros(STEPS + 1)
    record["time"][500] = record["time"][499]
    assert {"constant", "order"} <= kinds(record)
    bounded = Trivial(states=(Signal("y", "V", high=1.0),), inputs=(Signal("u", "V", -1, 1),))
    t = DT * np.arange(500)
    wave = {"time": t, "u": 0.01 * np.sin(t), "y": np.minimum(1.0, 2 * np.sin(9 * t))}
    report = inspect_log(table(wave), bounded)
    assert [f.channel for f in report.of("saturation")] == ["y"]
    assert next(f.number < 0.05 for f in report.of("excitation", "u"))
    wave["y"] = wave["y"] * 1.1
    assert "beyond its bound" in str(inspect_log(table(wave), bounded))


def test_a_dataset_merges_what_its_logs_share() -> None:
    logs = []
    for seed in range(4):
        r = run(seed)
        r["angle"][300 + seed] += 3
        y = np.stack([r["angle"], r["rate"]], axis=1)
        logs.append(Trajectory(t=r["time"], u=r["torque"][:-1, None], y=y))
    for system in (Pendulum(), None):
        report = inspect_log(Dataset(logs), system)
        assert (report.logs, report.samples) == (4, 4 * (STEPS + 1))
        (found,) = report.of("outlier", "angle" if system else "y[0]")
        assert "worst of 4 in 4 logs" in str(found)
    with pytest.raises(ValueError, match="columns names those of a Table"):
        inspect_log(Dataset(logs), Pendulum(), columns={"angle": "a"})
    with pytest.raises(ValueError, match="columns names 'speed'"):
        inspect_log(table(run(0)), PLANT, columns={"speed": "v"})


def test_a_long_log_is_inspected() -> None:
    t = 0.001 * np.arange(120_000)
    record = {"time": t, "torque": np.sin(t * t / 9), "angle": np.sin(t), "rate": np.cos(t)}
    assert inspect_log(table(record), PLANT).samples == len(t)
