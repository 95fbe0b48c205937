"""The demo on logs of a simulated pendulum, written as the hardware's are."""

import importlib.util
import sys
from pathlib import Path

import casadi as ca
import numpy as np
import pytest
import torch

import hybridmodel as hm

SOURCE = Path(__file__).parents[2] / "demos" / "real_double_pendulum.py"
HEADER = "time,pos_meas1,pos_meas2,vel_meas1,vel_meas2,tau_con1,tau_con2,tau_meas1,tau_meas2"
ZERO = (0.04, -0.03)  # rad, of the simulated encoders in every log


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("real_double_pendulum", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def folder(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    names = (*demo.TRAIN, *demo.STOP, demo.SCORE)
    t = np.arange(1250) * demo.RAW
    rng = np.random.default_rng(0)
    rate = rng.uniform(4, 9, (len(names), 1, 2))
    torque = 0.9 * np.sin(rate * t[:, None] + rng.uniform(0, 6, (len(names), 1, 2)))
    truth = hm.HybridModel(demo.Miszeroed(pendulum=demo.GearedDoublePendulum()), dt=demo.RAW)
    u = torch.tensor(torque)
    with torch.no_grad():
        x0 = u.new_tensor([0.0, 0.0, 0.0, 0.0, *ZERO]).expand(len(names), 6)
        x = truth.rollout(x0, u[:, :-1])[..., :4]
    for name, states, inputs in zip(names, x.numpy(), torque, strict=True):
        table = np.hstack([t[:, None], states, inputs, inputs])
        path = folder / f"designC1_{name}.csv"
        np.savetxt(path, table, delimiter=",", header=HEADER, comments="", fmt="%.9g")
    return folder


def test_equation_is_that_of_the_source(demo):
    s = demo.PUBLISHED["published model_2.0"]
    p = {name: float(value) for name, value in s.parameters.items()}
    l1, m2, r2, Ir, gr, g = (
        p[k] for k in ("length1", "mass2", "center2", "rotor_inertia", "gear_ratio", "gravity")
    )
    q, v, u = np.array([0.7, -1.3]), np.array([2.0, -3.0]), np.array([0.4, -0.2])
    I1, I2, c = p["inertia1"], p["inertia2"], m2 * l1 * r2
    M12 = I2 + c * np.cos(q[1]) - gr * Ir
    M11 = I1 + I2 + m2 * l1**2 + 2 * c * np.cos(q[1]) + gr**2 * Ir + Ir
    M = np.array([[M11, M12], [M12, I2 + gr**2 * Ir]])
    C = c * np.sin(q[1]) * np.array([[-2 * v[1], -v[1]], [v[0], 0]])
    G2 = -m2 * g * r2 * np.sin(q.sum())
    G = np.array([-(p["mass1"] * p["center1"] + m2 * l1) * g * np.sin(q[0]) + G2, G2])
    F = np.array([p["damping1"], p["damping2"]]) * v
    F += np.array([p["friction1"], p["friction2"]]) * np.arctan(100 * v)
    wanted = np.linalg.solve(M, u + G - C @ v - F)
    xdot = ca.evalf(s.dynamics(ca.SX([*q, *v]), ca.SX(u), s.namespace(), ca.SX(0, 1)))
    np.testing.assert_allclose(xdot.full()[:, 0], [*v, *wanted], rtol=1e-12)


def test_zeros_are_found_from_the_past_alone(demo, folder):
    log = demo.read(folder / f"designC1_{demo.SCORE}.csv")
    system = demo.GearedDoublePendulum()
    found = demo.with_zeros(system, log)
    np.testing.assert_allclose(found.x[-1, 4:], ZERO, atol=0.01)

    cut = 160
    y = log.y.copy()
    y[cut + 1 :] += 1.0
    other = demo.with_zeros(system, hm.Trajectory(t=log.t, u=log.u, y=y))
    np.testing.assert_array_equal(other.x[: cut + 1, 4:], found.x[: cut + 1, 4:])
    assert (other.x[cut + 1, 4:] != found.x[cut + 1, 4:]).any()
    assert (found.x[: demo.H, 4:] == 0).all()


def test_zeros_lower_the_error_of_the_true_parameters(demo, folder):
    log = demo.read(folder / f"designC1_{demo.SCORE}.csv")
    system = demo.GearedDoublePendulum()
    aware = demo.with_zeros(system, log)[demo.H :]
    without = demo.errors(demo.model(system), log[demo.H :], 0.05)
    zeroed = demo.errors(demo.model(demo.Miszeroed(pendulum=system)), aware, 0.05)
    assert (zeroed < without).all()


def test_every_figure_is_finite(demo, folder):
    table = demo.rows(folder, quick=True)
    assert np.isfinite([row["value"] for row in table]).all()
    assert sum(row["holds"] is not None for row in table) == 4
