"""Parameters and residual in one least-squares fit, with the standard errors of the parameters.

    min over ϑ, w, x₀ᵢ of  Σ_i Σ_k ‖(ŷ_ik(ϑ, w, x₀ᵢ) ⊟ y_ik) / σ‖² + ‖P w‖²

ŷ_i is the free run of window i from its own unknown x₀ᵢ, k = 0 … H; σ the noise of each output,
found with the rest; P the price of the residual (`residual_prior`). With white measurement noise
and a plant inside the class this is maximum likelihood (output error), and the inverse of the
information is the covariance of ϑ̂. Gauss–Newton, x₀ᵢ eliminated window by window.

What is estimated. A parameter is identified from what the residual cannot do. Where the residual
could do all that a parameter does, ϑ̂ is the value at which the residual is smallest, and this is
the true one only where the unknown effect is orthogonal to what the parameter does, in the mean
that P is made of. The interval then holds for the value at the smallest residual, not for the
truth. Take features and placement that cannot mimic the parameters of interest.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybridmodel.batches import batch
from hybridmodel.data import Dataset
from hybridmodel.fitting import standardized
from hybridmodel.identification.information import Information, assembled
from hybridmodel.identification.least_squares import (
    deviation,
    deviations_given,
    minimum_norm,
    reduce,
    triangular,
)
from hybridmodel.identification.one_step import Reference
from hybridmodel.identification.prior import residual_prior
from hybridmodel.identification.sensitivity import Predictor
from hybridmodel.identification.weights import Tangent, Weights
from hybridmodel.model import HybridModel

_SHARES = (1.0, 0.5, 0.25, 0.06, 0.01)  # of a step, the best is taken


@dataclass(frozen=True, eq=False)
class JointFit:
    """A fitted model and how well its parameters are known.

    model          its system holds the fitted parameters
    information    of the parameters, residual and initial states projected out
    cost           mean of ((ŷ − y)/σ)², near 1 − (numbers fitted)/(numbers measured) at the optimum
    objective      the whole sum that was minimised
    initial_states (N, n) estimated, of the windows
    converged      whether the last step was negligible
    iterations     over all stages
    """

    model: HybridModel
    information: Information
    cost: float
    objective: float
    initial_states: NDArray[np.float64]
    converged: bool
    iterations: int


def fit_jointly(
    model: HybridModel,
    data: Dataset,
    *,
    horizons: Sequence[int] = (10, 50),
    iterations: int = 15,
    noise: float | NDArray[np.float64] | None = None,
    residual_deviation: float = 3.0,
    reference: Reference = "data",
    tangent: Tangent = "last",
    tolerance: float = 1e-2,
) -> JointFit:
    """Fit declared parameters, residual weights and initial states of a copy of `model` at once.

    horizons   H of each stage, increasing; each starts from the last one's result. Windows do not
               overlap; steps left over at the end of a log are not used
    iterations at most, of each stage
    noise      standard deviation of each output; None estimates it
    residual_deviation   root mean square of r that the prior expects, in units of the r that
               explains single steps: large is a cheap residual
    reference  where r is measured: "data" or "marginals", see `residual_prior`
    tangent    weights that move: of the last layer (fast, r is linear in them), or all
    tolerance  a stage ends where a step promises less than this decrease of the cost

    Raises ValueError naming the argument.
    """
    model = standardized(model, data)
    weights = Weights(model, tangent)
    prior = model.theta.new_zeros(0, 0)
    if len(weights):
        prior, _ = residual_prior(
            model, data, weights, deviation=residual_deviation, reference=reference
        )
    return solve(
        model,
        data,
        weights,
        prior,
        horizons=horizons,
        iterations=iterations,
        noise=noise,
        tolerance=tolerance,
    )


def solve(
    model: HybridModel,
    data: Dataset,
    weights: Weights,
    prior: Tensor,
    *,
    horizons: Sequence[int],
    iterations: int = 15,
    noise: float | NDArray[np.float64] | None = None,
    tolerance: float = 1e-2,
    held: Sequence[str] = (),
) -> JointFit:
    """`fit_jointly` under a prior P (k, nw) that is given; parameters `held` stay as they are."""
    horizons = tuple(horizons)
    if not horizons or min(horizons) < 1 or list(horizons) != sorted(set(horizons)):
        raise ValueError(f"horizons must increase from at least 1, got {horizons}")
    if iterations < 1 or not tolerance > 0:
        raise ValueError(f"iterations must be at least 1 and tolerance positive, got {iterations}")
    theta, w = model.theta.detach().clone(), weights.value
    free = torch.tensor([name not in held for name in model.fit_parameters]).to(theta)
    if not len(theta) + len(w):
        raise ValueError("model has nothing to fit: no residual and no fit_parameters")
    taken, converged, sigma, objective = 0, False, None, 0.0
    windows, found, x0 = None, None, theta
    for horizon in horizons:
        windows = batch(model, data, horizon, stride=horizon + 1, start="guessed")
        predictor = Predictor(model, windows, weights, first=True)
        x0 = windows.start
        found = predictor.sensitivities(theta, w, x0, initial=True).scaled(free)
        channels = int(found.channel.max()) + 1
        if not torch.isfinite(found.error).all():
            raise ValueError(f"horizons: {horizon} steps diverge; begin with fewer")
        if noise is not None:
            sigma = deviations_given(noise, channels, theta)
        elif sigma is None:
            sigma = found.error.square().mean(0).reshape(-1, channels).mean(0).sqrt() + 1e-12
        converged = False
        for _ in range(iterations):
            taken += 1
            reduced = reduce(found, sigma)
            R, b = triangular(reduced, prior, w)
            step = minimum_norm(R, b)
            if noise is None:
                sigma = deviation(found, reduced, R, step, sigma)
                reduced = reduce(found, sigma)
                R, b = triangular(reduced, prior, w)
                step = minimum_norm(R, b)
            unit = sigma[found.channel]
            moved = torch.cat([found.theta, found.weights], -1) / unit[:, None] @ step
            delta = -(reduced.inverse @ (found.error / unit + moved)[..., None])[..., 0]
            step = _within_reach(step, len(theta))
            shares = theta.new_tensor((0.0, *_SHARES))
            thetas = theta + shares[:, None] * step[: len(theta)]
            ws = w + shares[:, None] * step[len(theta) :]
            starts = predictor.moved(x0[None], shares[:, None, None] * delta)
            costs = (predictor.errors(thetas, ws, starts) / unit).square().sum((1, 2))
            costs = costs + (ws @ prior.T).square().sum(1)
            costs = torch.nan_to_num(costs, nan=torch.inf)
            k = int(costs.argmin())
            theta, w, x0, objective = thetas[k], ws[k], starts[k], float(costs[k])
            found = predictor.sensitivities(theta, w, x0, initial=True).scaled(free)
            # of the cost's own size, and of its statistical size, which is one per unknown
            if float(costs[0] - costs[k]) < tolerance * max(1.0, 1e-3 * float(costs[0])):
                converged = True
                break
    assert sigma is not None
    assert found is not None
    assert windows is not None
    reduced = reduce(found, sigma)
    R, b = triangular(reduced, prior, w)
    if noise is None:
        step = minimum_norm(R, b)
        sigma = deviation(found, reduced, R, step, sigma)
        R, _ = triangular(reduce(found, sigma), prior, w)
    fitted = copy.deepcopy(model)
    weights.write(fitted, w)
    fitted.theta.data.copy_(theta)
    about = assembled(fitted, theta, R.T @ R, sigma, len(windows))
    settled = fitted.eval().rebuilt(fitted.system.with_parameters(**fitted.parameter_values()))
    cost = float((found.error / sigma[found.channel]).square().mean())
    return JointFit(settled, about, cost, objective, x0.cpu().numpy(), converged, taken)


def _within_reach(step: Tensor, n: int) -> Tensor:
    """A step of ϑ by more than 1, a factor e, is shortened as a whole."""
    longest = float(step[:n].abs().max()) if n else 0.0
    return step / max(1.0, longest)
