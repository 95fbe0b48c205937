"""The loop between a policy and a plant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hybridmodel.collection import collect
from hybridmodel.excitation import Hold, RandomSteps
from physics import Signal

INPUTS = (Signal("force", "N", -1.0, 1.0),)
DT = 0.1


class Integrator:
    """x⁺ = x + dt·u, y = 2x; hands out the same buffers again and again, as plants do."""

    dt = DT

    def __init__(self, *, tells: bool = True, ends_at: int | None = None, how: int = 0) -> None:
        self.tells, self.ends_at, self.how = tells, ends_at, how
        self.x, self.y, self.d = np.zeros(1), np.zeros(1), np.zeros(1)
        self.k = 0
        self.seed: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self.seed, self.k = seed, 0
        self.x[:] = 0.0 if options is None else options["state"]
        return self._measure(), {"x": self.x} if self.tells else {}

    def step(self, u: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.d[:] = self.k
        self.x += self.dt * u
        u[:] = np.nan  # what a plant does to its argument is its own affair
        self.k += 1
        over = self.k == self.ends_at
        info = {"x": self.x, "d": self.d} if self.tells else {}
        return self._measure(), 0.0, over and self.how == 0, over and self.how == 1, info

    def _measure(self) -> np.ndarray:
        self.y[:] = 2 * self.x
        return self.y


def test_u_k_acts_from_t_k_to_the_next_sample() -> None:
    log = collect(Integrator(), RandomSteps(INPUTS), steps=30, seed=1, state=[0.5])
    assert log.x is not None
    assert log.t == pytest.approx(DT * np.arange(31))
    assert log.x[0, 0] == 0.5
    assert np.diff(log.x, axis=0) == pytest.approx(DT * log.u)
    assert log.y == pytest.approx(2 * log.x)
    assert log.d[:, 0].tolist() == list(range(30))


def test_the_policy_sees_time_and_measurement() -> None:
    seen: list[tuple[float, float]] = []

    class Proportional:
        def reset(self, seed: int | None) -> None:
            seen.append((-1.0, float(seed or 0)))

        def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
            seen.append((t, float(y[0])))
            return -y

    log = collect(Integrator(), Proportional(), steps=3, seed=5, state=[1.0])
    assert seen[0] == (-1.0, 5.0)
    assert seen[1:] == list(zip(log.t[:-1].tolist(), log.y[:-1, 0].tolist(), strict=True))
    assert np.array_equal(log.u, -log.y[:-1])


def test_seed_goes_to_both_and_the_log_repeats() -> None:
    plant = Integrator()
    first = collect(plant, RandomSteps(INPUTS), steps=20, seed=7)
    assert plant.seed == 7
    assert first == collect(Integrator(), RandomSteps(INPUTS), steps=20, seed=7)
    assert first != collect(Integrator(), RandomSteps(INPUTS), steps=20, seed=8)


@pytest.mark.parametrize("how", [0, 1], ids=["terminated", "truncated"])
def test_an_episode_that_ends_early_gives_a_shorter_log(how: int) -> None:
    log = collect(Integrator(ends_at=4, how=how), Hold(INPUTS, [1.0]), steps=10)
    assert log.steps == 4
    assert log.x is not None
    assert log.x[-1, 0] == pytest.approx(0.4)


def test_a_plant_may_keep_its_state_to_itself() -> None:
    log = collect(Integrator(tells=False), Hold(INPUTS, [1.0]), steps=3, context={"mass": 2})
    assert log.x is None
    assert log.d.shape == (3, 0)
    assert log.context == {"mass": 2.0}


def test_progress_counts_steps() -> None:
    calls: list[tuple[int, int]] = []
    collect(Integrator(), Hold(INPUTS, [0.0]), steps=3, progress=lambda *done: calls.append(done))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_bad_commands_never_reach_the_plant() -> None:
    class Broken:
        def __init__(self, u: Any) -> None:
            self.u = u

        def reset(self, seed: int | None) -> None:
            """Nothing to forget."""

        def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
            return self.u if t > 0.15 else np.zeros(1)

    for u in (np.array([np.nan]), np.array([np.inf]), np.float64(1.0), np.zeros((1, 1))):
        plant = Integrator()
        with pytest.raises(ValueError, match=r"the policy commanded u\[2\] = .*, wanted a vector"):
            collect(plant, Broken(u), steps=5)
        assert plant.k == 2


def test_bad_measurements_are_named() -> None:
    with pytest.raises(ValueError, match=r"the environment measured y\[0\] = \[nan\]"):
        collect(Integrator(), Hold(INPUTS, [0.0]), steps=5, state=[np.nan])
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        collect(Integrator(), Hold(INPUTS, [0.0]), steps=0)
