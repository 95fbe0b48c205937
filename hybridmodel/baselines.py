"""The four rows that every comparison shows, fitted on the same logs with the same loss.

    physics     the nominal system
    identified  its declared parameters fitted, no residual; the best of several starts
    network     no physics but q̇ = v: next-state differences, the best of a sweep of step sizes
    hybrid      identified physics and a residual, fitted together

Network and hybrid have the same width, features, loss, epochs and data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hybridmodel import placement as placements
from hybridmodel.data import Dataset
from hybridmodel.fitting import FitResult, Progress, fit, identify
from hybridmodel.model import HybridModel
from hybridmodel.placement import Placement
from physics import System, Trivial
from residuals import MLP, Residual

ROWS = ("physics", "identified", "network", "hybrid")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the rows are fitted.

    fit_parameters  physical parameters that identified and hybrid may move
    features        what hybrid and network see; None is all
    placement, hidden, hold   of the hybrid's residual
    horizons, epochs, rate, stride   of `fit`, see there
    residual_penalty   λ, of hybrid and network alike
    sweep           step sizes tried for the network
    starts, identify_horizon   of the identification; None is the longest of `horizons`, and
                    fewer steps where free runs soon part from the plant
    substeps        of the physics in one step
    """

    fit_parameters: tuple[str, ...]
    features: tuple[str, ...] | None = None
    placement: Placement = placements.acceleration
    hidden: tuple[int, ...] = (32, 32)
    hold: bool = True
    horizons: tuple[int, ...] = (1, 5, 20)
    epochs: tuple[int, ...] = (20, 40, 90)
    rate: float = 1e-2
    residual_penalty: float = 1e-4
    sweep: tuple[float, ...] = (5e-3, 1e-2, 2e-2)
    stride: int | tuple[int, ...] = 1
    starts: int = 5
    identify_horizon: int | None = None
    substeps: int = 1


def physics_row(system: System, dt: float, recipe: Recipe) -> HybridModel:
    """The nominal system as it is."""
    return HybridModel(system, dt=dt, substeps=recipe.substeps)


def identified_row(
    system: System,
    train: Dataset,
    validation: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> FitResult:
    """The declared parameters alone, by Levenberg–Marquardt from several starts."""
    model = HybridModel(
        system,
        dt=train.dt,
        substeps=recipe.substeps,
        fit_parameters=recipe.fit_parameters,
    )
    stride = recipe.stride if isinstance(recipe.stride, int) else recipe.stride[-1]
    return identify(
        model,
        train,
        validation,
        horizon=recipe.identify_horizon or recipe.horizons[-1],
        starts=recipe.starts,
        stride=4 * stride,
        seed=seed,
        progress=progress,
    )


def hybrid_row(
    identified: HybridModel,
    train: Dataset,
    validation: Dataset,
    recipe: Recipe,
    *,
    residual: Residual | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> FitResult:
    """Identified physics and a residual, an MLP unless another is given, fitted together."""
    model = HybridModel(
        identified.system,
        MLP(recipe.hidden, seed=seed) if residual is None else residual,
        dt=identified.dt,
        substeps=recipe.substeps,
        placement=recipe.placement,
        fit_parameters=recipe.fit_parameters,
        hold=recipe.hold,
        features=recipe.features,
    )
    return _fit(model, train, validation, recipe, recipe.rate, seed, progress)


def network_row(
    system: System,
    train: Dataset,
    validation: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[FitResult, Mapping[float, float]]:
    """A network alone, and the validation error of every step size of the sweep."""
    model = HybridModel(
        Trivial.like(system),
        MLP(recipe.hidden, seed=seed),
        dt=train.dt,
        placement=placements.next_state,
        features=recipe.features,
    )
    results = {
        rate: _fit(model, train, validation, recipe, rate, seed, progress) for rate in recipe.sweep
    }
    best = min(results.values(), key=lambda result: result.validation)
    return best, {rate: result.validation for rate, result in results.items()}


def _fit(
    model: HybridModel,
    train: Dataset,
    validation: Dataset,
    recipe: Recipe,
    rate: float,
    seed: int,
    progress: Progress | None,
) -> FitResult:
    return fit(
        model,
        train,
        validation,
        horizons=recipe.horizons,
        epochs=recipe.epochs,
        rate=rate,
        stride=recipe.stride,
        residual_penalty=recipe.residual_penalty,
        seed=seed,
        progress=progress,
    )
