"""Splits that leak are told, splits by log are not."""

from __future__ import annotations

import numpy as np
import pytest

from hybridmodel.data import Dataset, Trajectory, check_leakage


def log(seed: int, steps: int = 200, *, start: float = 0.0, **context: float) -> Trajectory:
    """A random walk of two outputs."""
    rng = np.random.default_rng(seed)
    return Trajectory(
        t=start + 0.02 * np.arange(steps + 1),
        u=rng.normal(size=(steps, 1)),
        y=np.cumsum(rng.normal(size=(steps + 1, 2)), axis=0),
        context=context,
    )


def test_different_logs_do_not_leak() -> None:
    data = Dataset(log(seed) for seed in range(20))
    for seed in range(20):
        train, _, test = data.split(seed=seed)
        assert check_leakage(train, test) == ()


def test_rest_and_coarse_steps_are_no_overlap() -> None:
    rng = np.random.default_rng(0)
    coarse = [
        Trajectory(
            t=0.02 * np.arange(2001), u=np.zeros((2000, 1)), y=rng.integers(0, 2, (2001, 1)) * 0.1
        )
        for _ in range(6)
    ]
    rest = Trajectory(t=0.02 * np.arange(201), u=np.zeros((200, 1)), y=np.zeros((201, 1)))
    assert check_leakage(Dataset([*coarse[:3], rest]), Dataset([*coarse[3:], rest])) == ()


@pytest.mark.parametrize("seed", range(20))
def test_an_overlap_is_found_whatever_its_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = log(seed, 400)
    a, b = rng.integers(100, 200, 2)
    piece = whole[int(a) : 400]
    moved = Trajectory(t=piece.t + 77.0, u=piece.u, y=piece.y)
    (leak,) = check_leakage(Dataset([log(99), whole[: 200 + int(b)]]), Dataset([moved]))
    assert (leak.kind, leak.train, leak.test) == ("overlap", 1, 0)
    assert leak.samples == 200 + b - a + 1


def test_the_same_log_twice_is_named() -> None:
    (leak,) = check_leakage(Dataset([log(1), log(2)]), Dataset([log(3), log(2)]))
    assert "test[1] and train[1] are the same" in str(leak)


def test_one_log_cut_in_two_is_found() -> None:
    whole = log(0)
    (leak,) = check_leakage(Dataset([whole[:100]]), Dataset([whole[100:]]))
    assert leak.kind == "continued"
    assert "test[0] begins where train[0] ends" in str(leak)
    (leak,) = check_leakage(Dataset([whole[101:]]), Dataset([whole[:100]]))
    assert "train[0] begins where test[0] ends" in str(leak)


def test_experiments_are_told_apart_by_their_context() -> None:
    train = Dataset([log(0, run=1, mass=2), log(1, run=2, mass=2)])
    test = Dataset([log(2, run=2, mass=2)])
    (leak,) = check_leakage(train, test)
    assert (leak.kind, leak.train) == ("context", 1)
    assert len(check_leakage(train, test, apart=("mass",))) == 2
    assert check_leakage(train, test, apart=()) == ()
    with pytest.raises(ValueError, match=r"apart names \['rig'\]"):
        check_leakage(train, test, apart=("rig",))
