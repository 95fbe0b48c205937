"""What logs say about the declared parameters, and what they cannot say.

    I = S̃ᵀ W S̃ − S̃ᵀ W J̃ (J̃ᵀ W J̃ + Λ)⁻¹ J̃ᵀ W S̃,    W = diag σ⁻²

S = ∂ŷ/∂ϑ and J = ∂ŷ/∂w over windows, the tilde: unknown initial states projected out. What the
residual could explain as well is no information about ϑ. ϑ is relative (`physics.parameter`), so
that the eigenvalues of I have no units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybridmodel.batches import Start, batch
from hybridmodel.data import Dataset
from hybridmodel.identification import clusters
from hybridmodel.identification.directions import Direction, directions
from hybridmodel.identification.least_squares import (
    deviation,
    deviations_given,
    minimum_norm,
    reduce,
    triangular,
)
from hybridmodel.identification.prior import residual_prior
from hybridmodel.identification.sensitivity import Predictor
from hybridmodel.identification.weights import Tangent, Weights
from hybridmodel.model import HybridModel

Array = NDArray[np.float64]

RANK = 1e-9  # eigenvalues below this share of the largest are zero: differences are good to 1e-9
IDENTIFIABLE, WEAK = 0.05, 0.5  # relative standard errors that part the verdicts


@dataclass(frozen=True)
class Information:
    """Fisher information of the declared parameters, and what follows from it.

    names, units, values   (np,) of the parameters
    matrix       (np, np) information of ϑ, in units of ϑ⁻²
    covariance   (np, np) of ϑ̂; inf where a parameter is part of what nothing sees
    noise        (ny,) standard deviation of each output
    constrain    ϑ ↦ p, for intervals
    slope        (np,) dp/dϑ
    windows      how many
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: Array
    matrix: Array
    covariance: Array
    noise: Array
    slope: Array
    windows: int
    theta: Array
    constrain: Callable[[Array], Array] = field(repr=False, compare=False)

    @cached_property
    def _spectrum(self) -> tuple[Array, Array]:
        return np.linalg.eigh(self.matrix)

    @property
    def rank(self) -> int:
        """How many combinations of parameters the log sees at all."""
        order = self._spectrum[0]
        return int((order > RANK * max(order.max(initial=0.0), 1e-300)).sum())

    @property
    def relative_errors(self) -> Array:
        """(np,) standard errors of ϑ: of a positive parameter its relative error."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def standard_errors(self) -> Array:
        """(np,) in the units of p."""
        return self.relative_errors * np.abs(self.slope)

    def intervals(self, level: float = 0.95) -> Array:
        """(np, 2) bounds of p, symmetric in ϑ, so that they stay in each parameter's domain."""
        if not 0 < level < 1:
            raise ValueError(f"level must be within 0 … 1, got {level}")
        reach = NormalDist().inv_cdf((1 + level) / 2) * self.relative_errors
        reach = np.minimum(reach, 30.0)  # e³⁰: as good as unbounded
        ends = [np.asarray(self.constrain(self.theta + s * reach)) for s in (-1, 1)]
        return np.sort(np.stack(ends, -1), -1)

    @property
    def correlation(self) -> Array:
        """(np, np), nan where a standard error is infinite."""
        s = self.relative_errors
        with np.errstate(invalid="ignore"):
            return self.covariance / np.outer(s, s)

    @property
    def unidentifiable(self) -> tuple[Direction, ...]:
        """Moves of the parameters that the log does not tell, worst first: those that nothing
        sees, and those that are known to no better than a factor of about e^½."""
        order, vectors = self._spectrum
        return directions(self.names, self.matrix, self.rank, order, vectors, WEAK)

    def verdict(self, name: str) -> Literal["identifiable", "weak", "not"]:
        """By its relative standard error: up to 5 %, up to 50 %, more."""
        if name not in self.names:
            raise ValueError(f"no parameter {name!r}; parameters are {list(self.names)}")
        error = self.relative_errors[self.names.index(name)]
        return "identifiable" if error <= IDENTIFIABLE else "weak" if error <= WEAK else "not"

    def table(self) -> str:
        """All of it as plain text, one row a parameter."""
        wide = max((len(n) for n in self.names), default=0)
        lines = []
        for k, name in enumerate(self.names):
            error = 100 * self.relative_errors[k]
            shown = f"± {error:.3g} %" if np.isfinite(error) else "± ∞"
            value = f"{self.values[k]:.5g} {self.units[k]}".strip()
            lines.append(f"{name:<{wide}}  {value:<20} {shown:>12}  {self.verdict(name)}")
        lines += [f"unidentifiable: {direction}" for direction in self.unidentifiable]
        return "\n".join(lines)


def information(
    model: HybridModel,
    data: Dataset,
    *,
    horizon: int = 25,
    stride: int | None = None,
    noise: float | Array | None = None,
    residual: Literal["project", "fixed", "none"] = "project",
    initial: Literal["estimated", "measured"] = "estimated",
    tangent: Tangent = "last",
    residual_deviation: float = 1.0,
) -> Information:
    """Fisher information of `model.fit_parameters` at their present values.

    noise      standard deviation of each output (ny,); None takes it from what is left of the
               errors after the linear step that explains them best
    residual   "project": what it could explain as well is no information; "fixed": it is known
               exactly; "none": the physics alone
    initial    "estimated": the state at the start of each window is unknown, and its sample a
               measurement like any other. Windows do not overlap, errors are white, and the
               covariance is the inverse of the information.
               "measured": windows start from the log, as `identify` does. Their errors share the
               noise of the first sample, and overlapping windows share more, so that the
               covariance is a sandwich with scores summed over blocks of neighbouring windows.
               It leaves out that noise in the first sample also biases ϑ̂.
    tangent    weights that stand for the residual: of the last layer, or all
    residual_deviation   the prior's root mean square of r, in units of the r that explains single
               steps

    Raises ValueError naming the argument.
    """
    if not model.fit_parameters:
        raise ValueError("model.fit_parameters is empty: declare what is to be identified")
    for name, value, known in (
        ("residual", residual, ("project", "fixed", "none")),
        ("initial", initial, ("estimated", "measured")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")
    estimated = initial == "estimated"
    if stride is None:
        stride = horizon + 1 if estimated else max(1, horizon // 2)
    if estimated and stride <= horizon:
        raise ValueError(f"stride must exceed horizon {horizon} where initial='estimated'")
    if residual == "none" and model.residual is not None:
        model = without_residual(model)
    begin: Start = "guessed" if estimated else "measured"
    windows = batch(model, data, horizon, stride=stride, start=begin)
    weights = Weights(model, tangent)
    projected = residual == "project" and len(weights) > 0
    theta = model.theta.detach()
    predictor = Predictor(model, windows, weights, first=estimated)
    found = predictor.sensitivities(theta, weights.value, windows.start, initial=estimated)
    if not torch.isfinite(found.error).all():
        raise ValueError(f"horizon: {horizon} steps diverge; give fewer")
    if not projected:
        found = found.without_weights()
        prior, value = theta.new_zeros(0, 0), theta.new_zeros(0)
    else:
        prior, value = residual_prior(model, data, weights, deviation=residual_deviation)
    channels = int(found.channel.max()) + 1
    if noise is None:
        sigma = found.error.square().mean(0).reshape(-1, channels).mean(0).sqrt().clamp(min=1e-12)
        for _ in range(3):  # weights follow the noise, the noise follows the weights
            reduced = reduce(found, sigma)
            R, b = triangular(reduced, prior, value)
            step = minimum_norm(R, b)
            sigma = deviation(found, reduced, R, step, sigma)
    else:
        sigma = deviations_given(noise, channels, theta)
    reduced = reduce(found, sigma)
    R, _ = triangular(reduced, prior, value)
    gram = R.T @ R
    covariance = None
    if not estimated and noise is None:
        label = clusters.labels(windows.log.cpu().numpy(), horizon, stride)
        covariance = clusters.sandwich(reduced, gram, len(theta), label)
    return assembled(model, theta, gram, sigma, len(windows), covariance)


def assembled(
    model: HybridModel,
    theta: Tensor,
    gram: Tensor,
    sigma: Tensor,
    windows: int,
    covariance: Array | None = None,
) -> Information:
    """Information from the Gram matrix (np + nw, np + nw), the weights eliminated."""
    n = len(theta)
    fisher = eliminated(gram, n).cpu().numpy()
    order, vectors = np.linalg.eigh(fisher)
    seen = order > RANK * max(order.max(initial=0.0), 1e-300)
    plain = (vectors[:, seen] / order[seen]) @ vectors[:, seen].T
    covariance = plain if covariance is None else covariance
    # a parameter that takes part in a move that nothing sees is not known at all
    lost = (vectors[:, ~seen] ** 2).sum(1) > 1e-6
    covariance = np.where(np.diag(lost), np.inf, covariance)
    equations = model.torch_equations

    def constrain(theta: Array) -> Array:
        with torch.no_grad():
            return equations.constrain(torch.as_tensor(theta).to(model.theta)).cpu().numpy()

    here = theta.cpu().numpy()
    h = 1e-6 * np.eye(n)
    slope = np.array(
        [(constrain(here + e) - constrain(here - e))[k] / 2e-6 for k, e in enumerate(h)]
    )
    known = model.system.parameters
    return Information(
        names=tuple(model.fit_parameters),
        units=tuple(known[name].unit for name in model.fit_parameters),
        values=constrain(here),
        matrix=fisher,
        covariance=covariance,
        noise=sigma.cpu().numpy(),
        slope=slope,
        windows=windows,
        theta=here,
        constrain=constrain,
    )


def eliminated(gram: Tensor, n: int) -> Tensor:
    """The first n of Gram matrices (…, np + nw, np + nw), all others eliminated (Schur)."""
    matrix = gram[..., :n, :n]
    if gram.shape[-1] > n:
        cross, block = gram[..., :n, n:], gram[..., n:, n:]
        inverse = torch.linalg.pinv(block, rtol=1e-13, hermitian=True)
        matrix = matrix - cross @ inverse @ cross.mT
    return (matrix + matrix.mT) / 2


def without_residual(model: HybridModel) -> HybridModel:
    """The physics alone, at the model's parameters."""
    return HybridModel(
        model.system.with_parameters(**model.parameter_values()),
        dt=model.dt,
        fit_parameters=model.fit_parameters,
        integrator=model.integrator,
        substeps=model.substeps,
    ).to(model.theta)
