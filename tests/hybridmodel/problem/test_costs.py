"""The quadratic cost by its documented equation."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest

from hybridmodel import Quadratic, Tracking
from physics import CartPole, Quadrotor, quaternion


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


def test_a_rotation_costs_the_same_around_the_sphere() -> None:
    """w 2 (1 − cos θ) for a turn θ about any axis from the target, and q costs what −q does."""
    system = Quadrotor()
    goal = np.array([0.5, -0.5, 0.5, 0.5])
    names = [s.name for s in system.states[3:7]]
    cost = Quadratic(
        system, state={"attitude": 3.0}, input={}, target=dict(zip(names, goal, strict=True))
    )
    x = ca.SX.sym("x", 13)
    stage = ca.Function("stage", [x], [cost.stage(x, ca.SX(4, 1), ca.SX(0), ca.SX(0, 1))])
    for theta in (0.0, 1e-3, 1.0, np.pi, 4.0):
        turn = quaternion.exp(ca.SX(theta * np.array([0.6, 0.0, 0.8])))
        q = np.asarray(ca.DM(quaternion.multiply(ca.SX(goal), turn)))[:, 0]
        for side in (1, -1):
            here = np.array([*system.neutral[:3], *(side * q), *system.neutral[7:]])
            assert float(stage(here)) == pytest.approx(6 * (1 - np.cos(theta)), abs=1e-12)


def test_rotation_rows_are_weighed_one_by_one() -> None:
    cost = Quadratic(Quadrotor(), state={"attitude_z": 2.0}, input={"thrust1": 1.0})
    assert cost.state[3:6] == (0.0, 0.0, 2.0)
    with pytest.raises(ValueError, match="state names 'qw'"):
        Quadratic(Quadrotor(), state={"qw": 1.0}, input={})


def test_inputs_are_measured_from_their_target() -> None:
    cost = Quadratic(CartPole(), state={}, input={"force": 2.0}, target={"force": 3.0})
    assert stage(cost, [0.0] * 4, 5.0) == pytest.approx(8.0)


def test_tracking_follows_its_reference() -> None:
    """ℓ = Σ wᵢ (yᵢ − πᵢ)² + ℓ₀, with the reference before what else π holds."""
    beside = Quadratic(CartPole(), state={"rate": 1.0}, input={"force": 0.5})
    cost = Tracking(
        lambda x: ca.vertcat(x[0], ca.sin(x[1])), {"px": 2.0, "py": 3.0}, beside=beside, final=4.0
    )
    assert cost.parameters == ("px", "py")
    x, u, pi = ca.SX.sym("x", 4), ca.SX.sym("u"), ca.SX.sym("pi", 2)
    here, reference = [0.4, 0.3, 0.0, 0.7], [0.1, -0.2]
    distance = 2 * 0.3**2 + 3 * (np.sin(0.3) + 0.2) ** 2
    found = value(cost.stage(x, u, ca.SX(0), pi), (x, here), (u, 2.0), (pi, reference))
    assert found == pytest.approx(distance + 0.7**2 + 0.5 * 4)
    last = value(cost.terminal(x, pi), (x, here), (pi, reference))
    assert last == pytest.approx(4 * distance + 0.7**2)
    with pytest.raises(ValueError, match="of must return 2 entries"):
        Tracking(lambda x: x, {"a": 1.0, "b": 1.0}, beside=beside).terminal(x, pi)
