"""Laws of two tanks: what flows in stays or flows out, and an empty tank stays smooth."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest

from hybridmodel.laws import check_system
from physics import TwoTanks, integrators


def flow(system: TwoTanks) -> ca.Function:
    h, u = ca.SX.sym("h", 2), ca.SX.sym("u")
    rate = system.dynamics(h, u, system.namespace(), ca.SX(0, 1))
    return ca.Function("f", [h, u], [rate, ca.jacobian(rate, ca.vertcat(h, u))])


def rates(system: TwoTanks, h: list[float], u: float) -> np.ndarray:
    return flow(system)(h, u)[0].full()[:, 0]


def test_it_obeys_the_laws_of_a_system() -> None:
    report = check_system(TwoTanks())
    assert report.holds, str(report)


def test_the_documented_equation_is_torricellis_above_the_smoothing() -> None:
    A, a, k = 15.5e-4, 0.178e-4, 3.3e-6
    for h1, h2, u in ((0.2, 0.1, 5.0), (0.05, 0.25, 0.0)):
        q1, q2 = a * np.sqrt(2 * 9.81 * h1), a * np.sqrt(2 * 9.81 * h2)
        wanted = [(k * u - q1) / A, (q1 - q2) / A]
        assert rates(TwoTanks(smoothing=1e-9), [h1, h2], u) == pytest.approx(wanted, rel=1e-12)
        smooth = [level / (level**2 + 1e-6) ** 0.25 for level in (h1, h2)]
        q1, q2 = (a * np.sqrt(2 * 9.81) * root for root in smooth)
        wanted = [(k * u - q1) / A, (q1 - q2) / A]
        assert rates(TwoTanks(), [h1, h2], u) == pytest.approx(wanted, rel=1e-12)


def test_the_smoothing_costs_its_stated_share() -> None:
    system = TwoTanks(pump_gain=1e-300)
    exact = TwoTanks(pump_gain=1e-300, smoothing=1e-12)
    for level in (0.02, 0.1, 0.3):
        share = 1 - rates(system, [level, 0.0], 0.0)[0] / rates(exact, [level, 0.0], 0.0)[0]
        assert share == pytest.approx((0.001 / level) ** 2 / 4, rel=0.01)


def test_water_is_kept() -> None:
    system = TwoTanks(upper_area=1e-3, lower_area=3e-3)
    for h1, h2, u in ((0.2, 0.1, 5.0), (0.0, 0.1, 3.0), (0.1, 0.0, 0.0)):
        f = rates(system, [h1, h2], u)
        leaving = -3e-3 * rates(system, [0.0, h2], 0.0)[1]
        assert 1e-3 * f[0] + 3e-3 * f[1] == pytest.approx(
            3.3e-6 * u - leaving, rel=1e-12, abs=1e-18
        )


def test_it_settles_where_the_jets_carry_what_the_pump_gives() -> None:
    system, u = TwoTanks(lower_outlet=0.15e-4), 6.0
    f, h = flow(system), ca.DM([0.3, 0.0])
    for _ in range(2000):
        h = integrators.rk4.advance(lambda h: f(h, u)[0], h, 0.5, ca.DM.zeros(2))
    given = 3.3e-6 * u
    wanted = [(given / a) ** 2 / (2 * 9.81) for a in (0.178e-4, 0.15e-4)]
    assert h.full()[:, 0] == pytest.approx(wanted, rel=1e-3)
    assert rates(system, h.full()[:, 0].tolist(), u) == pytest.approx([0.0, 0.0], abs=1e-9)
    slopes = f(h, u)[1].full()[:, :2]
    assert np.linalg.eigvals(slopes).real.max() < 0


def test_an_empty_tank_stays_empty_and_smooth() -> None:
    value, slopes = flow(TwoTanks())([0.0, 0.0], 0.0)
    assert np.array_equal(value.full(), np.zeros((2, 1)))
    assert np.isfinite(slopes.full()).all()
    f, h = flow(TwoTanks()), ca.DM([0.05, 0.02])
    for _ in range(400):
        h = integrators.rk4.advance(lambda h: f(h, 0.0)[0], h, 0.5, ca.DM.zeros(2))
        assert (h.full() >= 0).all()
    assert h.full().max() < 1e-4
