"""The quadratic cost by its documented equation."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest

from hybridmodel import Quadratic
from physics import CartPole


def value(expression, *pairs) -> float:
    symbols, numbers = zip(*pairs, strict=True)
    return float(ca.Function("f", list(symbols), [expression])(*numbers))


def stage(cost: Quadratic, x: list[float], u: float) -> float:
    sx, su = ca.SX.sym("x", 4), ca.SX.sym("u", 1)
    return value(cost.stage(sx, su, ca.SX(0), ca.SX(0, 1)), (sx, x), (su, u))


def terminal(cost: Quadratic, x: list[float]) -> float:
    sx = ca.SX.sym("x", 4)
    return value(cost.terminal(sx, ca.SX(0, 1)), (sx, x))


COST = Quadratic(
    CartPole(),
    state={"position": 2.0, "angle": 3.0, "rate": 0.5},
    input={"force": 0.1},
    terminal={"angle": 30.0},
    target={"angle": np.pi, "position": -0.4},
)


def test_the_documented_equation() -> None:
    x, u = [0.3, 1.2, 9.0, -2.0], 4.0
    wanted = 2 * 0.7**2 + 3 * 2 * (1 - np.cos(1.2 - np.pi)) + 0.5 * 4 + 0.1 * 16
    assert stage(COST, x, u) == pytest.approx(wanted, rel=1e-14)
    assert terminal(COST, x) == pytest.approx(30 * 2 * (1 - np.cos(1.2 - np.pi)), rel=1e-14)


def test_no_turn_is_preferred_and_small_angles_are_squares() -> None:
    here = stage(COST, [0, 1.0, 0, 0], 0)
    assert stage(COST, [0, 1.0 + 4 * np.pi, 0, 0], 0) == pytest.approx(here, rel=1e-13)
    near = Quadratic(CartPole(), state={"angle": 1.0}, input={})
    assert stage(near, [0, 1e-3, 0, 0], 0) == pytest.approx(1e-6, rel=1e-6)


def test_terminal_is_the_state_cost_unless_given() -> None:
    cost = Quadratic(CartPole(), state={"position": 2.0}, input={"force": 1.0})
    assert terminal(cost, [3, 0, 0, 0]) == stage(cost, [3, 0, 0, 0], 0) == 18.0
    assert stage(cost, [0, 0, 0, 0], 2.0) == 4.0


def test_zero_at_the_target_and_never_negative() -> None:
    assert stage(COST, [-0.4, np.pi, 5.0, 0.0], 0.0) == 0.0
    for seed in range(20):
        x = np.random.default_rng(seed).uniform(-9, 9, 4).tolist()
        assert stage(COST, x, 1.0) >= 0.1


def test_errors_name_the_signal() -> None:
    with pytest.raises(ValueError, match=r"state names 'colour'; signals are \['position', 'angle"):
        Quadratic(CartPole(), state={"colour": 1.0}, input={})
    with pytest.raises(ValueError, match=r"input names 'angle'; signals are \['force'\]"):
        Quadratic(CartPole(), state={}, input={"angle": 1.0})
    for weight in (-1.0, np.nan):
        with pytest.raises(ValueError, match=r"terminal\['angle'\] must be a weight of at least 0"):
            Quadratic(CartPole(), state={}, input={}, terminal={"angle": weight})
    with pytest.raises(ValueError, match="target names 'colour'"):
        Quadratic(CartPole(), state={}, input={}, target={"colour": 1.0})
    for goal in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"target\['angle'\] must be finite"):
            Quadratic(CartPole(), state={}, input={}, target={"angle": goal})
