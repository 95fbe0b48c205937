"""What a model knows that it does not know: small on data, large outside, before the fade."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hybridmodel import HybridModel
from hybridmodel.uncertainty import disagreement, rollout_disagreement, support
from physics import Pendulum
from residuals import MLP, Ensemble, Supported

U = torch.zeros(1, dtype=torch.float64)


@pytest.fixture(scope="module")
def model() -> HybridModel:
    """Members that are apart, with data in a ball of the states."""
    model = HybridModel(Pendulum(), Supported(Ensemble((8,), count=4)), dt=0.05)
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(400, 2, generator=generator, dtype=torch.float64) - 1
    u = torch.zeros(400, 1, dtype=torch.float64)
    with torch.no_grad():
        z = model.residual_features(x, u)
        deviation = z.std(0)
        model.residual.standardize(
            z.mean(0), torch.where(deviation > 0, deviation, 1.0), torch.tensor([2.0]).double()
        )
        model.residual.cover(z)
        members = model.residual.residual.mean.weight
        members.copy_(0.05 * torch.randn(members.shape, generator=generator, dtype=members.dtype))
    model.noise.fill_(1e-4)
    return model


def at(rate: float) -> torch.Tensor:
    return torch.tensor([0.2, rate], dtype=torch.float64)


def test_it_rises_where_the_correction_has_faded(model) -> None:
    inside, outside = disagreement(model, at(0.3), U), disagreement(model, at(20.0), U)
    assert support(model, at(0.3), U) == 1
    assert support(model, at(20.0), U) == 0
    assert outside >= 1 > inside > 0
    z = model.residual_features(at(20.0), U)
    assert not model.residual(z).any()  # faded to the physics, and still in doubt
    s = model.residual.output_scale
    wanted = (model.residual.epistemic(z) / s**2).mean().sqrt()
    assert torch.allclose(outside, wanted)


def test_it_has_no_unit(model) -> None:
    """Scaling what the residual corrects scales its doubt."""
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    before = disagreement(model, x, U)
    scales = (model.residual.output_scale, model.residual.residual.output.scale)
    for scale in scales:
        scale.mul_(10)
    after = disagreement(model, x, U)
    for scale in scales:
        scale.div_(10)
    assert before.shape == (5,)
    assert torch.allclose(before, after)


def test_members_part_along_a_rollout(model) -> None:
    u = torch.zeros(3, 10, 1, dtype=torch.float64)
    x0 = at(0.3).expand(3, 2)
    found = rollout_disagreement(model, x0, u).detach()
    assert found.shape == (3, 11)
    assert not found[:, 0].any()
    assert (found[:, 1:] > 0).all()
    apart = model.rollout(x0, u, member="each").detach().numpy()
    wanted = np.sqrt(np.mean(apart.var(axis=0, ddof=1) / 1e-4, axis=-1))
    assert np.allclose(found, wanted)


def test_without_support_the_data_are_everywhere() -> None:
    model = HybridModel(Pendulum(), Ensemble((4,), count=2), dt=0.05)
    assert support(model, at(99.0), U) == 1
    assert disagreement(model, at(99.0), U) == 0  # untrained members agree


def test_a_residual_that_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="Probabilistic"):
        disagreement(HybridModel(Pendulum(), MLP((4,)), dt=0.05), at(0.0), U)
    with pytest.raises(ValueError, match="members"):
        rollout_disagreement(HybridModel(Pendulum(), MLP((4,)), dt=0.05), at(0.0), U[None])
