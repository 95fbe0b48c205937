"""Laws of the Gaussian process: what it meets, where it ends, how sure it is, how it was fitted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from hybridmodel.bridges.torch_to_casadi import to_casadi
from hybridmodel.laws import check_residual
from residuals import Epistemic, GaussianProcess
from residuals.marginal_likelihood import (
    KERNELS,
    Hyperparameters,
    fitted,
    log_marginal_likelihood,
    matern52,
)

NZ, NR = 3, 2
PROCESSES: dict[str, Callable[[], GaussianProcess]] = {
    "smooth": GaussianProcess,
    "rough": lambda: GaussianProcess("matern52", noise=[0.05, 0.2]),
}
each = pytest.mark.parametrize("name", PROCESSES)
kernels = pytest.mark.parametrize("kernel", KERNELS)


def rows(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def truth(z: Tensor) -> Tensor:
    return torch.stack(((2 * z[:, 0]).sin() + z[:, 1], 3 * (z[:, 1] * z[:, 0]).tanh()), -1)


def data(n: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    z = rows(n, NZ)
    return z, truth(z) + noise * rows(n, NR, seed=2)


def solved(name: str, n: int = 60) -> GaussianProcess:
    process = PROCESSES[name]().sized(NZ, NR)
    mean, scale = torch.tensor([[0.3, -0.2, 0.5], [1.5, 0.8, 1.2]]).double()
    process.standardize(mean, scale, torch.tensor([0.5, 2.0]).double())
    process.solve(*data(n))
    return process


@each
def test_it_passes_the_public_check(name: str) -> None:
    report = check_residual(PROCESSES[name](), nz=NZ, nr=NR, points=4)
    assert not report.failures, str(report)


@each
def test_it_is_the_posterior_of_the_joint_normal(name: str) -> None:
    """Conditioned by a plain solve, from the kernel written once more."""
    process, (z, r), new = solved(name), data(60), rows(9, NZ, seed=3)
    x, x_new = ((p - process.input.mean) / process.input.scale for p in (z, new))

    def kernel(i: int, a: Tensor, b: Tensor) -> Tensor:
        scaled = (a[:, None] - b) * process.precision[i].sqrt()
        d = scaled.square().sum(-1).sqrt()
        if name == "smooth":
            return process.amplitude[i] * (-(d**2) / 2).exp()
        s = 5**0.5 * d
        return process.amplitude[i] * (1 + s + s**2 / 3) * (-s).exp()

    for i in range(NR):
        scale = process.output.scale[i]
        k, cross = kernel(i, x, x), kernel(i, x_new, x)
        k = k + process.variance[i] * torch.eye(60).double()
        mean = cross @ torch.linalg.solve(k, r[:, i] / scale) * scale
        spread = process.amplitude[i] - (cross * torch.linalg.solve(k, cross.T).T).sum(-1)
        assert (process(new)[:, i] - mean).abs().max() < 1e-6
        assert (process.epistemic(new)[:, i] - spread * scale**2).abs().max() < 1e-6
    _, log_variance = process.distribution(new)
    wanted = process.variance * process.output.scale**2
    assert torch.allclose(log_variance.exp(), wanted.expand(9, NR), rtol=1e-12)


@kernels
def test_it_meets_data_without_noise(kernel: str) -> None:
    """But for the jitter: r − f(X) = 1e-10 a² α."""
    process, (z, r) = GaussianProcess(kernel, noise=0).sized(NZ, NR), data(60, noise=0.0)
    process.solve(z, r)
    assert (process(z) - r).abs().max() < 1e-4
    assert (r - process(z) - 1e-10 * process.weights.T).abs().max() < 1e-6
    assert process.epistemic(z).max() < 1e-5 * process.amplitude.max()


@each
def test_far_from_data_physics_remains(name: str) -> None:
    process = solved(name)
    z = torch.full((1, NZ), 1e6).double()
    assert process(z).abs().max() < 1e-12
    far = process.amplitude * process.output.scale.square()
    assert torch.allclose(process.epistemic(z)[0], far, rtol=1e-12)
    near = process.epistemic(data(60)[0])
    assert (near < far).all()


def test_without_signal_it_stays_zero() -> None:
    process, (z, r) = GaussianProcess().sized(NZ, NR), data(40)
    process.solve(z, 0 * r)
    assert torch.equal(process(rows(5, NZ)), torch.zeros(5, NR).double())


@kernels
def test_the_slope_of_the_marginal_likelihood(kernel: str) -> None:
    """∂/∂θ log p = ½ tr((ααᵀ − K⁻¹) ∂K/∂θ) (Rasmussen & Williams 2006, eq. 5.9), and log p by
    the density of torch."""
    x, y = rows(25, NZ), truth(rows(25, NZ))[:, 0]
    log = torch.tensor([0.3, -1.0, 0.5, 0.9, -0.2]).double().requires_grad_()

    def at(p: Tensor) -> Hyperparameters:
        return Hyperparameters((2 * p[0]).exp(), (-2 * p[2:]).exp(), (2 * p[1]).exp())

    value = log_marginal_likelihood(kernel, at(log), x, y)
    (slope,) = torch.autograd.grad(value, log)
    covariance = at(log).covariance(kernel, x).detach()
    normal = torch.distributions.MultivariateNormal(torch.zeros(25).double(), covariance)
    assert abs(float(value.detach() - normal.log_prob(y))) < 1e-6
    inverse = torch.linalg.inv(covariance)
    middle = torch.outer(inverse @ y, inverse @ y) - inverse
    jacobian = torch.func.jacrev(lambda p: at(p).covariance(kernel, x))(log.detach())
    assert (torch.einsum("ij,jik->k", middle, jacobian) / 2 - slope).abs().max() < 1e-6


@kernels
def test_hyperparameters_are_a_maximum_and_near_those_that_were_drawn(kernel: str) -> None:
    x = rows(150, 2)
    drawn = Hyperparameters(*(torch.tensor(v).double() for v in (4.0, [1.0, 0.04], 0.04)))
    factor = torch.linalg.cholesky(drawn.covariance(kernel, x))
    y = factor @ rows(150, seed=5)
    found = fitted(kernel, x, y, None)
    most = log_marginal_likelihood(kernel, found, x, y)
    for factor in (0.8, 1.25):
        for other in (
            Hyperparameters(found.amplitude * factor, found.precision, found.variance),
            Hyperparameters(found.amplitude, found.precision * factor, found.variance),
            Hyperparameters(found.amplitude, found.precision, found.variance * factor),
        ):
            assert log_marginal_likelihood(kernel, other, x, y) < most
    assert log_marginal_likelihood(kernel, drawn, x, y) < most
    assert 0.5 < float(found.variance / drawn.variance) < 1.5
    assert found.precision[0] > 5 * found.precision[1]


def test_a_feature_without_effect_is_found() -> None:
    process, (z, r) = GaussianProcess().sized(NZ, NR), data(120, noise=0.05)
    process.solve(z, r)
    assert (process.precision[:, 2] < 0.05 * process.precision[:, 0]).all()


@pytest.mark.slow
@kernels
def test_intervals_cover_what_they_say(kernel: str) -> None:
    """Functions drawn from the process, 90 % intervals of noisy r at new points."""
    inside = []
    for seed in range(12):
        x = rows(180, 2, seed=seed)
        drawn = Hyperparameters(*(torch.tensor(v).double() for v in (1.0, [1.0, 0.25], 0.01)))
        factor = torch.linalg.cholesky(drawn.covariance(kernel, x))
        y = factor @ rows(180, 2, seed=seed + 100)
        process = GaussianProcess(kernel).sized(2, 2)
        process.solve(x[:80], y[:80])
        mean, log_variance = process.distribution(x[80:])
        deviation = (log_variance.exp() + process.epistemic(x[80:])).sqrt()
        inside.append(((mean - y[80:]).abs() < 1.645 * deviation).double().mean())
    assert 0.86 < float(torch.stack(inside).mean()) < 0.94


def test_matern_has_finite_derivatives_where_points_meet() -> None:
    def along(t: Tensor) -> Tensor:
        return matern52(t.square())

    zero = torch.zeros(()).double()
    assert torch.func.grad(along)(zero) == 0
    curvature = torch.func.grad(torch.func.grad(along))(zero)
    assert abs(float(curvature) + 5 / 3) < 1e-3


@each
def test_casadi_says_the_same_of_mean_and_variance(name: str) -> None:
    process = solved(name).eval()
    mean, spread = to_casadi(process), to_casadi(Epistemic(process), nz=NZ)
    for z in rows(5, NZ, seed=4):
        assert np.abs(mean(z.numpy()).full()[:, 0] - process(z).numpy()).max() < 1e-11
        gap = spread(z.numpy()).full()[:, 0] - process.epistemic(z).numpy()
        assert np.abs(gap).max() < 1e-11


@each
def test_what_was_solved_is_kept_by_copies_and_files(name: str) -> None:
    process, z = solved(name), rows(5, NZ)
    twin = GaussianProcess(**process.config())
    twin.load_state_dict(process.state_dict())
    for other in (twin, process.sized(NZ, NR)):
        assert torch.equal(other(z), process(z))
        assert torch.equal(other.epistemic(z), process.epistemic(z))
    again = {name: tensor.data_ptr() for name, tensor in process.named_buffers()}
    process.solve(*data(60, noise=0.3))  # as many rows: the same tensors
    assert again == {name: tensor.data_ptr() for name, tensor in process.named_buffers()}


def test_errors_name_the_argument() -> None:
    wrong = {
        r"kernel must be one of \['squared_exponential', 'matern52'\], got 'linear'": {
            "kernel": "linear"
        },
        "noise must be at least 0, got -1": {"noise": -1},
        "subset must be at least 1, got 0": {"subset": 0},
        "maximum must be at least 1, got 0": {"maximum": 0},
        "points must be at least 0, got -1": {"points": -1},
    }
    for message, arguments in wrong.items():
        with pytest.raises(ValueError, match=message):
            GaussianProcess(**arguments)
    with pytest.raises(ValueError, match="noise must be one number or 2"):
        GaussianProcess(noise=[0.1] * 3).sized(NZ, NR)
    process, (z, r) = GaussianProcess(maximum=20).sized(NZ, NR), data(50)
    with pytest.raises(ValueError, match=r"z has 50 rows, more than maximum=20: .* z\[::3\]"):
        process.solve(z, r)
    with pytest.raises(ValueError, match=r"r must be \(N, 2\)"):
        process.solve(z[:9], r[:10])
