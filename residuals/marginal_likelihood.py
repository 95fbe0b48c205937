"""Hyperparameters of a Gaussian process by the largest marginal likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

NEAR = 1e-12  # keeps the slope of d = √(d² + this) finite where two points meet
# logarithms of a and σ in units of the root mean square of y, and of ℓ
_LOW, _HIGH = (-7.0, -7.0, -5.0), (math.log(5), 1.0, 7.0)


def squared_exponential(squares: Tensor) -> Tensor:
    """e^(−d²/2) of d² (Rasmussen & Williams 2006, eq. 4.9)."""
    return (-squares / 2).exp()


def matern52(squares: Tensor) -> Tensor:
    """(1 + √5 d + 5d²/3) e^(−√5 d) of d² (Rasmussen & Williams 2006, eq. 4.17)."""
    d = (5 * (squares + NEAR)).sqrt()
    return (1 + d + d.square() / 3) * (-d).exp()


KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "squared_exponential": squared_exponential,
    "matern52": matern52,
}


@dataclass(frozen=True)
class Hyperparameters:
    """Of one row: a² (), 1/ℓ² (nz,), σ² ()."""

    amplitude: Tensor
    precision: Tensor
    variance: Tensor

    def covariance(self, kernel: str, x: Tensor) -> Tensor:
        """K + σ²I (N, N) of points x (N, nz)."""
        scaled = x * self.precision.sqrt()
        sizes = scaled.square().sum(-1)
        squares = (sizes[:, None] + sizes - 2 * scaled @ scaled.T).clamp(min=0)
        squares = squares - torch.diag_embed(squares.diagonal())
        eye = torch.eye(len(x), dtype=x.dtype, device=x.device)
        return self.amplitude * KERNELS[kernel](squares) + self.variance * eye


def factorize(covariance: Tensor, amplitude: Tensor) -> Tensor:
    """L (N, N) with LLᵀ = K + σ²I + jitter; ValueError where a jitter of 1e-4 a² does not help."""
    eye = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    for power in range(-10, -3):
        L, failed = torch.linalg.cholesky_ex(covariance + 10.0**power * amplitude * eye)
        if not failed:
            return L
    raise ValueError(
        "z: the covariance of these rows cannot be factorised, even with a jitter of 1e-4 of its "
        "diagonal; numbers in z are too large or not in the units of standardize"
    )


def log_marginal_likelihood(
    kernel: str, hyperparameters: Hyperparameters, x: Tensor, y: Tensor
) -> Tensor:
    """log p(y | X) = −½ yᵀ(K + σ²I)⁻¹y − Σ log Lᵢᵢ − ½ N log 2π.

    (Rasmussen & Williams 2006, eq. 5.8, with log |LLᵀ| = 2 Σ log Lᵢᵢ)
    """
    L = factorize(hyperparameters.covariance(kernel, x), hyperparameters.amplitude)
    v = torch.linalg.solve_triangular(L, y[:, None], upper=False)
    return -v.square().sum() / 2 - L.diagonal().log().sum() - len(y) * math.log(2 * math.pi) / 2


def fitted(kernel: str, x: Tensor, y: Tensor, variance: Tensor | None) -> Hyperparameters:
    """a, ℓ and, where it is not given, σ of the largest marginal likelihood of x (N, nz), y (N,).

    L-BFGS over their logarithms from two starts, mostly signal and mostly noise, of which the
    better one counts. a is kept within e^−7 … 5 of the root mean square of y and σ within
    e^−7 … e: more says little, and would cost digits or let r grow far from data.
    """
    n, nz = x.shape
    size = float(y.square().mean().sqrt())
    if size == 0.0:  # nothing to explain: a process that is zero
        none = x.new_full((), 1e-12)
        noise = none if variance is None else variance
        return Hyperparameters(none, x.new_full((nz,), 1 / nz), noise)
    low = x.new_tensor([_LOW[0], _LOW[1], *[_LOW[2]] * nz])
    high = x.new_tensor([_HIGH[0], _HIGH[1], *[_HIGH[2]] * nz])

    def at(parameters: Tensor) -> Hyperparameters:
        a, sigma, *_ = numbers = torch.minimum(torch.maximum(parameters, low), high).exp()
        noise = (size * sigma).square() if variance is None else variance
        return Hyperparameters((size * a).square(), numbers[2:] ** -2, noise)

    def value(parameters: Tensor) -> Tensor:
        return log_marginal_likelihood(kernel, at(parameters), x, y) / n

    middle = math.log(nz) / 2  # points are about √(2 nz) apart
    starts = ((0.0, -2.0, middle + 0.5), (-1.0, -0.1, middle + 1.5))
    climbed = [_climbed(value, x.new_tensor([a, s, *[length] * nz])) for a, s, length in starts]
    best, _ = max(climbed, key=lambda found: found[1])
    return at(best)


def _climbed(value: Callable[[Tensor], Tensor], start: Tensor) -> tuple[Tensor, float]:
    """The best point that L-BFGS met, and its value."""
    point = start.clone().requires_grad_()
    best, most = start, -math.inf
    optimizer = torch.optim.LBFGS(
        [point],
        max_iter=60,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        nonlocal best, most
        optimizer.zero_grad()
        with torch.enable_grad():
            loss = -value(point)
            loss.backward()
        if -float(loss.detach()) > most:
            best, most = point.detach().clone(), -float(loss.detach())
        return loss

    optimizer.step(closure)
    return best, most
