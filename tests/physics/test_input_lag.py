"""A lag hands on what stands still, follows steps by its time constant, and changes no physics."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest

from hybridmodel.laws import check_system
from physics import (
    CartPole,
    InputDelay,
    InputLag,
    Linear,
    Quadrotor,
    Signal,
    System,
    TwoTanks,
    from_casadi,
    integrators,
)


def flow(system: System) -> ca.Function:
    sizes = (len(system.states), system.nu)
    x, u = (ca.SX.sym(s, n) for s, n in zip("xu", sizes, strict=True))
    p, d = system.namespace(), ca.SX(0, 1)
    return ca.Function("f", [x, u], [system.dynamics(x, u, p, d), system.output(x, u, p, d)])


def fan() -> System:
    """A fan whose drag is a table of its speed: MX without scalar form."""
    x, u = ca.MX.sym("x", 1), ca.MX.sym("u")
    knots = np.linspace(-8.0, 8.0, 17)
    drag = ca.interpolant("drag", "bspline", [knots.tolist()], np.arctan(knots).tolist())
    law = ca.Function("fan", [x, u], [u - drag(x)])
    return from_casadi(law, states=(Signal("speed", "rad/s"),), inputs=(Signal("push", "N·m"),))


LAGGED = {
    "cartpole": InputLag(system=CartPole()),
    "quadrotor": InputLag(system=Quadrotor(drag_x=0.1, drag_y=0.2, drag_z=0.3)),
    "table": InputLag(system=fan()),
    "delayed": InputDelay(system=InputLag(system=TwoTanks(), time_constant=0.4), steps=2),
}


@pytest.mark.parametrize("name", LAGGED)
def test_it_obeys_the_laws_of_a_system(name: str) -> None:
    report = check_system(LAGGED[name])
    assert report.holds, str(report)


def test_the_system_sees_the_lagged_input_and_nothing_else_changes() -> None:
    for system in (CartPole(), Quadrotor(), TwoTanks()):
        lagged = InputLag(system=system, time_constant=0.2)
        rng = np.random.default_rng(system.nx)
        x, a, u = (rng.uniform(0.1, 1, n) for n in (system.nx, system.nu, system.nu))
        f, y = (part.full()[:, 0] for part in flow(lagged)([*x, *a], u))
        inner, reading = (part.full()[:, 0] for part in flow(system)(x, a))
        assert np.array_equal(f[: system.nx], inner)
        assert np.array_equal(y, reading)
        assert f[system.nx :] == pytest.approx((u - a) / 0.2, rel=1e-14)


def test_an_equilibrium_stays_one() -> None:
    drone = Quadrotor()
    x = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, *drone.hover]
    f = flow(InputLag(system=drone))(x, drone.hover)[0].full()[:, 0]
    assert f == pytest.approx(np.zeros(17), abs=1e-12)


def test_a_step_is_followed_by_its_time_constant() -> None:
    f, T, h = flow(InputLag(system=CartPole(), time_constant=0.1)), 0.1, 0.002
    x = ca.DM([0, 0, 0, 0, 1.0])
    for k in range(1, 101):
        x = integrators.rk4.advance(lambda x: f(x, 3.0)[0], x, h, ca.DM.zeros(5))
        assert float(x[4]) == pytest.approx(3 - 2 * np.exp(-k * h / T), rel=1e-8)


def test_a_fast_lag_is_none() -> None:
    """Against a sine, the lagged path differs from the plain one by O(T)."""

    def end(system: System, x: list[float]) -> np.ndarray:
        f, state, h = flow(system), ca.DM(x), 2e-3
        for k in range(500):
            u = np.sin(5 * k * h)
            state = integrators.rk4.advance(
                lambda x, u=u: f(x, u)[0], state, h, ca.DM.zeros(len(x))
            )
        return state.full()[:4, 0]

    plain = end(CartPole(), [0, 0.5, 0, 0])
    gaps = [
        np.abs(end(InputLag(system=CartPole(), time_constant=T), [0, 0.5, 0, 0, 0]) - plain).max()
        for T in (0.02, 0.01)
    ]
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.1)


def test_signals_and_parameters_are_those_of_the_system_and_its_own() -> None:
    lagged = InputLag(system=Quadrotor(), time_constant=0.03)
    assert lagged.states[13] == Signal("thrust1_lagged", "N")
    assert lagged.inputs == Quadrotor().inputs
    assert lagged.outputs == Quadrotor().states
    assert lagged.quaternion_rows == (3,)
    assert lagged.neutral == (*Quadrotor().neutral, 0.0, 0.0, 0.0, 0.0)
    assert lagged.parameters == Quadrotor().parameters | {"time_constant": 0.03}
    assert lagged.with_parameters(mass=0.6).system == Quadrotor(mass=0.6)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"system must be a physics\.System, got int"):
        InputLag(system=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="InputDelay has memory; put the lag inside"):
        InputLag(system=InputDelay(system=CartPole(), steps=1))
    with pytest.raises(ValueError, match="InputLag has a parameter 'time_constant' already"):
        InputLag(system=InputLag(system=CartPole()))
    x = ca.SX.sym("x")
    counter = from_casadi(ca.Function("f", [x], [x + 1], ["x"], ["next"]), dt=0.1)
    with pytest.raises(ValueError, match=r"FromCasadi is discrete \(dt = 0.1\), a lag needs ẋ"):
        InputLag(system=counter)
    with pytest.raises(ValueError, match="time_constant=…"):
        InputLag(system=Linear(), time_constant=0.0)
    with pytest.raises(ValueError, match="has no inputs"):
        InputLag(system=from_casadi(ca.Function("f", [x], [-x], ["x"], ["rate"])))
