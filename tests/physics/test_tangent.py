"""Rotations among the states: ⊞ and ⊟ undo each other, and f, features and costs see rotations."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest

from physics import Signal, Trivial, quaternion, tangent

ATTITUDE = tuple(Signal(f"q{axis}", quaternion="attitude") for axis in "wxyz")
RATES = tuple(Signal(f"w{axis}", "rad/s", rate_of="attitude") for axis in "xyz")
STATES = (Signal("p", "m"), *ATTITUDE, Signal("v", "m/s", rate_of="p"), *RATES)
N = len(STATES)
X, Y, XI = ca.SX.sym("x", N), ca.SX.sym("y", N), ca.SX.sym("xi", N - 1)
RETRACT = ca.Function("retract", [X, XI], [tangent.retract(STATES, X, XI)])
DIFFERENCE = ca.Function("difference", [X, Y], [tangent.difference(STATES, X, Y)])


def states(count: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((count, N))
    x[:, 1:5] /= np.linalg.norm(x[:, 1:5], axis=1, keepdims=True)
    return x


@pytest.mark.parametrize("size", [1e-9, 1e-4, 9e-4, 1.1e-3, 0.1, 1.0, 3.0])
def test_difference_undoes_retract(size: float) -> None:
    for x, step in zip(
        states(20), np.random.default_rng(1).standard_normal((20, N - 1)), strict=True
    ):
        step *= size / np.linalg.norm(step[1:4])
        moved = np.asarray(RETRACT(x, step))[:, 0]
        assert np.linalg.norm(moved[1:5]) == pytest.approx(1, abs=1e-15)
        back = np.asarray(DIFFERENCE(moved, x))[:, 0]
        np.testing.assert_allclose(back, step, rtol=1e-10, atol=1e-15)
        mirrored = moved * np.where(np.isin(np.arange(N), range(1, 5)), -1, 1)
        np.testing.assert_allclose(DIFFERENCE(mirrored, x), back[:, None], rtol=1e-9, atol=1e-15)


def test_the_length_of_a_difference_is_the_geodesic_angle() -> None:
    R = ca.Function("R", [X], [quaternion.rotation_matrix(X[1:5])])
    for a, b in zip(states(50, 2), states(50, 3), strict=True):
        turn = np.asarray(R(b)).T @ np.asarray(R(a))
        angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
        found = np.linalg.norm(np.asarray(DIFFERENCE(a, b))[1:4])
        assert found == pytest.approx(angle, abs=1e-7)


@pytest.mark.parametrize("size", [0.0, 1e-6, 5e-4, 2e-3, 1.0])
def test_slopes_are_those_of_differences(size: float) -> None:
    """Series and closed forms meet without a step, and 0 has slopes."""
    value = DIFFERENCE(RETRACT(X, XI), X)
    slopes = ca.Function("slopes", [X, XI], [ca.jacobian(value, XI)])
    curves = ca.Function("curves", [X, XI], [ca.jacobian(ca.vec(ca.jacobian(value, XI)), XI)])
    direction = np.random.default_rng(4).standard_normal(N - 1)
    step = size * direction / np.linalg.norm(direction[1:4])
    for x in states(5, 5):
        np.testing.assert_allclose(slopes(x, step), np.eye(N - 1), atol=1e-9)
        np.testing.assert_allclose(curves(x, step), 0, atol=1e-6)


def test_rates_follow_the_retraction() -> None:
    """q̇ = v is the derivative of q ⊞ h v."""
    coordinates, h = STATES[:5], 1e-6
    q, v = ca.SX.sym("q", 5), ca.SX.sym("v", 4)
    rate = ca.Function("rate", [q, v], [tangent.rates(coordinates, q, v)])
    ahead = ca.Function("ahead", [q, v], [tangent.retract(coordinates, q, h * v)])
    for x in states(10, 6):
        slope = (np.asarray(ahead(x[:5], x[5:])) - np.asarray(ahead(x[:5], -x[5:]))) / (2 * h)
        np.testing.assert_allclose(rate(x[:5], x[5:]), slope, atol=1e-8)


def test_the_neutral_state_has_no_rotation() -> None:
    system = Trivial(states=STATES, inputs=())
    assert system.neutral == (0, 1, 0, 0, 0, 0, 0, 0, 0)
    assert system.quaternion_rows == (1,)
    assert [s.name for s in tangent.signals(STATES)][1:4] == [
        "attitude_x",
        "attitude_y",
        "attitude_z",
    ]


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (STATES[:4], "four signals in a row"),
        ((*STATES[:3], Signal("between"), *STATES[3:]), "four signals in a row"),
        ((*STATES, Signal("attitude")), "has the name of a signal"),
        (STATES[:-1], "three body rates"),
        (
            (*[Signal(f"a{i}", angle=True, quaternion="a") for i in range(4)],),
            "no angles",
        ),
    ],
)
def test_broken_rotations_are_refused(broken: tuple[Signal, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Trivial(states=broken, inputs=())
