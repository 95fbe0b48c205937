"""Propagation on systems where the distribution is known: linear, Gaussian, held noise."""

from __future__ import annotations

import math

import pytest
import torch

from hybridmodel import HybridModel, placement
from hybridmodel.uncertainty import Noise, Prediction, propagate
from hybridmodel.uncertainty.prediction import normal_half_width
from physics import Linear, Quadrotor
from residuals import Ensemble, Supported
from residuals import Linear as LinearResidual

DT, STEPS = 0.1, 6
METHODS = ("ts1", "tsinf", "moments")
A = torch.tensor([[1.0, DT], [0.0, 1.0]], dtype=torch.float64)
G = torch.tensor([[DT**2 / 2], [DT]], dtype=torch.float64)
R = torch.tensor([1e-4, 4e-4], dtype=torch.float64)
START = torch.tensor([[4e-4, 1e-4], [1e-4, 9e-4]], dtype=torch.float64)
INPUT = torch.ones(STEPS, 1, dtype=torch.float64)
X0 = torch.tensor([0.3, -0.2], dtype=torch.float64)


def chain(residual=None, **more) -> HybridModel:
    """A double integrator; the residual is a further acceleration."""
    if residual is not None:
        more = {"placement": placement.derivative.on("x1"), **more}
    return HybridModel(Linear(), residual, dt=DT, **more)


def offsets(*values: float, sigma: float = 0.3) -> HybridModel:
    """Members that are constants, with one σ."""
    model = chain(Ensemble((4,), count=len(values), probabilistic=False))
    with torch.no_grad():
        model.residual.mean.bias.copy_(torch.tensor(values)[:, None])
        wanted = torch.tensor(2 * math.log(sigma), dtype=torch.float64)
        low, high = model.residual.log_variance_bounds
        # the inverse of the soft bounds
        t = low + torch.log(torch.expm1(wanted - low))
        model.residual.noise.fill_(float(high - torch.log(torch.expm1(high - t))))
    return model


def exact(start: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    found = [start]
    for _ in range(STEPS):
        found.append(A @ found[-1] @ A.T + added)
    return torch.stack(found)


def close(got: torch.Tensor, wanted: torch.Tensor, method: str, share: float = 0.08) -> None:
    limit = 1e-9 if method == "moments" else share
    size = wanted.diagonal(dim1=-2, dim2=-1).sqrt()
    size = size[..., :, None] * size[..., None, :]
    assert ((got - wanted).abs() <= limit * size + 1e-12).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_linear_system_with_noise_in_each_step_has_the_covariance_of_theory(method) -> None:
    model = chain()
    model.noise.copy_(R)
    found = propagate(model, X0, INPUT, method=method, particles=4000, initial_covariance=START)
    close(found.covariance, exact(START, torch.diag(R)), method)
    mean = model.rollout(X0, INPUT).detach()
    sigma = found.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert (
        (found.mean - mean).abs() <= (1e-9 if method == "moments" else 0.06) * sigma + 1e-12
    ).all()


@pytest.mark.parametrize("method", METHODS)
def test_noise_of_the_residual_is_drawn_once_a_step(method) -> None:
    model = offsets(0.0, 0.0)
    found = propagate(model, X0, INPUT, method=method, particles=4000, noise=Noise((0, 0), (0, 0)))
    wanted = exact(torch.zeros(2, 2, dtype=torch.float64), 0.09 * G @ G.T)
    close(found.covariance.detach(), wanted, method)


def test_particles_that_keep_their_member_spread_faster_than_those_that_change() -> None:
    model = offsets(-1.0, 1.0)
    still = {m: propagate(model, X0, INPUT, method=m, particles=2000, noise=False) for m in METHODS}
    k = torch.arange(STEPS + 1, dtype=torch.float64)
    variance = {m: p.covariance[:, 1, 1].detach() for m, p in still.items()}
    # of two members at ±1: a constant error grows with k², one that is new each step with k;
    # among two members the unbiased variance is 2, of many particles on them 1
    assert torch.allclose(variance["moments"], 2 * (k * DT) ** 2)
    assert torch.allclose(variance["tsinf"], (k * DT) ** 2, rtol=1e-2)
    assert torch.allclose(variance["ts1"][1:], k[1:] * DT**2, rtol=0.1)


@pytest.mark.parametrize("method", ["tsinf", "moments"])
def test_total_variance_is_within_members_plus_between_them(method) -> None:
    model = offsets(-0.5, 0.1, 0.4, sigma=0.3)
    found = propagate(model, X0, INPUT, method=method, particles=3000, noise=Noise((0, 0), (0, 0)))
    total = found.covariance.diagonal(dim1=-2, dim2=-1)
    assert found.aleatoric is not None
    assert found.epistemic is not None
    # the means of E members are off by a factor (E − 1)/E in the variance of all particles
    share = 1.0 if method == "moments" else 2 / 3
    assert torch.allclose(total, found.aleatoric + share * found.epistemic, rtol=2e-2, atol=1e-9)
    within = exact(torch.zeros(2, 2, dtype=torch.float64), 0.09 * G @ G.T)
    within = within.diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(found.aleatoric, within, rtol=0.12, atol=1e-12)
    k = torch.arange(STEPS + 1, dtype=torch.float64)
    between = torch.tensor([-0.5, 0.1, 0.4]).double().var() * (k * DT) ** 2
    assert torch.allclose(found.epistemic[:, 1], between, rtol=0.1, atol=1e-9)


def test_a_residual_without_members_draws_from_what_it_does_not_know() -> None:
    model = chain(LinearResidual("identity", noise=0.2))
    with torch.no_grad():
        z = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        model.residual.solve(z, torch.zeros(20, 1, dtype=torch.float64))
    one, zero = INPUT[:1], Noise((0, 0), (0, 0))
    z0 = model.residual_features(X0, one[0])
    variance = model.residual.distribution(z0)[1].exp() + model.residual.epistemic(z0)
    for method in METHODS:
        found = propagate(model, X0, one, method=method, particles=6000, noise=zero)
        assert found.covariance[1, 1, 1].item() == pytest.approx(
            float(variance) * DT**2, rel=1e-6 if method == "moments" else 0.1
        )


def test_rotations_keep_their_length_and_have_three_rows() -> None:
    system = Quadrotor()
    model = HybridModel(system, dt=0.02)
    model.noise.fill_(1e-4)
    x0 = torch.tensor([system.neutral, system.neutral], dtype=torch.float64)
    u = torch.tensor(system.hover, dtype=torch.float64).expand(2, 5, 4)
    drawn = propagate(model, x0, u, method="tsinf", particles=1500)
    linear = propagate(model, x0, u, method="moments")
    assert drawn.samples is not None
    assert drawn.samples.shape == (1500, 2, 6, 13)
    q = drawn.samples[..., 3:7] if system.states[3].quaternion else drawn.samples[..., 6:10]
    assert torch.allclose(q.norm(dim=-1), torch.ones(()).double(), atol=1e-9)
    assert drawn.covariance.shape == (2, 6, 12, 12)
    assert torch.allclose(drawn.std[:, 1:], linear.std[:, 1:], rtol=0.1)
    low, high = drawn.quantiles(0.9)
    assert low.shape == (2, 6, 12)
    assert (low <= high).all()


def test_measured_outputs_hold_the_noise_of_the_sensors() -> None:
    model, noise = chain(), Noise((0.0, 0.0), (4e-4, 1e-4), 1.0)
    for method in METHODS:
        state = propagate(model, X0, INPUT, method=method, particles=4000, noise=noise)
        seen = propagate(
            model, X0, INPUT, method=method, particles=4000, noise=noise, measured=True
        )
        V = torch.diag(torch.tensor(noise.measurement, dtype=torch.float64))
        close(state.covariance, exact(V, 0 * V), method)  # the start was measured as well
        close(seen.covariance, exact(V, 0 * V) + V, method)


def test_a_further_sample_lies_between_the_quantiles_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(31, 20_000, 1, generator=generator, dtype=torch.float64)
    one = Prediction(
        mean=torch.zeros(20_000, 1),
        covariance=torch.ones(20_000, 1, 1),
        signals=Linear().states[:1],
        deviations=drawn[:30],
    )
    low, high = one.offsets(0.9)
    inside = (drawn[30] >= low) & (drawn[30] <= high)
    assert inside.double().mean().item() == pytest.approx(0.9, abs=0.01)
    assert normal_half_width(0.9) == pytest.approx(1.6449, abs=1e-4)


def test_the_same_seed_draws_the_same() -> None:
    model = offsets(0.1, -0.1)
    model.noise.copy_(R)
    first, second, other = (
        propagate(model, X0, INPUT, method="ts1", particles=20, seed=seed).mean
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"method": "ts2"}, "method"),
        ({"particles": 1}, "particles"),
        ({"noise": Noise((1e-4,), (0.0, 0.0))}, "noise"),
        ({"initial_covariance": torch.eye(3)}, "initial_covariance"),
    ],
)
def test_wrong_arguments_are_named(arguments, told) -> None:
    model = chain()
    model.noise.copy_(R)
    with pytest.raises(ValueError, match=told):
        propagate(model, X0, INPUT, **arguments)


def test_a_model_without_noise_says_so() -> None:
    with pytest.raises(ValueError, match=r"model\.noise"):
        propagate(chain(), X0, INPUT)


def test_moments_refuse_a_spread_of_sensors_that_they_would_lose() -> None:
    model = HybridModel(Linear(), Ensemble((4,), count=2), dt=DT, placement=placement.output)
    noise = Noise((0, 0), (0, 0))
    with pytest.raises(ValueError, match="moments"):
        propagate(model, X0, INPUT, method="moments", noise=noise, measured=True)
    drawn = propagate(model, X0, INPUT, noise=noise, measured=True, particles=2000)
    z = model.residual_features(X0, INPUT[0])
    sigma = model.residual.distribution(z[None])[1][0].mul(0.5).exp()
    assert torch.allclose(drawn.std[0], sigma, rtol=0.08)


def faded(scale: float = 0.4, sigma: float = 0.3) -> HybridModel:
    """Members that have faded to the physics: all that is known of r is its usual size."""
    inner = offsets(-1.0, 1.0, sigma=sigma).residual
    model = chain(Supported(Ensemble((4,), count=2, probabilistic=False)))
    with torch.no_grad():
        model.residual.residual.load_state_dict(inner.state_dict())
        model.residual.output_scale.fill_(scale)
        model.residual.cover(torch.full((3, model.residual.nz), 1e3, dtype=torch.float64))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_what_has_faded_is_epistemic_and_no_factor_of_the_noise_takes_it_away(method, alpha):
    model, s = faded(), 0.4
    noise = Noise((1e-4, 4e-4), (0, 0), alpha)
    found = propagate(model, X0, INPUT, method=method, particles=6000, noise=noise)
    k = torch.arange(STEPS + 1, dtype=torch.float64) * DT
    own = exact(torch.zeros(2, 2, dtype=torch.float64), torch.diag(R))
    # one unknown acceleration along the path: x = s η (k²/2, k); new in every step in TS1
    path = torch.stack([k**2 / 2, k], -1)
    held = s**2 * path[:, :, None] * path[:, None, :]
    doubt = exact(torch.zeros(2, 2, dtype=torch.float64), s**2 * G @ G.T)
    wanted = own + (doubt if method == "ts1" else held)
    close(found.covariance.detach(), wanted, method, share=0.09)
    if method == "ts1":
        assert found.epistemic is None
        return
    assert found.aleatoric is not None
    assert found.epistemic is not None
    limit = 1e-6 if method == "moments" else 0.1
    for got, law in ((found.aleatoric, own), (found.epistemic, held)):
        variance = law.diagonal(dim1=-2, dim2=-1)
        assert torch.allclose(got.detach(), variance, rtol=limit, atol=2e-5)


@pytest.mark.parametrize("method", ["tsinf", "moments"])
def test_without_noise_all_that_is_left_outside_is_epistemic(method) -> None:
    found = propagate(faded(), X0, INPUT, method=method, particles=400, noise=False)
    assert found.aleatoric is not None
    assert found.epistemic is not None
    assert not found.aleatoric.any()
    total = found.covariance.diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(found.epistemic, total, rtol=0.01, atol=1e-12)
    assert (total[1:] > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_support_that_holds_the_data_changes_nothing(method) -> None:
    bare, inside = (
        offsets(-0.5, 0.4),
        chain(Supported(Ensemble((4,), count=2, probabilistic=False))),
    )
    inside.residual.residual.load_state_dict(bare.residual.state_dict())
    noise = Noise((1e-4, 4e-4), (0, 0))
    a, b = (
        propagate(m, X0, INPUT, method=method, particles=40, noise=noise) for m in (bare, inside)
    )
    assert torch.allclose(a.covariance, b.covariance, rtol=1e-8)
    if a.samples is not None and b.samples is not None:
        assert torch.allclose(a.samples, b.samples, rtol=1e-8)


@pytest.mark.parametrize("method", ["ts1", "tsinf"])
def test_samples_are_paths(method) -> None:
    model = offsets(0.0, 0.0)
    found = propagate(
        model, X0, INPUT, method=method, particles=8, noise=False, initial_covariance=START
    )
    assert found.samples is not None
    for k in range(STEPS):
        after = model(found.samples[:, k], INPUT[k].expand(8, 1))
        assert torch.allclose(after, found.samples[:, k + 1], atol=1e-12)


def test_slopes_of_a_prediction_are_finite_where_nothing_has_faded() -> None:
    inside = chain(Supported(Ensemble((4,), count=2)))
    for method in METHODS:
        u = INPUT.clone().requires_grad_()
        found = propagate(inside, X0, u, method=method, particles=4, noise=Noise((0, 0), (0, 0)))
        (slope,) = torch.autograd.grad(found.mean.sum() + found.covariance.sum(), u)
        assert torch.isfinite(slope).all()
