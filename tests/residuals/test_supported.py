"""Laws of the support: 1 on the data, 0 far from them, smooth between, never falsely certain."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hybridmodel import CheckpointError, HybridModel, check_residual, load, save
from hybridmodel.bridges.torch_to_casadi import to_casadi
from hybridmodel.derivatives import casadi_form, eager_form, relative_gap
from physics import Pendulum
from residuals import (
    GRU,
    MLP,
    Distribution,
    Ensemble,
    Epistemic,
    Gated,
    Probabilistic,
    Regressed,
    Residual,
    Support,
    Supported,
    SupportedProbabilistic,
    SupportedRegressed,
)
from residuals import Linear as LinearResidual
from residuals.support import farthest_points

NZ, NR = 3, 2
RECIPES: dict[str, Callable[[], Supported]] = {
    "plain": lambda: Supported(MLP((5,)), centres=6),
    "ensemble": lambda: Supported(Ensemble((5,), count=3), centres=6),
    "bounded": lambda: Supported(Ensemble((4,), count=2, limit=0.4), centres=6),
    "gated": lambda: Supported(Gated(nn.Linear(NZ, NR), nz=NZ, nr=NR), centres=6),
    "twice": lambda: Supported(Supported(Ensemble((4,), count=2), centres=4), centres=6),
}
each = pytest.mark.parametrize("name", RECIPES)


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def covered(nz: int = NZ, *, centres: int = 16, rows: int = 400) -> tuple[Support, Tensor]:
    support, z = Support(nz, centres=centres), drawn(rows, nz)
    support.standardize(z.mean(0), z.std(0))
    support.cover(z)
    return support, z


def trained(name: str) -> Supported:
    residual, generator = RECIPES[name]().sized(NZ, NR), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in residual.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
        residual.standardize(torch.zeros(NZ), torch.ones(NZ), torch.tensor([0.5, 3.0]))
    residual.cover(drawn(200, NZ))
    return residual


def between(support: Support, count: int = 5) -> Tensor:
    """Points where the fade is under way."""
    z = 2.5 * drawn(4000, len(support.middle), seed=7)
    w = support(z)[:, 0]
    found = z[(w > 0.02) & (w < 0.98)][:count]
    assert len(found) == count
    return found


# -- the measure ----------------------------------------------------------------------------------


def test_before_there_are_data_it_is_one_everywhere() -> None:
    assert torch.equal(Support(NZ)(1e6 * drawn(50, NZ)), torch.ones(50, 1).double())


@pytest.mark.parametrize("nz", [1, 2, 5, 20])
@pytest.mark.parametrize("rows", [1, 2, 10, 3000])
def test_it_is_exactly_one_on_the_data_and_exactly_zero_far_away(nz: int, rows: int) -> None:
    support = Support(nz, centres=16)
    z = 3 + drawn(rows, nz)
    if rows > 1:
        support.standardize(z.mean(0), z.std(0))
    support.cover(z)
    assert torch.equal(support(z), torch.ones(rows, 1).double())
    for far in (20.0, -20.0, 1e6):
        away = z.clone()
        away[:, -1] += far
        assert torch.equal(support(away), torch.zeros(rows, 1).double())


def test_it_lies_between_and_falls_on_the_way_out() -> None:
    support, z = covered()
    ray = torch.linspace(0, 12, 500).double()[:, None] * drawn(1, NZ, seed=4)
    w = support(z.mean(0) + ray)[:, 0]
    assert w[0] == 1
    assert w[-1] == 0
    assert ((w >= 0) & (w <= 1)).all()
    assert (w.diff() <= 1e-12).all()


def test_its_second_derivative_has_no_jump() -> None:
    """Halving the step halves the largest change of the curvature, as of a Lipschitz function."""
    support, z = covered()
    start, direction = z.mean(0), drawn(NZ, seed=4)

    def largest_change(steps: int) -> float:
        def along(s: Tensor) -> Tensor:
            return support(start + s * direction)[0]

        s = torch.linspace(0, 8, steps).double()
        curvature = torch.func.vmap(torch.func.grad(torch.func.grad(along)))(s)
        assert curvature.abs().max() > 0.1
        return float(curvature.diff().abs().max())

    coarse, fine = largest_change(2001), largest_change(4001)
    assert fine < 0.6 * coarse


def test_balls_find_a_hole_inside_the_range() -> None:
    angle = torch.linspace(0, 6.28, 500).double()
    ring = torch.stack([torch.cos(angle), torch.sin(angle)], -1)
    support = Support(2, centres=32)
    support.standardize(ring.mean(0), ring.std(0))
    support.cover(ring)
    assert support(torch.zeros(2).double()) == 0


def test_an_outlier_leaves_the_rest_covered() -> None:
    _, z = covered()
    z[0] = 50.0
    support = Support(NZ, centres=16)
    support.cover(z)
    assert torch.equal(support(z), torch.ones(len(z), 1).double())


def test_new_scales_forget_what_was_covered() -> None:
    support, z = covered()
    support.standardize(z.mean(0), 2 * z.std(0))
    assert torch.equal(support(1e3 * z), torch.ones(len(z), 1).double())


def test_centres_are_the_same_each_time_and_spread() -> None:
    z = drawn(300, NZ)
    (first, reach), (second, _) = farthest_points(z, 20), farthest_points(z, 20)
    assert torch.equal(first, second)
    assert len(set(first.tolist())) == 20
    apart = torch.cdist(z[first], z[first]).fill_diagonal_(torch.inf).min()
    assert reach.max() <= apart  # each centre was at least as far as any row is now
    assert torch.allclose(reach, torch.cdist(z, z[first]).amin(-1), atol=1e-9)
    index, _ = farthest_points(torch.ones(5, NZ).double(), 3)
    assert len(index) == 1


def test_many_rows_are_thinned() -> None:
    support = Support(1, centres=4)
    support.cover(torch.linspace(-1, 1, 50_001).double()[:, None])
    assert torch.equal(support(torch.tensor([[-1.0], [1.0]]).double()), torch.ones(2, 1).double())


def logs(kind: str, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features of a path on a thin manifold, free rows (which have no bound), logs apart."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(200).double() * 0.05
    draw = torch.randn(count, 6, 4, generator=generator).double()
    rate = 0.2 + 0.8 * torch.rand(count, 6, 4, generator=generator).double()
    phase = rate[..., None] * t * 6.28 + 6.28 * draw.flip(0)[..., None]
    wave = (draw[..., None] * torch.sin(phase)).sum(2) / 2  # (logs, 6, T)
    slope = (draw[..., None] * (6.28 * rate)[..., None] * torch.cos(phase)).sum(2) / 2
    q, v = wave.movedim(1, 2), slope.movedim(1, 2)
    if kind == "pendulum":
        parts, free = [torch.sin(3 * q[..., :1]), torch.cos(3 * q[..., :1]), v[..., :1]], 1
    elif kind == "cart":
        s, c = torch.sin(3 * q[..., 1:2]), torch.cos(3 * q[..., 1:2])
        parts, free = [s, c, q[..., :1], v[..., :2], v[..., :1] * s], 4
    else:  # a flight: attitude of the thrust, velocities, rates, thrusts
        thrust = torch.cat([v[..., :2], 9.8 + q[..., 2:3]], -1)
        size = thrust.norm(dim=-1, keepdim=True)
        parts, free = [thrust / size, q[..., :3], v[..., :3], q[..., 3:], v[..., 3:], size], 13
    z = torch.cat(parts, -1)
    return z.flatten(0, 1), torch.arange(z.shape[-1] - free, z.shape[-1]), z


@pytest.mark.parametrize("kind", ["pendulum", "cart", "flight"])
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_it_holds_on_logs_not_seen_and_ends_before_five_times_their_range(kind, seed) -> None:
    z, free, _ = logs(kind, 30, seed)
    other, _, _ = logs(kind, 30, 1000 + seed)
    support = Support(z.shape[1])
    support.standardize(z.mean(0), z.std(0))
    support.cover(z)
    assert (support(other) == 1).double().mean() > 0.95
    low, high = z.amin(0)[free], z.amax(0)[free]
    generator = torch.Generator().manual_seed(seed)
    share = 2 * torch.rand(len(other), len(free), generator=generator).double() - 1
    face = torch.randint(len(free), (len(other),), generator=generator)
    share[torch.arange(len(other)), face] = 1.0
    away = other.clone()
    away[:, free] = (low + high) / 2 + 5 * share * (high - low) / 2
    assert (support(away) == 0).double().mean() > 0.99


def test_errors_name_the_argument() -> None:
    for wrong in (drawn(4, 2), drawn(NZ), drawn(0, NZ)):
        with pytest.raises(ValueError, match=r"z must have shape \(N, 3\) with N ≥ 1"):
            Support(NZ).cover(wrong)
    with pytest.raises(ValueError, match="z must be finite"):
        Support(NZ).cover(torch.full((2, NZ), torch.nan).double())
    with pytest.raises(ValueError, match="centres must be at least 1, got 0"):
        Supported(MLP(), centres=0)
    with pytest.raises(ValueError, match="must be a Residual without memory, got GRU"):
        Supported(GRU(4))
    with pytest.raises(ValueError, match="must be a Probabilistic, got MLP"):
        SupportedProbabilistic(MLP())
    with pytest.raises(ValueError, match="must be a Regressed, got Ensemble"):
        SupportedRegressed(Ensemble())


# -- the residual ---------------------------------------------------------------------------------


@each
def test_the_laws_of_residuals_hold(name: str) -> None:
    report = check_residual(RECIPES[name](), nz=NZ, nr=NR, points=4)
    assert report.holds, str(report)
    assert not [f for f in report.findings if f.outcome != "holds"]


def test_it_is_as_much_as_what_it_holds() -> None:
    kinds: list[tuple[Residual, type[Supported]]] = [
        (MLP(), Supported),
        (Ensemble(), SupportedProbabilistic),
        (LinearResidual(), SupportedRegressed),
    ]
    for residual, kind in kinds:
        made = Supported(residual)
        assert type(made) is kind
        assert type(copy.deepcopy(made)) is kind
        for what in (Probabilistic, Regressed):
            assert isinstance(made, what) == isinstance(residual, what)


@each
def test_on_the_data_it_is_the_residual_and_outside_it_is_nothing(name: str) -> None:
    residual, z = trained(name), drawn(200, NZ)
    inside = residual.residual(z)
    assert torch.equal(residual(z), inside)
    assert inside.abs().max() > 0
    far = 30 + 5 * z
    assert torch.equal(residual(far), torch.zeros(200, NR).double())
    slopes = torch.func.vmap(torch.func.jacrev(residual))(far)
    assert torch.equal(slopes, torch.zeros(200, NR, NZ).double())


@pytest.mark.parametrize("name", ["ensemble", "bounded"])
def test_outside_it_is_as_unknown_as_the_data_were_large(name: str) -> None:
    residual, z = trained(name), drawn(200, NZ)
    assert isinstance(residual, SupportedProbabilistic)
    square = torch.tensor([0.25, 9.0]).double()
    inner: Probabilistic = residual.residual
    assert torch.equal(residual.epistemic(z), inner.epistemic(z))
    near = residual.distribution(z[None])[1]
    assert torch.allclose(near, inner.distribution(z[None])[1], rtol=1e-6, atol=1e-6)
    far = 30 + 5 * z
    assert torch.equal(residual.epistemic(far), inner.epistemic(far) + square)
    noise = residual.distribution(far[None])[1].exp()
    assert (noise < 1e-11 * square).all()  # what is unknown is counted once
    assert torch.equal(residual.members(far[None]), torch.zeros_like(noise))
    half = between(residual.support)
    w = residual.support(half)
    sigma = inner.distribution(half[None])[1].exp()
    mixed = w**2 * sigma
    assert torch.allclose(residual.distribution(half[None])[1].exp(), mixed, rtol=1e-6)


@pytest.mark.parametrize("name", ["plain", "ensemble", "bounded", "gated"])
def test_both_bridges_agree_where_the_fade_is_under_way(name: str) -> None:
    residual = trained(name)
    z = between(residual.support)
    for module in (residual.support, residual):
        function = to_casadi(module, nz=NZ)
        w = drawn(len(z), function.size1_out(0))
        ours, theirs = eager_form(module)(z, w), casadi_form(function, [NZ])(z, w)
        for a, b, bar in zip(ours, theirs, (1e-12, 1e-10, 1e-8), strict=True):
            assert relative_gap(a, b).max() <= bar
    if isinstance(residual, SupportedProbabilistic):
        for view in (Distribution(residual), Epistemic(residual)):
            theirs = to_casadi(view).call([z[0].numpy()])
            ours = view(z[0]) if isinstance(view, Distribution) else (view(z[0]),)
            for a, b in zip(ours, theirs, strict=True):
                assert torch.allclose(a, torch.tensor(b.full()[:, 0]), rtol=1e-11)


def test_a_regressed_one_is_solved_on_its_support() -> None:
    residual, z = Supported(LinearResidual()).sized(NZ, NR), drawn(300, NZ)
    assert isinstance(residual, SupportedRegressed)
    r = z @ drawn(NZ, NR, seed=2)
    residual.standardize(z.mean(0), z.std(0), r.std(0))
    residual.solve(z, r)
    assert (residual(z) - r).abs().max() < 1e-3
    assert torch.equal(residual(100 * z[:1]), torch.zeros(1, NR).double())


@each
def test_float32_follows(name: str) -> None:
    residual, z = trained(name).to(torch.float32), drawn(5, NZ).float()
    assert residual(z).dtype == torch.float32
    assert torch.allclose(residual(z).double(), trained(name)(z.double()), rtol=1e-3, atol=1e-4)


def test_a_file_brings_back_what_is_nested(tmp_path: Path) -> None:
    recipe = Supported(Ensemble((6,), count=3, limit=0.5), centres=8)
    model = HybridModel(Pendulum(), recipe, dt=0.05)
    residual = model.residual
    assert isinstance(residual, SupportedProbabilistic)
    with torch.no_grad():
        for weight in residual.parameters():
            weight.copy_(drawn(*weight.shape))
    residual.cover(drawn(100, residual.nz or 0))
    save(model, tmp_path / "model")
    twin = load(tmp_path / "model").residual
    assert type(twin) is SupportedProbabilistic
    assert type(twin.residual) is Ensemble
    z = 2 * drawn(50, residual.nz or 0)
    assert torch.equal(twin(z), residual(z))
    assert torch.equal(twin.epistemic(z), residual.epistemic(z))


class Mine(MLP):
    """A residual of a caller's own."""


def test_a_foreign_class_inside_must_be_passed_in(tmp_path: Path) -> None:
    save(HybridModel(Pendulum(), Supported(Mine((4,))), dt=0.05), tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"'Mine' is not .*=Supported\(Mine\(…\)\)\)"):
        load(tmp_path / "model")
    twin = load(tmp_path / "model", residual=Supported(Mine((4,)))).residual
    assert isinstance(twin, Supported)
    assert type(twin.residual) is Mine
    with pytest.raises(CheckpointError, match="holds a residual Mine, got residual=MLP"):
        load(tmp_path / "model", residual=Supported(MLP((4,))))
