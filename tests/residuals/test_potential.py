"""Laws of the residual that is the slope of an energy: a gradient, symmetric, without work."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hybridmodel.laws import check_residual
from residuals import Potential

NZ = 3
POTENTIALS: dict[str, Callable[[], Potential]] = {
    "tanh": lambda: Potential((6, 5)),
    "softplus": lambda: Potential((6, 5, 4), activation="softplus", seed=3),
    "one layer": lambda: Potential((7,)),
}
each = pytest.mark.parametrize("name", POTENTIALS)


def rows(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def trained(name: str) -> Potential:
    residual = POTENTIALS[name]().sized(NZ, NZ)
    with torch.no_grad():
        for k, weight in enumerate(residual.parameters()):
            weight.copy_(rows(*weight.shape, seed=k))
    mean, scale, output = torch.tensor([[1.0, -2.0, 0.5], [2.0, 0.5, 3.0], [0.5, 4.0, 1.0]])
    residual.standardize(mean.double(), scale.double(), output.double())
    return residual


@each
def test_it_passes_the_public_check(name: str) -> None:
    report = check_residual(POTENTIALS[name](), nz=NZ, nr=NZ, points=4)
    assert not report.failures, str(report)


@each
@pytest.mark.parametrize("size", [1.0, 100.0])
def test_it_is_the_gradient_of_its_energy(name: str, size: float) -> None:
    residual, z = trained(name), (size * rows(20, NZ)).requires_grad_()
    (slope,) = torch.autograd.grad(residual.energy(z).sum(), z)
    assert (residual(z) - slope).abs().max() <= 1e-14 * slope.abs().max().clamp(min=1)


@each
def test_its_jacobian_is_symmetric(name: str) -> None:
    residual = trained(name)
    jacobians = torch.func.vmap(torch.func.jacrev(residual))(rows(20, NZ))
    assert jacobians.abs().max() > 0.01
    assert (jacobians - jacobians.mT).abs().max() < 1e-14 * jacobians.abs().max()


@each
def test_it_does_no_work_around_a_closed_path(name: str) -> None:
    """∮ r · dz by the trapezoidal rule, which is exact to rounding on smooth closed curves."""
    angle = torch.arange(400).double() * (2 * torch.pi / 400)
    path = torch.stack((angle.cos(), angle.sin(), 0.5 * (2 * angle).sin()), -1)
    tangent = torch.stack((-angle.sin(), angle.cos(), (2 * angle).cos()), -1)
    residual = trained(name)
    power = (residual(path) * tangent).sum(-1).detach()
    assert power.abs().max() > 0.1
    assert abs(float(power.mean())) < 1e-6 * float(power.abs().max())


@each
def test_its_scale_keeps_r_as_large_as_asked_for(name: str) -> None:
    residual, z = trained(name), rows(20, NZ)
    before = residual(z)
    residual.standardize(residual.input.mean, residual.input.scale, torch.ones(NZ).double() * 7)
    again = residual(z)
    residual.standardize(residual.input.mean, residual.input.scale, torch.ones(NZ).double() * 14)
    assert torch.allclose(residual(z), 2 * again, rtol=1e-13)
    assert not torch.allclose(before, again)


def test_it_learns_a_spring() -> None:
    """r = −C z with a symmetric C comes from an energy; one part of any other C does not."""
    residual, z = Potential((16,)).sized(2, 2), rows(200, 2)
    stiffness = torch.tensor([[1.0, 0.4], [0.4, 0.6]]).double()
    optimizer = torch.optim.Adam(residual.parameters(), 0.02)
    for _ in range(300):
        optimizer.zero_grad()
        loss = (residual(z) + z @ stiffness).square().mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.02 * float((z @ stiffness).square().mean())


def test_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match=r"activation must be one of \['tanh', 'softplus'\]"):
        Potential(activation="relu")
    for hidden in ((), (4, 0)):
        with pytest.raises(ValueError, match="hidden must hold one or more widths"):
            Potential(hidden)
    with pytest.raises(ValueError, match=r"nr must be nz, .* got nz = 3, nr = 2"):
        Potential().sized(3, 2)
    with pytest.raises(ValueError, match="maps 3 features to 3 outputs"):
        trained("tanh").sized(4, 4)
