"""A system with an attitude through the whole chain: model, errors, fit, plant, plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hybridmodel import (
    Dataset,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
    RandomSteps,
    Trajectory,
    collect,
    envs,
    evaluate,
    identify,
    placement,
)
from physics import Quadrotor, Trivial, integrators
from residuals import MLP

QUADROTOR = Quadrotor()
HOVER = np.array(QUADROTOR.hover)
ROW = QUADROTOR.quaternion_rows[0]
ATTITUDE = slice(ROW, ROW + 4)


def random_state(seed: int, *batch: int) -> torch.Tensor:
    x = torch.randn(*batch, 13, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[..., ATTITUDE] /= x[..., ATTITUDE].norm(dim=-1, keepdim=True)
    return x


def tumbling(seed: int, steps: int = 40, **effects: object) -> Trajectory:
    """A log of a quadrotor that spins."""
    plant = envs.OdePlant(QUADROTOR, dt=0.02, hidden=envs.HiddenEffects(**effects))
    rng = np.random.default_rng(seed)
    start = np.array(QUADROTOR.neutral)
    start[10:] = rng.uniform(-3, 3, 3)
    wave = RandomSteps(
        [replace(s, low=0.9 * HOVER[0], high=1.1 * HOVER[0]) for s in QUADROTOR.inputs]
    )
    return collect(plant, wave, steps=steps, seed=seed, state=start)


@pytest.mark.parametrize("integrator", integrators.ALL, ids=lambda i: i.name)
@pytest.mark.parametrize("where", placement.ALL, ids=lambda p: p.name)
def test_a_rollout_stays_on_the_sphere(where, integrator) -> None:
    model = HybridModel(QUADROTOR, MLP((4,)), dt=0.02, placement=where, integrator=integrator)
    # a torque of 1 N·m turns this body at 400 rad/s²: what acts as a force must be small
    small = where.flow not in (placement.acceleration.flow, placement.input.flow)
    with torch.no_grad():
        for weight in model.residual.parameters():
            size = 0.01 if small else 0.3
            weight.normal_(0, size, generator=torch.Generator().manual_seed(0))
    u = torch.rand(5, 50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    length = model.rollout(random_state(2, 5), u)[..., ATTITUDE].norm(dim=-1)
    torch.testing.assert_close(length, torch.ones_like(length), rtol=0, atol=1e-14)


def test_a_network_sees_rotations_and_not_quaternions() -> None:
    model = HybridModel(QUADROTOR, MLP((4,)), dt=0.02)
    x, u = random_state(3, 6), torch.rand(6, 4, dtype=torch.float64)
    mirrored = x.clone()
    mirrored[..., ATTITUDE] *= -1
    assert model.residual_features(x, u).shape == (6, 3 + 9 + 3 + 3 + 4)
    torch.testing.assert_close(
        model.residual_features(x, u), model.residual_features(mirrored, u), rtol=0, atol=0
    )


def test_a_learned_next_state_turns_in_the_tangent_space() -> None:
    """q⁺ = q ⊗ exp r: three numbers, whose length is the angle turned."""
    rows = ("attitude_x", "attitude_y", "attitude_z")
    model = HybridModel(
        Trivial.like(QUADROTOR),
        torch.nn.Linear(22, 3),
        dt=0.02,
        placement=placement.next_state.on(*rows),
    )
    with torch.no_grad():
        model.residual.gate.fill_(1.0)
    x, u = random_state(4, 7), torch.rand(7, 4, dtype=torch.float64)
    r = model.residual(model.residual_features(x, u))
    without = HybridModel(Trivial.like(QUADROTOR), dt=0.02)(x, u)
    turned = model.state_difference(model(x, u), without)
    torch.testing.assert_close(turned[:, 3:6], r, rtol=1e-12, atol=1e-12)


def test_errors_are_geodesic_and_blind_to_the_sign() -> None:
    log = tumbling(0)
    assert log.x is not None
    sides = np.where(np.random.default_rng(1).random(len(log.x)) < 0.5, -1.0, 1.0)[:, None]
    x, y = log.x.copy(), log.y.copy()
    x[:, ATTITUDE] *= sides
    y[:, ATTITUDE] *= sides
    model = HybridModel(Quadrotor(mass=0.6, inertia_x=0.003), dt=0.02)
    one, other = (evaluate(model, Dataset([t]), horizon=10) for t in (log, replace(log, x=x, y=y)))
    assert one.names[3:6] == ("attitude_x", "attitude_y", "attitude_z")
    np.testing.assert_allclose(one.rmse, other.rmse, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.scale, other.scale, rtol=1e-9)


def test_parameters_are_found_from_tumbling_logs() -> None:
    logs = Dataset([tumbling(k, parameters={"inertia_x": 0.003, "mass": 0.55}) for k in range(4)])
    model = HybridModel(QUADROTOR, dt=0.02, fit_parameters=("inertia_x", "mass"))
    found = identify(model, logs, logs, horizon=10, starts=1)
    values = found.model.system.parameters
    assert float(values["inertia_x"]) == pytest.approx(0.003, rel=1e-3)
    assert float(values["mass"]) == pytest.approx(0.55, rel=1e-3)


def test_a_plant_keeps_its_attitude_a_rotation() -> None:
    log = tumbling(5, observation_noise=0.05)
    lengths = np.linalg.norm(log.y[:, ATTITUDE], axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-12)
    assert log.x is not None
    assert (np.sum(log.x[1:, ATTITUDE] * log.x[:-1, ATTITUDE], axis=1) > 0).all()
    angles = 2 * np.arccos(np.clip(np.abs((log.x * log.y)[:, ATTITUDE].sum(1)), 0, 1))
    assert 0.03 < np.sqrt(np.mean(angles**2)) < 0.15  # three components of 0.05 rad
    plant = envs.OdePlant(QUADROTOR, dt=0.02)
    with pytest.raises(ValueError, match="quaternion 'attitude'"):
        plant.reset(options={"state": np.zeros(13)})


def test_a_plan_rights_a_tilted_quadrotor() -> None:
    model = HybridModel(QUADROTOR, dt=0.05)
    cost = Quadratic(
        QUADROTOR,
        state={"x": 1.0, "y": 1.0, "z": 1.0, "attitude": 1.0, "velocity_x": 0.1, "rate_x": 0.01},
        input=dict.fromkeys((s.name for s in QUADROTOR.inputs), 0.01),
        target={s.name: float(HOVER[0]) for s in QUADROTOR.inputs},
    )
    problem = OptimalControlProblem(model, cost, horizon=30)
    start = np.array(QUADROTOR.neutral)
    start[ATTITUDE] = np.cos(1.0), 0.0, np.sin(1.0), 0.0  # 115°, so that thrust points down
    plan = MultipleShooting(problem, iterations=100, samples=0).plan(start)
    assert plan.usable
    end = 2 * np.arccos(min(1.0, abs(plan.x[-1, ROW])))
    assert end < 0.2
