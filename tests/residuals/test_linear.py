"""Laws of the residual that is linear in features: normal equations, recursion, bounded wind-up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hybridmodel.laws import check_residual
from residuals import MLP, Fourier, Linear

NZ, NR = 3, 2
LINEAR: dict[str, Callable[[], Linear]] = {
    "polynomial": lambda: Linear(degree=3),
    "identity": lambda: Linear("identity", noise=0.1, prior=2.0),
    "fourier": lambda: Linear("fourier", frequencies=8, length=1.5, noise=[0.1, 0.3]),
    "hidden": lambda: Linear({"hidden": (6, 5), "activation": "softplus"}, forgetting=0.95),
}
each = pytest.mark.parametrize("name", LINEAR)


def rows(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def data(n: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    z = rows(n, NZ, seed=seed)
    clean = torch.stack((z[:, 0] * z[:, 1] + 0.4, 3 * z[:, 2].sin() - z[:, 0]), -1)
    return z, clean + torch.tensor([0.1, 0.3]) * rows(n, NR, seed=seed + 100)


def scaled(linear: Linear) -> Linear:
    mean, scale = torch.tensor([[0.3, -0.2, 0.5], [1.5, 0.8, 1.2]]).double()
    linear.standardize(mean, scale, torch.tensor([0.5, 2.0]).double())
    return linear


def sized(name: str) -> Linear:
    return scaled(LINEAR[name]().sized(NZ, NR))


def brute(linear: Linear, z: Tensor, r: Tensor, precision: float) -> tuple[Tensor, Tensor, Tensor]:
    """W, P and the largest-evidence σ² from the normal equations, whatever W₀ is."""
    psi = linear.basis((z - linear.input.mean) / linear.input.scale)
    y = r / linear.output.scale - psi @ linear.prior_weight.T
    eye = torch.eye(psi.shape[1]).double()
    p = torch.linalg.inv(psi.T @ psi + precision * eye)
    w = (p @ psi.T @ y).T
    covariance = torch.eye(len(z)).double() + psi @ psi.T / precision
    energy = (y * torch.linalg.solve(covariance, y)).sum(0)
    return w + linear.prior_weight, p, energy / len(z)


def close(mine: Tensor, yours: Tensor, bar: float = 1e-8) -> None:
    assert (mine - yours).abs().max() <= bar * yours.abs().max()


@pytest.mark.parametrize("name", ["polynomial", "hidden"])
def test_it_passes_the_public_check(name: str) -> None:
    report = check_residual(LINEAR[name](), nz=NZ, nr=NR, points=4)
    assert not report.failures, str(report)


@each
@pytest.mark.parametrize("n", [5, 60])
def test_the_posterior_solves_the_normal_equations(name: str, n: int) -> None:
    linear, (z, r) = sized(name), data(n)
    linear.solve(z, r)
    mean, covariance, variance = brute(linear, z, r, float(linear.precision))
    close(linear.weight, mean)
    close(linear.factor @ linear.factor.T, covariance)
    if linear.noise is None:
        close(linear.variance, variance)
    else:
        given = torch.as_tensor(linear.noise, dtype=torch.float64) / linear.output.scale
        close(linear.variance, given.square())


def evidence(linear: Linear, z: Tensor, r: Tensor, precision: float, variance: Tensor) -> float:
    """log 𝒩(y; 0, σ² (I + ψψᵀ/λ)), of all rows."""
    psi = linear.basis((z - linear.input.mean) / linear.input.scale).detach()
    y = r / linear.output.scale
    covariance = torch.eye(len(z)).double() + psi @ psi.T / precision
    return sum(
        float(
            torch.distributions.MultivariateNormal(
                torch.zeros(len(z)).double(), v * covariance
            ).log_prob(row)
        )
        for row, v in zip(y.T, variance, strict=True)
    )


@pytest.mark.parametrize("name", ["polynomial", "fourier"])
def test_no_other_prior_and_noise_have_more_evidence(name: str) -> None:
    linear, (z, r) = sized(name), data(40)
    linear.solve(z, r)
    best, variance = float(linear.precision), linear.variance
    most = evidence(linear, z, r, best, variance)
    for factor in (0.01, 0.5, 0.98, 1.02, 2.0, 100.0):
        assert evidence(linear, z, r, factor * best, variance) < most
        if linear.noise is None:
            assert evidence(linear, z, r, best, factor * variance) < most


@each
def test_one_by_one_is_all_at_once(name: str) -> None:
    """Without forgetting, and from the posterior of a first part on, the noise included."""
    linear, (z, r) = sized(name), data(80)
    linear.forgetting = 1.0
    linear.solve(z[:30], r[:30])
    for sample in zip(z[30:], r[30:], strict=True):
        linear.update(*sample)
    mean, covariance, variance = brute(linear, z, r, float(linear.precision))
    close(linear.weight, mean)
    close(linear.factor @ linear.factor.T, covariance)
    if linear.noise is None:
        close(linear.variance, variance)


@each
def test_updates_from_nothing_are_all_at_once_too(name: str) -> None:
    linear, (z, r) = sized(name), data(50)
    linear.forgetting = 1.0
    for sample in zip(z, r, strict=True):
        linear.update(*sample)
    mean, covariance, _ = brute(linear, z, r, float(linear.precision))
    close(linear.weight, mean)
    close(linear.factor @ linear.factor.T, covariance)


def test_with_forgetting_old_samples_weigh_less() -> None:
    linear, (z, r) = scaled(Linear(degree=1, prior=5.0, forgetting=0.9).sized(NZ, NR)), data(60)
    for sample in zip(z, r, strict=True):
        linear.update(*sample)
    psi = linear.basis((z - linear.input.mean) / linear.input.scale)
    y, f = r / linear.output.scale, 0.9
    w = f ** torch.arange(59, -1, -1).double()
    information = psi.T @ (w[:, None] * psi) + 5 * f**60 * torch.eye(psi.shape[1])
    close(linear.factor @ linear.factor.T, torch.linalg.inv(information))
    close(linear.weight, torch.linalg.solve(information, psi.T @ (w[:, None] * y)).T)


@pytest.mark.parametrize("forgetting", [0.999, 0.98, 0.8])
def test_uncertainty_is_bounded_without_excitation(forgetting: float) -> None:
    """4,000 samples that excite two directions: P stays within e of the prior and positive."""
    linear = Linear("fourier", frequencies=8, forgetting=forgetting).sized(NZ, NR)
    z, r = rows(2, NZ), rows(2, NR)
    for k in range(4_000):
        linear.update(z[k % 2], r[k % 2])
    covariance = linear.factor @ linear.factor.T
    assert covariance.diagonal().max() < 2.72 / float(linear.precision)
    assert torch.linalg.eigvalsh(covariance).min() > 0
    close(linear(z), r, 1e-3)
    excited = linear.epistemic(z) / linear.variance
    assert excited.max() < 3 * (1 - forgetting)  # still what 1/(1 − f) samples leave


def test_it_follows_a_change_after_long_monotony() -> None:
    linear = Linear("identity", forgetting=0.95).sized(NZ, NR)
    z = rows(400, NZ)
    z[:300, 1:] = 0.0  # one direction alone is excited
    slopes = rows(NZ, NR, seed=2)
    for k, row in enumerate(z):
        linear.update(row, row @ (slopes if k < 300 else -slopes))
    close(linear.weight, -slopes.T, 0.02)


def test_an_update_is_seen_at_once_through_the_same_tensors() -> None:
    linear, (z, r) = sized("polynomial"), data(20)
    held = dict(linear.named_parameters()) | dict(linear.named_buffers())
    places = {name: tensor.data_ptr() for name, tensor in held.items()}
    linear.solve(z, r)
    linear.update(z[0], 5 * r[0])
    assert places == {name: tensor.data_ptr() for name, tensor in held.items()}
    assert torch.equal(held["weight"], linear.weight)


def test_intervals_cover_what_they_say() -> None:
    """Weights drawn from the prior: 90 % intervals of r, both variances in them."""
    inside = []
    for seed in range(40):
        linear = Linear("fourier", frequencies=20, length=1.0, seed=seed).sized(NZ, NR)
        weights = rows(NR, 40, seed=seed) * torch.tensor([[1.0], [3.0]]).double()
        z, noise = rows(160, NZ, seed=seed + 50), rows(160, NR, seed=seed + 100)
        r = linear.basis(z) @ weights.T + 0.2 * noise
        linear.solve(z[:60], r[:60])
        mean, log_variance = linear.distribution(z[60:])
        deviation = (log_variance.exp() + linear.epistemic(z[60:])).sqrt()
        inside.append(((mean - r[60:]).abs() < 1.645 * deviation).double().mean())
    assert 0.87 < float(torch.stack(inside).mean()) < 0.93


def test_features_of_a_fourier_basis_tend_to_their_kernel() -> None:
    basis = Fourier(NZ, 20_000, length=1.5, seed=0)
    a, b = rows(5, NZ), rows(5, NZ, seed=2)
    kernel = (-(a - b).square().sum(-1) / (2 * 1.5**2)).exp()
    assert ((basis(a) * basis(b)).sum(-1) - kernel).abs().max() < 0.03


def test_monomials_are_all_of_them_once() -> None:
    psi = Linear(degree=4).sized(NZ, NR).basis(rows(7, NZ))
    assert psi.shape == (7, 35)
    x = torch.tensor([2.0, 3.0, 5.0]).double()  # primes: products tell their factors
    values = Linear(degree=4).sized(NZ, NR).basis(x).tolist()
    wanted = {2.0**i * 3.0**j * 5.0**k for i in range(5) for j in range(5) for k in range(5)}
    assert len(set(values)) == 35
    assert set(values) <= wanted


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_the_last_layer_of_a_network(activation: str) -> None:
    mlp = MLP((6, 5), activation=activation).sized(NZ, NR)
    with torch.no_grad():
        for k, weight in enumerate(mlp.parameters()):
            weight.copy_(0.5 * rows(*weight.shape, seed=k))
    mlp.standardize(*(torch.tensor(v).double() for v in ([0.1] * 3, [1.5] * 3, [0.5, 2.0])))
    linear, (z, r) = Linear.from_mlp(mlp, forgetting=0.99), data(200)
    close(linear(z), mlp(z), 1e-14)
    close(linear.sized(NZ, NR)(z), mlp(z), 1e-14)
    twin = Linear(**linear.config())
    twin.load_state_dict(linear.state_dict())
    assert torch.equal(twin(z), linear(z))
    before = (linear(z) - r).square().mean()
    linear.solve(z, r)
    assert (linear(z) - r).square().mean() < before
    mean, covariance, _ = brute(linear, z, r, float(linear.precision))
    close(linear.weight, mean)
    close(linear.factor @ linear.factor.T, covariance)


def test_any_module_as_basis() -> None:
    mine = nn.Sequential(nn.Linear(NZ, 5), nn.Tanh())
    linear, (z, r) = Linear(mine).sized(NZ, NR), data(50)
    assert torch.equal(linear(z), torch.zeros(50, NR).double())
    linear.solve(z, r)
    assert torch.equal(linear.sized(NZ, NR)(z), linear(z))
    assert mine[0].weight.dtype == torch.float32
    assert mine[0].weight.requires_grad
    with pytest.raises(ValueError, match=r"basis: a module .* is no JSON data"):
        linear.config()


def test_without_signal_it_stays_physics() -> None:
    """Zero data give zero, and noise alone a strong prior."""
    linear, (z, _) = sized("polynomial"), data(100)
    linear.solve(z, torch.zeros(100, NR).double())
    assert torch.equal(linear(z), torch.zeros(100, NR).double())
    noise = rows(100, NR)
    linear.solve(z, noise)
    assert linear(z).square().mean() < 0.1 * noise.square().mean()


def test_errors_name_the_argument() -> None:
    wrong = {
        "prior must be positive, got 0.0": {"prior": 0.0},
        "forgetting must be in .0, 1., got 1.1": {"forgetting": 1.1},
        "noise must be positive, got -1": {"noise": -1},
        "degree must be at least 0, got -1": {"degree": -1},
        "frequencies must be at least 1, got 0": {"basis": "fourier", "frequencies": 0},
        "length must be positive, got 0": {"basis": "fourier", "length": 0},
        "basis must be 'polynomial', .*got 'wavelet'": {"basis": "wavelet"},
        "activation must be one of": {"basis": {"hidden": (4,), "activation": "cosine"}},
    }
    for message, arguments in wrong.items():
        with pytest.raises(ValueError, match=message):
            Linear(**arguments)
    with pytest.raises(ValueError, match=r"noise must be one number or 2"):
        Linear(noise=[0.1, 0.2, 0.3]).sized(NZ, NR)
    with pytest.raises(ValueError, match=r"basis: the module takes no \(2, 3\) input"):
        Linear(nn.Linear(4, 2)).sized(NZ, NR)
    with pytest.raises(ValueError, match="mlp must have no limit"):
        Linear.from_mlp(MLP(limit=1.0).sized(NZ, NR))
    with pytest.raises(ValueError, match="mlp must have sizes"):
        Linear.from_mlp(MLP())
    linear, (z, r) = sized("polynomial"), data(10)
    with pytest.raises(ValueError, match=r"r must be \(N, 2\) .* got \(9, 2\)"):
        linear.solve(z, r[1:])
    with pytest.raises(ValueError, match="z must be finite, 3 are not"):
        linear.solve(torch.full_like(z[:1], torch.nan), r[:1])
    before = {name: tensor.clone() for name, tensor in linear.state_dict().items()}
    with pytest.raises(ValueError, match="z and r must be finite"):
        linear.update(z[0], torch.full_like(r[0], torch.nan))
    with pytest.raises(ValueError, match=r"z and r must be \(3,\) and \(2,\)"):
        linear.update(z[:1], r[0])
    assert all(torch.equal(v, before[name]) for name, v in linear.state_dict().items())
