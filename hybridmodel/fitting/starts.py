"""Where windows begin when logs are noisy or do not tell the whole state.

    x̂₀ = argmin Σ_k ‖(ŷ_k(x₀) ⊟ y_k)/σ‖² + ‖(x₀ ⊟ x̄₀)/ς‖²

Multiple shooting with its starts eliminated: Gauss–Newton for all windows at once, at the
parameters as they are (Bock 1983). x̄₀ is what the log tells, ς its deviation: σ where the state
is measured, wide where it is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from hybridmodel.batches import Batch, outputs
from hybridmodel.data import Dataset
from hybridmodel.deviation import deviations
from hybridmodel.model import HybridModel
from physics import tangent

STEP = 1e-5  # of a state's prior deviation, for central differences


def estimated(
    model: HybridModel,
    windows: Batch,
    noise: Tensor,
    prior: Tensor,
    *,
    p: Tensor | None = None,
    iterations: int = 2,
) -> Tensor:
    """x̂₀ (N, n) of each window; noise σ and prior ς are deviations of tangent rows."""
    with torch.no_grad():
        start, moved = windows.start, torch.zeros_like(windows.start[..., : len(prior)])
        size = STEP * prior
        directions = torch.diag(size)
        for _ in range(iterations):
            here = model.state_retract(start, moved)

            def seen(shift: Tensor, here: Tensor = here) -> Tensor:
                y = outputs(model, windows.starting(model.state_retract(here, shift)), p)
                return (model.output_difference(y, windows.y) / noise).flatten(-2)

            error = seen(torch.zeros_like(moved))
            slope = torch.stack(
                [
                    (seen(row.expand_as(moved)) - seen(-row.expand_as(moved))) / 2
                    for row in directions
                ],
                -1,
            )  # (N, samples, n) per STEP of the prior
            slope = torch.nan_to_num(slope / STEP, posinf=0.0, neginf=0.0)
            error = torch.nan_to_num(error, posinf=0.0, neginf=0.0)
            normal = slope.mT @ slope + torch.eye(len(prior), dtype=slope.dtype)
            right = slope.mT @ error[..., None] + (moved / prior)[..., None]
            moved = moved - prior * torch.linalg.solve(normal, right)[..., 0]
        return model.state_retract(start, moved)


def prior_deviation(model: HybridModel, noise: Tensor, spread: Tensor) -> Tensor:
    """ς (tangent rows of x): σ of a measured state, and otherwise as wide as its range.

    spread is the deviation of states over the data where known, 1 elsewhere.
    """
    outputs_of = {s.name: i for i, s in enumerate(tangent.signals(model.system.outputs))}
    rows = [
        noise[outputs_of[s.name]] if s.name in outputs_of else spread[i]
        for i, s in enumerate(tangent.signals(model.system.states))
    ]
    return torch.stack(rows)


def check_noise(model: HybridModel, noise: Mapping[str, float] | None) -> list[str]:
    """Names of the tangent rows of outputs; ValueError for a noise that names none of them."""
    names = [s.name for s in tangent.signals(model.system.outputs)]
    if unknown := [name for name in noise or () if name not in names]:
        raise ValueError(f"noise: no output {unknown[0]!r}; outputs are {names}")
    for name, value in (noise or {}).items():
        if not value > 0:
            raise ValueError(f"noise of {name!r} must be positive, got {value}")
    return names


class Starts:
    """Windows with their starts estimated at a model's present parameters."""

    def __init__(
        self,
        model: HybridModel,
        train: Dataset,
        scale: Tensor,
        noise: Mapping[str, float] | None,
    ) -> None:
        names = check_noise(model, noise)
        self.noise = 0.05 * scale
        for name, value in (noise or {}).items():
            self.noise[names.index(name)] = value
        spread = torch.ones_like(model.noise)
        logged = [log.x for log in train if log.x is not None]
        if logged:
            states = np.concatenate(logged)
            known = np.std(deviations(model.system.states, states), axis=0)
            spread = torch.as_tensor(np.where(known > 1e-9, known, 1.0)).to(spread)
        self.prior = prior_deviation(model, self.noise, spread)

    def __call__(self, model: HybridModel, windows: Batch, p: Tensor | None = None) -> Batch:
        return windows.starting(estimated(model, windows, self.noise, self.prior, p=p))
