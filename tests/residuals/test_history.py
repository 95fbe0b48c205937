"""Laws of residuals with memory: what they remember, and how memory starts and is exported."""

from __future__ import annotations

from collections.abc import Callable

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel.bridges.torch_to_casadi import to_casadi
from hybridmodel.laws import check_residual
from residuals import GRU, Recurrent, Window

NZ, NR = 3, 2
RECURRENT: dict[str, Callable[[], Recurrent]] = {
    "window": lambda: Window((6,), steps=4),
    "one row": lambda: Window((), steps=1, limit=0.5),
    "gru": lambda: GRU(5, warmup=30),
    "affine head": lambda: GRU(4, hidden=(), limit=[0.5, 1.0], warmup=3),
}
each = pytest.mark.parametrize("name", RECURRENT)


def trained(name: str) -> Recurrent:
    residual, generator = RECURRENT[name]().sized(NZ, NR), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in residual.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    mean, scale = torch.tensor([[1.0, -2.0, 0.5], [2.0, 0.1, 3.0]]).double()
    residual.standardize(mean, scale, torch.tensor([0.5, 20.0]).double())
    return residual


def rows(*shape: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@each
def test_it_passes_the_public_check(name: str) -> None:
    report = check_residual(RECURRENT[name](), nz=NZ, nr=NR, points=4)
    assert not report.failures, str(report)


@pytest.mark.parametrize("name", ["window", "one row", "gru"])
def test_a_row_more_of_history_is_a_step_more(name: str) -> None:
    residual, past = RECURRENT[name]().sized(NZ, NR), rows(7, 41, NZ)
    n = residual.memory_steps
    before, after = (residual.initial_memory(past[:, k : k + n]) for k in (0, 1))
    _, following = residual(past[:, n], before)
    bar = 1e-4 if name == "gru" else 1e-15  # what came before the warm-up is nearly forgotten
    assert (following - after).abs().max() < bar


@each
def test_a_held_past_is_one_row_repeated(name: str) -> None:
    residual, z = trained(name), rows(5, NZ)
    m = torch.zeros(5, residual.nm).double()
    for _ in range(residual.memory_steps):
        _, m = residual(z, m)
    held = z[:, None].expand(5, residual.memory_steps, NZ)
    torch.testing.assert_close(residual.initial_memory(held), m, rtol=1e-13, atol=1e-13)


def test_a_window_holds_the_last_rows_in_standard_units_oldest_first() -> None:
    residual, past = trained("window"), rows(4, NZ)
    m = residual.initial_memory(past)
    x = (past - residual.input.mean) / residual.input.scale
    assert torch.equal(m.reshape(4, NZ), x)
    _, following = residual(past[0], m)
    assert torch.equal(following.reshape(4, NZ), x[[1, 2, 3, 0]])


def test_what_left_the_window_has_no_effect() -> None:
    residual, past, other = trained("window"), rows(9, NZ), rows(9, NZ, seed=2)
    other[-4:] = past[-4:]
    outputs = []
    for history in (past, other):
        m = residual.initial_memory(history[:4])
        for z in history[4:]:
            _, m = residual(z, m)
        outputs.append(residual(past[0], m)[0])
    assert torch.equal(*outputs)


def test_a_gru_is_torchs_cell() -> None:
    residual, z, h = trained("gru"), rows(6, NZ), rows(6, 5, seed=2)
    x = (z - residual.input.mean) / residual.input.scale
    torch.testing.assert_close(residual(z, h)[1], residual.cell(x, h), rtol=1e-13, atol=1e-15)


@each
def test_a_rollout_is_the_same_in_casadi(name: str) -> None:
    residual, z = trained(name).eval(), rows(12, NZ)
    function = to_casadi(residual)
    assert (function.name_in(), function.name_out()) == (["z", "m"], ["r", "m_next"])
    m = residual.initial_memory(z[:1].expand(residual.memory_steps, NZ))
    theirs = ca.DM(m.detach().numpy())
    for row in z:
        r, m = residual(row, m)
        mine, theirs = function(row.numpy(), theirs)
        assert np.abs(mine.full()[:, 0] - r.detach().numpy()).max() < 1e-12
    assert np.abs(theirs.full()[:, 0] - m.detach().numpy()).max() < 1e-12


@each
def test_gradients_reach_through_the_memory(name: str) -> None:
    residual, past = trained(name), rows(31, NZ).requires_grad_()
    n = residual.memory_steps
    r, _ = residual(past[-1], residual.initial_memory(past[-1 - n : -1]))
    (slope,) = torch.autograd.grad(r.sum(), past)
    assert slope[-2].abs().max() > 0


@each
def test_memory_is_learned_from(name: str) -> None:
    """r = (z₋₁, 0) cannot be told from z alone, since rows of z are independent."""
    residual, z = RECURRENT[name]().sized(NZ, NR), rows(300, NZ)
    goal = torch.zeros(299, NR).double()
    goal[:, 0] = 0.3 * z[:-1, 0]
    optimizer = torch.optim.Adam(residual.parameters(), 0.02)
    m = residual.initial_memory(z[:1].expand(residual.memory_steps, NZ))
    for _ in range(60):
        optimizer.zero_grad()
        windows = z.unfold(0, 2, 1).mT  # (299, 2, NZ): two rows each
        memory = m.detach().expand(299, -1)
        _, memory = residual(windows[:, 0], memory)
        r, _ = residual(windows[:, 1], memory)
        loss = (r - goal).square().mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3 * float(goal.square().mean())


@each
def test_a_past_of_another_length_is_refused(name: str) -> None:
    residual = trained(name)
    n = residual.memory_steps
    with pytest.raises(ValueError, match=rf"past_z must be \(…, {n}, 3\), got \({n + 1}, 3\)"):
        residual.initial_memory(rows(n + 1, NZ))


def test_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        Window(steps=0)
    with pytest.raises(ValueError, match="hidden_size must be at least 1, got 0"):
        GRU(0)
    with pytest.raises(ValueError, match="warmup must be at least 1, got 0"):
        GRU(warmup=0)
    with pytest.raises(ValueError, match="activation must be one of"):
        Window(activation="cosine")
    with pytest.raises(ValueError, match="maps 3 features to 2 outputs"):
        trained("gru").sized(4, 2)
