"""Laws of the ensemble: members are perceptrons, their mean is r, their spread is epistemic."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from hybridmodel import check_residual
from hybridmodel.bridges.torch_to_casadi import to_casadi
from hybridmodel.laws.report import run
from hybridmodel.laws.residual import probabilistic, start
from hybridmodel.laws.residual.subject import Subject
from residuals import MLP, Distribution, Ensemble, Epistemic, Members, SoftBounds

NZ, NR, E = 3, 2, 4
RECIPES = {
    "plain": lambda: Ensemble((5, 4), count=E),
    "constant_noise": lambda: Ensemble((5,), count=E, probabilistic=False, activation="silu"),
    "bounded": lambda: Ensemble((5,), count=E, limit=[0.1, 0.5], seed=3),
    "affine": lambda: Ensemble((), count=E),
    "single": lambda: Ensemble((4,), count=1, activation="softplus"),
}
each = pytest.mark.parametrize("name", RECIPES)


def points(*batch: int) -> Tensor:
    return torch.randn(*batch, NZ, generator=torch.Generator().manual_seed(1)).double()


def trained(name: str, *, scale: float = 3.0) -> Ensemble:
    ensemble, generator = RECIPES[name]().sized(NZ, NR), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in ensemble.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
        mean, spread = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([2.0, 0.5, 3.0])
        ensemble.standardize(mean, spread, torch.full((NR,), scale))
    return ensemble


@each
def test_the_laws_of_residuals_hold(name: str) -> None:
    report = check_residual(RECIPES[name](), nz=NZ, nr=NR, points=4)
    assert report.holds, str(report)
    assert not [f for f in report.findings if f.outcome != "holds"]


@each
def test_a_member_alone_is_the_perceptron_of_the_ensemble(name: str) -> None:
    ensemble, z = trained(name), points(6, 5)
    members = ensemble.members(z[None])
    for i in range(ensemble.count):
        one = ensemble.member(i)
        assert type(one) is MLP
        assert torch.allclose(one(z), members[i], rtol=1e-13, atol=1e-14)
        config = one.config()
        again = MLP(**config)
        again.load_state_dict(one.state_dict())
        assert torch.equal(again(z), one(z))


@each
def test_members_start_as_perceptrons_of_seeds_of_their_own(name: str) -> None:
    ensemble, z = RECIPES[name]().sized(NZ, NR), points(5)
    for i in range(ensemble.count):
        one = ensemble.member(i)
        config: dict[str, Any] = one.config() | {"seed": ensemble.seed * ensemble.count + i}
        seeded = MLP(**config)
        for mine, theirs in zip(one.parameters(), seeded.parameters(), strict=True):
            assert torch.equal(mine, theirs)
    if ensemble.config()["hidden"]:
        first = [next(ensemble.member(i).parameters()) for i in range(ensemble.count)]
        assert not any(torch.equal(a, b) for a, b in itertools.combinations(first, 2))
    assert torch.equal(ensemble.epistemic(z), torch.zeros(5, NR).double())


def test_ensembles_of_other_seeds_share_no_member() -> None:
    seeds = [
        e.member(i).config()["seed"]
        for e in (Ensemble((3,), count=E, seed=s, nz=NZ, nr=NR) for s in range(3))
        for i in range(E)
    ]
    assert len(set(seeds)) == 3 * E


@each
def test_epistemic_is_the_unbiased_variance_of_the_members(name: str) -> None:
    ensemble, z = trained(name), points(7)
    spread = ensemble.epistemic(z)
    if ensemble.count == 1:
        assert torch.equal(spread, torch.zeros(7, NR).double())
    else:
        assert torch.allclose(spread, ensemble.members(z[None]).var(0), rtol=1e-12)
        assert name == "bounded" or (spread > 0).all()  # at a limit, all members agree


@each
def test_the_variance_has_the_units_of_r(name: str) -> None:
    """With outputs c times as large, ln σ² grows by 2 ln c; the limit bounds means alone."""
    z = points(6)
    small, large = (trained(name, scale=s).distribution(z[None]) for s in (1.0, 7.0))
    assert torch.allclose(large[1], small[1] + 2 * math.log(7.0), rtol=1e-12)
    if name != "bounded":
        assert torch.allclose(large[0], 7 * small[0], rtol=1e-12)
    else:
        assert (large[0].abs() <= torch.tensor([0.1, 0.5]).double()).all()


def test_constant_noise_is_the_same_at_every_point() -> None:
    _, noise = trained("constant_noise").distribution(points(6)[None])
    assert torch.equal(noise, noise[:, :1].expand_as(noise))
    assert not torch.equal(noise[0, 0], noise[1, 0])


def test_soft_bounds_are_kept_and_have_slope_one_between() -> None:
    bounds, s = SoftBounds(-10.0, 3.0), torch.linspace(-1e3, 1e3, 2001).double()
    bounded = bounds(s)
    assert bounded.min() >= -10.0
    assert bounded.max() <= 3.0 + 1e-5  # the lower bound, put on last, pushes up by e^(low − high)
    assert (bounded.diff() >= 0).all()
    middle = torch.tensor(-3.5, dtype=torch.float64, requires_grad=True)
    bounds(middle).backward()
    assert middle.grad is not None
    assert abs(float(middle.grad) - 1.0) < 0.005


def test_maximum_likelihood_finds_mean_and_noise_of_data() -> None:
    """r = 2 sin z₀ with σ = 0.1 where z₁ < 0 and 0.5 elsewhere."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(600, NZ, generator=generator).double()
    sigma = torch.where(z[:, 1:2] < 0, 0.1, 0.5).double()
    r = 2 * torch.sin(z[:, :1]) + sigma * torch.randn(600, 1, generator=generator).double()
    ensemble = Ensemble((16,), count=3).sized(NZ, 1)
    ensemble.standardize(torch.zeros(NZ), torch.ones(NZ), r.std(0))
    optimiser = torch.optim.Adam(ensemble.parameters(), lr=0.02)
    for _ in range(400):
        mean, log_variance = ensemble.distribution(z[None])
        loss = ((r - mean).square() * (-log_variance).exp() + log_variance).sum(0).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = ensemble.distribution(z[None])[1].exp().mean(0).sqrt()[:, 0]
        quiet = z[:, 1].abs() > 0.5
        for side, truth in ((z[:, 1] < 0, 0.1), (z[:, 1] > 0, 0.5)):
            assert abs(float(found[quiet & side].median()) / truth - 1) < 0.3
        far = ensemble.epistemic(10 * z).mean() / ensemble.epistemic(z).mean()
        assert far > 10


def test_what_it_says_of_its_spread_has_a_casadi_form_without_tracing() -> None:
    ensemble, z = trained("plain"), points(1)
    for view in (Members(ensemble), Distribution(ensemble), Epistemic(ensemble)):
        ours = view(z[0])
        function = to_casadi(view)
        theirs = function.call([z[0].numpy()])
        for a, b in zip(ours if isinstance(ours, tuple) else (ours,), theirs, strict=True):
            assert torch.allclose(a, torch.tensor(b.full()[:, 0]), rtol=1e-12)


def test_torch_compile_takes_it_whole() -> None:
    for module in (trained("plain"), Epistemic(trained("bounded"))):
        compiled = torch.compile(module, fullgraph=True, backend="eager")
        assert torch.equal(compiled(points(5)), module(points(5)))


class Boastful(Ensemble):
    """Knows less than nothing of what it does not know."""

    def epistemic(self, z: Tensor) -> Tensor:
        return super().epistemic(z) - 1e-9


class Favourite(Ensemble):
    """Asks one member alone."""

    def forward(self, z: Tensor) -> Tensor:
        return self.members(z[None])[0]


class Mixed(Ensemble):
    """Gives all members the points of the first."""

    def members(self, z: Tensor) -> Tensor:
        return super().members(z[:1])


class Shy(Ensemble):
    """Whose members cancel at the start without being zero."""

    def members(self, z: Tensor) -> Tensor:
        sign = torch.tensor([1.0, -1.0]).double().reshape(-1, *(1,) * (z.dim() - 1))
        return super().members(z) + sign * z[..., :1].square()


@pytest.mark.parametrize(
    ("module", "law", "message"),
    [
        (Boastful((4,), count=2), "variances", "epistemic at the start is -1e-09"),
        (Favourite((4,), count=2), "mean", "forward is not the mean of the members"),
        (Mixed((4,), count=2), "own points", "member 1 at its own z differs"),
        (Shy((4,), count=2), "zero", r"the largest \|r\| before training is"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Ensemble) else "",
)
def test_what_breaks_a_law_of_ensembles_is_named(module, law: str, message: str) -> None:
    report = run("mine", (*start.LAWS, *probabilistic.LAWS), Subject(module, NZ, NR, 3, 0))
    found = {finding.law: finding.message for finding in report.failures}
    assert re.search(message, found.get(law, "")), str(report)


def test_float32_follows() -> None:
    ensemble = trained("plain").to(torch.float32)
    said = (ensemble(points(2).float()), *ensemble.distribution(points(2).float()[None]))
    assert {y.dtype for y in said} == {torch.float32}
    assert ensemble.member(1).chain[1].weight.dtype == torch.float32


def test_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        Ensemble(count=0)
    for bounds in ((1.0,), (1.0, -1.0), (-math.inf, 0.0)):
        with pytest.raises(ValueError, match="log_variance_bounds must be two rising numbers"):
            Ensemble(log_variance_bounds=bounds)
    with pytest.raises(ValueError, match="activation must be one of"):
        Ensemble(activation="cosine")
    with pytest.raises(ValueError, match="limit must be positive, one number or 2"):
        Ensemble(limit=-1.0).sized(NZ, NR)
    with pytest.raises(ValueError, match="index must be one of the 4 members, 0 to 3, got 4"):
        trained("plain").member(4)
    with pytest.raises(ValueError, match="a recipe has no weights"):
        Ensemble().member(0)
