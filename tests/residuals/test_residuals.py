"""Laws of every residual: zero at first, scaled, bounded, sized without touching the recipe."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from residuals import MLP, Gated, Limit, Residual

NZ, NR = 3, 2
LAWS = settings(derandomize=True, deadline=None, max_examples=25)


def module() -> nn.Module:
    return nn.Sequential(nn.Linear(NZ, 4), nn.Tanh(), nn.Linear(4, NR))


# a new residual joins all laws by one line
RESIDUALS: dict[str, Callable[[], Residual]] = {
    "mlp": MLP,
    "deep": lambda: MLP((4, 5, 6), activation="softplus", seed=3),
    "affine": lambda: MLP(()),
    "relu": lambda: MLP((4,), activation="relu"),
    "bounded": lambda: MLP((4,), activation="silu", limit=[0.1, 0.5]),
    "gated": lambda: Gated(module(), nz=NZ, nr=NR),
}
each = pytest.mark.parametrize("name", RESIDUALS)


def sized(name: str) -> Residual:
    return RESIDUALS[name]().sized(NZ, NR)


def trained(name: str, size: float = 1.0) -> Residual:
    residual, generator = sized(name), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in residual.parameters():
            weight.copy_(size * torch.randn(weight.shape, generator=generator))
    return residual


def points(*batch: int) -> torch.Tensor:
    return torch.randn(*batch, NZ, generator=torch.Generator().manual_seed(1)).double()


@each
def test_exactly_zero_before_training_and_after_standardizing(name: str) -> None:
    residual = sized(name)
    assert torch.equal(residual(points(5)), torch.zeros(5, NR).double())
    residual.standardize(*(torch.full((n,), 1.7).double() for n in (NZ, NZ, NR)))
    assert torch.equal(residual(points(5)), torch.zeros(5, NR).double())


@each
def test_training_can_start(name: str) -> None:
    residual = sized(name)
    residual(points(5)).sum().backward()
    assert any(w.grad is not None and w.grad.abs().max() > 0 for w in residual.parameters())


@each
def test_any_leading_dims(name: str) -> None:
    residual, z = trained(name), points(4, 5)
    assert residual(z).shape == (4, 5, NR)
    assert torch.allclose(residual(z)[2, 3], residual(z[2, 3]), rtol=1e-13)


@each
def test_standardize_scales_the_input_and_the_output(name: str) -> None:
    residual, z = trained(name, 0.3), points(5)
    plain = residual(z)
    mean, spread = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([2.0, 0.1, 3.0]).double()
    residual.standardize(mean, spread, torch.ones(NR).double())
    assert torch.allclose(residual(z * spread + mean), plain, rtol=1e-10)
    if name != "bounded":
        scale = torch.tensor([0.5, 20.0]).double()
        residual.standardize(mean, spread, scale)
        assert torch.allclose(residual(z * spread + mean), plain * scale, rtol=1e-10)


@each
def test_its_config_is_json_and_makes_one_of_equal_shape(name: str) -> None:
    residual = trained(name)
    config = json.loads(json.dumps(residual.config()))
    if isinstance(residual, Gated):
        config["module"] = residual.module
    twin = type(residual)(**config)
    twin.load_state_dict(residual.state_dict())
    assert torch.equal(twin(points(5)), residual(points(5)))


@each
def test_sized_keeps_what_it_has_learned_and_shares_nothing(name: str) -> None:
    residual = trained(name)
    residual.standardize(*(torch.full((n,), 1.7).double() for n in (NZ, NZ, NR)))
    before = residual(points(5))
    twin = residual.sized(NZ, NR)
    assert torch.equal(twin(points(5)), before)
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            tensor.add_(1.0)
    assert torch.equal(residual(points(5)), before)
    with pytest.raises(ValueError, match=rf"maps {NZ} features to {NR} outputs; .* want 4 → {NR}"):
        residual.sized(4, NR)


@each
def test_float64_whatever_the_default(name: str) -> None:
    assert {w.dtype for w in sized(name).state_dict().values()} == {torch.float64}


def test_a_seed_fixes_the_weights_and_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, other = (MLP((4,), seed=s).sized(NZ, NR) for s in (1, 1, 2))
    assert torch.equal(first.chain[1].weight, again.chain[1].weight)
    assert not torch.equal(first.chain[1].weight, other.chain[1].weight)
    assert torch.equal(torch.get_rng_state(), state)


@LAWS
@given(size=st.floats(1e-3, 1e6), scale=st.floats(1e-3, 1e6))
def test_a_limit_is_never_exceeded(size: float, scale: float) -> None:
    residual = trained("bounded", size)
    residual.standardize(
        *(torch.zeros(NZ).double(), torch.ones(NZ).double(), torch.full((NR,), scale).double())
    )
    assert (residual(points(50)).abs() <= torch.tensor([0.1, 0.5]).double()).all()


def test_a_limit_has_slope_one_at_zero() -> None:
    limit = Limit([0.1, 5.0])
    assert torch.allclose(torch.func.jacrev(limit)(torch.zeros(2).double()), torch.eye(2).double())


def test_the_gate_copies_the_users_module() -> None:
    mine = module()
    gated = Gated(mine, nz=NZ, nr=NR)
    assert mine[0].weight.dtype == torch.float32
    gated.module[0].weight.data.zero_()
    assert mine[0].weight.abs().max() > 0


def test_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match=r"activation must be one of \['tanh', .*got 'cosine'"):
        MLP(activation="cosine")
    with pytest.raises(ValueError, match=r"hidden must hold widths of at least 1, got \(4, 0\)"):
        MLP((4, 0))
    for limit in (0.0, -1.0, [1.0], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="limit must be positive, one number or 2"):
            MLP(limit=limit).sized(NZ, NR)
    with pytest.raises(ValueError, match=r"wanted a map \(2, 3\) → \(2, 5\), got shape \(2, 2\)"):
        Gated(module(), nz=NZ, nr=5)
    with pytest.raises(ValueError, match=r"the module takes no \(2, 4\) input"):
        Gated(module(), nz=4, nr=NR)
