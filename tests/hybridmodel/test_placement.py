"""Where the residual enters: the documented equation of each placement, evaluated by hand."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from hybridmodel import HybridModel, placement
from physics import (
    CartPole,
    DoublePendulum,
    InputDelay,
    Linear,
    Pendulum,
    Quadrotor,
    integrators,
)
from residuals import MLP

DT = 0.01


class Constant(nn.Module):
    """r, whatever the features; without a gate once `open_gate` is called."""

    def __init__(self, r: list[float]) -> None:
        super().__init__()
        self.r = nn.Parameter(torch.tensor(r))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.r.expand(*z.shape[:-1], len(self.r))


def shifted(where: placement.Placement, r: list[float], **keywords) -> HybridModel:
    """A pendulum corrected by exactly r, one Euler step a dt."""
    keywords = {"dt": DT, "integrator": integrators.euler} | keywords
    model = HybridModel(Pendulum(), Constant(r), placement=where, **keywords)
    model.residual.gate.data.fill_(1.0)
    return model


X, U = torch.tensor([0.3, -0.5]).double(), torch.tensor([0.2]).double()
PHYSICS = HybridModel(Pendulum(), dt=DT, integrator=integrators.euler)


def gap(model: HybridModel, u: torch.Tensor = U) -> list[float]:
    return (model(X, u) - PHYSICS(X, U)).tolist()


def test_acceleration_adds_to_the_velocity_rows() -> None:
    assert gap(shifted(placement.acceleration, [2.0])) == pytest.approx([0, 2 * DT])


def test_derivative_adds_to_any_rows() -> None:
    assert gap(shifted(placement.derivative, [3.0, 2.0])) == pytest.approx([3 * DT, 2 * DT])
    assert gap(shifted(placement.derivative.on("angle"), [3.0])) == pytest.approx([3 * DT, 0])
    turned = placement.derivative.on("rate", "angle")
    assert gap(shifted(turned, [3.0, 2.0])) == pytest.approx([2 * DT, 3 * DT])


def test_input_adds_to_the_input() -> None:
    corrected = shifted(placement.input, [0.7])
    assert torch.allclose(corrected(X, U), PHYSICS(X, U + 0.7), rtol=1e-14)


def test_next_state_adds_to_the_next_state() -> None:
    assert gap(shifted(placement.next_state, [3.0, 2.0])) == pytest.approx([3, 2])
    assert gap(shifted(placement.next_state.on("rate"), [2.0])) == pytest.approx([0, 2])


def test_the_next_state_is_corrected_once_however_many_substeps() -> None:
    corrected = shifted(placement.next_state, [3.0, 2.0], substeps=4)
    physics = HybridModel(Pendulum(), dt=DT, substeps=4, integrator=integrators.euler)
    assert (corrected(X, U) - physics(X, U)).tolist() == pytest.approx([3, 2])


class Counting(nn.Module):
    """How often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return z[..., :1]


@pytest.mark.parametrize(("hold", "calls"), [(False, 8), (True, 1)])
def test_hold_evaluates_the_network_once_a_step(hold: bool, calls: int) -> None:
    model = HybridModel(Pendulum(), Counting(), dt=DT, substeps=2, hold=hold)
    model.residual.module.calls = 0
    model(X, U)
    assert model.residual.module.calls == calls


def test_what_turns_a_held_output_into_a_force_runs_in_every_stage() -> None:
    # through the input, a constant r is a constant torque: both ways are the same
    held, fresh = (
        shifted(placement.input, [0.7], hold=hold, integrator=integrators.rk4)
        for hold in (True, False)
    )
    assert torch.equal(held(X, U), fresh(X, U))


def test_the_network_sees_the_acting_input_of_a_delayed_system() -> None:
    model = HybridModel(InputDelay(system=CartPole(), steps=2), dt=DT)
    x = model.initial_state(torch.zeros(4).double(), torch.tensor([[5.0], [6.0]]).double())
    z = model.residual_features(x, torch.tensor([7.0]).double())
    assert z.tolist() == [0, 0, 1, 0, 0, 5]


def test_errors_name_the_rows() -> None:
    with pytest.raises(ValueError, match=r"'derivative' has no row 'colour'; rows are \['angle', "):
        shifted(placement.derivative.on("colour"), [1.0])
    with pytest.raises(ValueError, match="'derivative' names a row twice"):
        shifted(placement.derivative.on("rate", "rate"), [1.0, 1.0])
    with pytest.raises(ValueError, match="'derivative' finds nothing to correct in Pendulum"):
        shifted(placement.derivative.on(), [])
    with pytest.raises(ValueError, match="'acceleration' finds nothing to correct in Linear"):
        HybridModel(Linear(), Constant([1.0]), dt=DT)


def corrected(system, where, residual=None, **keywords) -> HybridModel:
    """A model with random weights."""
    model = HybridModel(system, residual or MLP((8,), seed=1), dt=DT, placement=where, **keywords)
    generator = torch.Generator().manual_seed(3)
    for weight in model.residual.parameters():
        weight.data.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return model


def derivative_at(model: HybridModel, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    function = model.ode_function()
    return torch.tensor(function(x.numpy(), u.numpy(), [], []).full()[:, 0])


def test_a_force_goes_through_the_mass_matrix() -> None:
    system = CartPole()
    model = corrected(system, placement.force)
    x, u = torch.tensor([0.1, 2.0, -0.4, 1.3]).double(), torch.tensor([0.7]).double()
    r = model.residual(model.residual_features(x, u)).detach()
    M = torch.tensor(system.mass_matrix_function()(x[:2].numpy()).full())
    change = derivative_at(model, x, u) - derivative_at(HybridModel(system, dt=DT), x, u)
    assert torch.allclose(M @ change[2:], r, rtol=1e-12)
    assert torch.equal(change[:2], torch.zeros(2).double())


@pytest.mark.parametrize("system", [CartPole(), DoublePendulum(), Quadrotor()])
@pytest.mark.parametrize("where", [placement.dissipation, placement.gyroscopic])
def test_the_power_of_a_dissipation_is_negative_and_of_a_gyroscope_zero(system, where) -> None:
    model, physics = corrected(system, where), HybridModel(system, dt=DT)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        x = torch.randn(system.nx, generator=generator).double()
        for row in system.quaternion_rows:
            x[row : row + 4] /= x[row : row + 4].norm()
        u = torch.randn(system.nu, generator=generator).double()
        v = x[system.nq :]
        M = torch.tensor(system.mass_matrix_function()(x[: system.nq].numpy()).full())
        force = M @ (derivative_at(model, x, u) - derivative_at(physics, x, u))[system.nq :]
        power = float(v @ force)
        if where is placement.dissipation:
            assert power < 0
        else:
            assert abs(power) < 1e-9 * float(force.abs().max() * v.abs().max())
            assert force.abs().max() > 1e-3


def test_a_dissipation_trains_from_zero() -> None:
    model = HybridModel(CartPole(), MLP((8,)), dt=DT, placement=placement.dissipation)
    x, u = torch.tensor([0.1, 2.0, -0.4, 1.3]).double(), torch.tensor([0.7]).double()
    assert torch.equal(model(x, u), HybridModel(CartPole(), dt=DT)(x, u))
    model(x, u).sum().backward()
    assert any(w.grad is not None and w.grad.abs().max() > 0 for w in model.residual.parameters())


def test_parameters_move_in_their_own_domain() -> None:
    model = shifted(placement.parameters.on("mass"), [0.3])
    heavier = HybridModel(
        Pendulum(mass=Pendulum().mass * float(torch.tensor(0.3).exp())),
        dt=DT,
        integrator=integrators.euler,
    )
    assert torch.allclose(model(X, U), heavier(X, U), rtol=1e-7)
    rest = shifted(placement.parameters.on("mass"), [0.0])
    assert torch.equal(rest(X, U), PHYSICS(X, U))


def test_an_output_is_corrected_and_the_state_is_not() -> None:
    model = shifted(placement.output.on("angle"), [0.2])
    assert torch.equal(model(X, U), PHYSICS(X, U))
    assert (model.output(X, U) - X).tolist() == pytest.approx([0.2, 0.0])
    y = model.output_function()(X.numpy(), U.numpy(), [], []).full()[:, 0]
    assert y.tolist() == pytest.approx(model.output(X, U).tolist(), rel=1e-12)


def test_every_placement_crosses_to_another_process() -> None:
    for where in placement.ALL:
        assert pickle.loads(pickle.dumps(where)) == where


def test_forces_need_a_mechanical_system() -> None:
    with pytest.raises(ValueError, match="'force' finds nothing to correct in Linear"):
        HybridModel(Linear(), Constant([1.0]), dt=DT, placement=placement.force)
    with pytest.raises(ValueError, match="'gyroscopic' has no freedom in Pendulum"):
        HybridModel(Pendulum(), MLP((8,)), dt=DT, placement=placement.gyroscopic)
    with pytest.raises(ValueError, match="'potential' takes"):
        HybridModel(Pendulum(), MLP((8,)), dt=DT, placement=placement.potential, features=("rate",))
