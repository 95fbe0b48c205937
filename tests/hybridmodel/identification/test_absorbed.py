"""A residual that stands for a parameter is found, and given back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hybridmodel import Dataset, HybridModel, Trajectory, placement
from hybridmodel.identification import absorbed, excite, fit_jointly, information, project
from physics import CartPole, Pendulum
from residuals import MLP, Ensemble

DT = 0.04


class Linear(nn.Module):
    """r = w · z, z = (sin θ, cos θ, rate, torque)."""

    def __init__(self, *w: float) -> None:
        super().__init__()
        self.map = nn.Linear(len(w), 1, bias=False, dtype=torch.float64)
        self.map.weight.data.copy_(torch.tensor([w]))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.map(z)


def model(*w: float, placed=placement.input, **values: Any) -> HybridModel:
    found = HybridModel(
        Pendulum(**values),
        Linear(*w),
        dt=DT,
        placement=placed,
        fit_parameters=("damping", "gravity"),
    )
    assert found.residual is not None
    found.residual.gate.data.fill_(1.0)  # type: ignore[union-attr]
    return found


def logs(plant: HybridModel, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    u = torch.tensor(np.repeat(rng.uniform(-2, 2, (3, 20, 1)), 5, axis=1))
    with torch.no_grad():
        x = plant.rollout(torch.tensor(rng.uniform(-1, 1, (3, 2))), u).numpy()
    t = DT * np.arange(101.0)
    return Dataset([Trajectory(t=t, u=a, y=b) for a, b in zip(u.numpy(), x, strict=True)])


def test_friction_in_the_residual_is_found() -> None:
    """A torque −0.05 θ̇ is damping of 0.05, to first order."""
    friction = model(0.0, 0.0, -0.05, 0.0, damping=0.1)
    (found, *others) = absorbed(friction, logs(friction))
    assert found.name == "damping"
    assert found.share > 0.98
    assert found.covered > 0.99
    # of a positive parameter the change is exponential: 0.1 (e^½ − 1) in place of 0.05
    np.testing.assert_allclose(found.change, 0.1 * (np.exp(0.5) - 1), rtol=0.02)
    assert all(other.share < 0.5 for other in others)
    assert "damping" in str(found)


def test_a_residual_that_no_parameter_could_do_is_left_alone() -> None:
    torque = model(0.0, 0.0, 0.0, 0.3)
    assert all(found.share < 0.3 for found in absorbed(torque, logs(torque), threshold=0.0))


def test_projection_moves_it_and_predicts_the_same() -> None:
    friction = model(0.0, 0.0, -0.01, 0.0, damping=0.1)
    data = logs(friction)
    moved = project(friction, data)
    assert moved.share > 0.99
    assert moved.left < 0.15
    np.testing.assert_allclose(moved.model.system.parameters["damping"], 0.11, rtol=0.01)
    assert not absorbed(moved.model, data) or moved.model.residual is not None
    assert friction.system.parameters["damping"] == 0.1


def test_untrained_has_absorbed_nothing() -> None:
    untrained = model(0.0, 0.0, 0.0, 0.0)
    assert absorbed(untrained, logs(untrained)) == []
    with pytest.raises(ValueError, match="no residual"):
        absorbed(HybridModel(Pendulum(), dt=DT, fit_parameters=("mass",)), logs(untrained))


@pytest.mark.slow
def test_joint_fit_parts_a_position_force_from_inertia() -> None:
    plant = HybridModel(
        Pendulum(damping=0.1),
        Linear(0.4, 0.1),
        dt=DT,
        placement=placement.input,
        features=("angle",),
    )
    plant.residual.gate.data.fill_(1.0)  # type: ignore[union-attr]
    wrong = HybridModel(
        Pendulum(damping=0.13, mass=0.8),
        nn.Linear(2, 1, dtype=torch.float64),
        dt=DT,
        placement=placement.input,
        fit_parameters=("mass", "damping"),
        features=("angle",),
    )
    wrong.residual.gate.data.fill_(1.0)  # type: ignore[union-attr]
    wrong.residual.module.weight.data.zero_()  # type: ignore[union-attr]
    wrong.residual.module.bias.data.zero_()  # type: ignore[union-attr]
    found = fit_jointly(wrong, logs(plant), horizons=(10, 40), residual_deviation=100.0)
    np.testing.assert_allclose(found.model.system.parameters["mass"], 1.0, rtol=1e-3)
    np.testing.assert_allclose(found.model.system.parameters["damping"], 0.1, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "names"),
    [
        (Pendulum(), ("length", "damping")),
        (CartPole(), ("cart_mass", "pole_length", "cart_damping")),
    ],
)
def test_a_designed_input_identifies_more(system, names) -> None:
    bare = HybridModel(system, dt=DT, fit_parameters=names, substeps=2)
    found = excite(bare, seconds=4.0, noise=0.01, amplitude=0.3, iterations=8, population=20)
    assert found.factor > 1.2
    assert found.exceeded == 0
    u = np.array([found.policy(DT * k, np.zeros(system.ny)) for k in range(100)])
    signal = system.inputs[0]
    assert np.abs(u).max() <= 0.3 * signal.high + 1e-9
    # what was predicted is what a log under this input tells
    with torch.no_grad():
        x = bare.rollout(torch.zeros(system.nx).double(), torch.tensor(u)).numpy()
    log = Dataset([Trajectory(t=DT * np.arange(101.0), u=u, y=x)])
    told = information(bare, log, horizon=25, noise=0.01)
    np.testing.assert_allclose(told.relative_errors, found.after.relative_errors, rtol=0.3)


def test_excite_refuses_what_it_cannot_do() -> None:
    bare = HybridModel(Pendulum(), dt=DT, fit_parameters=("length",))
    with pytest.raises(ValueError, match="criterion"):
        excite(bare, seconds=2.0, noise=0.01, criterion="B")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seconds"):
        excite(bare, seconds=0.2, noise=0.01)
    with pytest.raises(ValueError, match="limits"):
        excite(bare, seconds=2.0, noise=0.01, limits={"height": (0, 1)})
    with pytest.raises(ValueError, match="start"):
        excite(bare, seconds=2.0, noise=0.01, start=(float("nan"), 0.0))
    with pytest.raises(ValueError, match="noise must be one number"):
        excite(bare, seconds=2.0, noise=np.array([0.01, 0.01, 0.01]))
    with pytest.raises(ValueError, match="residual must be"):
        excite(bare, seconds=2.0, noise=0.01, residual="none")  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_design_leaves_out_what_the_residual_could_do() -> None:
    hybrid = HybridModel(
        Pendulum(), MLP((6,)), dt=DT, fit_parameters=("damping",), features=("rate",)
    )
    settings: dict[str, Any] = {
        "seconds": 4.0,
        "noise": 0.01,
        "amplitude": 0.3,
        "iterations": 2,
        "population": 10,
    }
    bare = excite(HybridModel(Pendulum(), dt=DT, fit_parameters=("damping",)), **settings)
    # an untrained residual is zero, and expected to stay so
    untrained = excite(hybrid, **settings)
    np.testing.assert_allclose(untrained.after.matrix, bare.after.matrix, rtol=1e-6)
    last = [m for m in hybrid.residual.modules() if isinstance(m, nn.Linear)][-1]  # type: ignore
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        last.weight.copy_(torch.randn(last.weight.shape, generator=generator).double())
    fixed, projected = excite(hybrid, residual="fixed", **settings), excite(hybrid, **settings)
    # a function of the rate does what damping does
    assert projected.before.relative_errors > 2 * fixed.before.relative_errors
    assert projected.factor > 0.9


def test_a_residual_of_too_many_weights_is_refused_unless_fixed() -> None:
    hybrid = HybridModel(Pendulum(), Ensemble((32, 32)), dt=DT, fit_parameters=("damping",))
    settings: dict[str, Any] = {"seconds": 2.0, "noise": 0.01, "iterations": 1, "population": 10}
    with pytest.raises(ValueError, match="residual='fixed'"):
        excite(hybrid, **settings)
    assert excite(hybrid, residual="fixed", **settings).factor > 0
