"""Whatever a model is made of, the fused kernel gives what torch gives, or says why it cannot."""

from __future__ import annotations

import pytest
import torch

from hybridmodel import HybridModel
from hybridmodel.rollouts import served

H = 3


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    """Relative to the size of all numbers; NaN where the other is NaN."""
    assert ours.shape == theirs.shape
    if not theirs.numel():
        return
    size = theirs[torch.isfinite(theirs)].abs().max() if torch.isfinite(theirs).any() else 1.0
    gap = (ours - theirs).abs() / max(float(size), 1.0)
    assert torch.equal(torch.isnan(ours), torch.isnan(theirs))
    assert float(torch.nan_to_num(gap).max()) <= tolerance


def leaves(model: HybridModel) -> list[torch.Tensor]:
    own = [] if model.residual is None else model.residual.parameters()
    return [model.theta, *(weight for weight in own if weight.requires_grad)]


def test_values_and_gradients_are_those_of_torch(case) -> None:
    model = case.trained
    kernel = served(model).kernel(torch.float64)
    if isinstance(kernel, str):
        assert case.system_name == "fan", kernel  # a table that has no scalar form
        return
    x0, _, _ = case.draw(5)
    _, u, d = case.draw(5, H, seed=1)
    # a reverse sweep compiles longest: in every test run those of a third of the rows
    sloped = case.planner_name == "cem"
    inputs = [v.requires_grad_(sloped) for v in (x0, u, d) if v.shape[-1]] + leaves(model)
    weights = torch.randn(5, H + 1, case.nx, generator=torch.Generator().manual_seed(2)).double()
    found = []
    for backend in ("kernel", "torch"):
        model.backend = backend
        try:
            x = model.rollout(x0, u, d)
            total = (weights * x).sum()
            slopes = torch.autograd.grad(total, inputs, allow_unused=True) if sloped else ()
        finally:
            model.backend = "auto"
        found.append((x.detach(), slopes))
    (ours, our_slopes), (theirs, their_slopes) = found
    close(ours, theirs, 1e-12)
    for slope, other, of in zip(our_slopes, their_slopes, inputs, strict=False):
        nothing = torch.zeros_like(of)  # what does not depend on a weight has no slope in it
        close(nothing if slope is None else slope, nothing if other is None else other, 1e-9)


@pytest.mark.slow
def test_float32_agrees_to_its_own_rounding(case) -> None:
    model = case.trained
    kernel = served(model).kernel(torch.float32)
    if isinstance(kernel, str):
        return
    x0, _, _ = case.draw(5)
    _, u, d = case.draw(5, H, seed=1)
    run, weights = kernel
    p = model.physical().detach()[None].float()
    ours = run(x0.float(), u.float(), p, d.float(), weights.detach())
    theirs = model.rollout_with(model.network(), x0, u, d, p=model.physical()).detach()
    width = (theirs.amax((0, 1)) - theirs.amin((0, 1))).clamp(min=1.0)
    assert float(((ours - theirs).abs() / width).max()) <= 1e-4
