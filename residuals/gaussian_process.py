"""A Gaussian process for each row of r, exact, its inputs shared.

    x = (z − μ)/ς,  y = r / s = f(x) + ε,  f ~ GP(0, κ),  ε ~ 𝒩(0, σ²)
    κ(x, x′) = a² k(d),  d² = Σ ((xⱼ − x′ⱼ)/ℓⱼ)²          a, σ, ℓ (nz,) of each row its own
    α = (K + σ²I)⁻¹ y = L⁻ᵀ L⁻¹ y,  K = κ(X, X)           X (N, nz)
    r = s κ(x, X) α                                       → 0 far from data: physics remains
    var f = a² − ‖L⁻¹ κ(X, x)‖²                           → a² far from data
(Rasmussen & Williams 2006, eq. 2.25–2.26, algorithm 2.1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from residuals.marginal_likelihood import KERNELS, Hyperparameters, factorize, fitted
from residuals.residual import Regressed, Rescale, Standardize
from residuals.sizing import checked_regression, resized

LEAST = 1e-12  # σ² of the distribution in units of s²: its logarithm must be a number


class GaussianProcess(Regressed):
    """r = s ∘ κ(x, X) α, zero where there are no data.

    kernel    k: "squared_exponential" e^(−d²/2), or "matern52" (1 + √5 d + 5d²/3) e^(−√5 d)
    noise     standard deviation of what r is measured with, in the units of r, one number or one
              a row, 0 to interpolate; None: estimated with the rest
    subset    rows that a, ℓ, σ are fitted on, by marginal likelihood (drawn by `seed` from more)
    maximum   rows that `solve` takes at most; its cost grows as N³ and memory as nr N²
    points    N, rows that are held now; zero before `solve`

    To K + σ²I a jitter of 1e-10 a² is added before it is factorised, tenfold as often as that
    fails, up to 1e-4 a².

    Raises ValueError for an unknown kernel, a noise < 0, or sizes < 1.
    """

    count = 1

    def __init__(
        self,
        kernel: str = "squared_exponential",
        *,
        noise: float | Sequence[float] | None = None,
        subset: int = 300,
        maximum: int = 3000,
        seed: int = 0,
        points: int = 0,
        nz: int | None = None,
        nr: int | None = None,
    ) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {list(KERNELS)}, got {kernel!r}")
        several = (noise,) if isinstance(noise, int | float) else tuple(noise or ())
        if noise is not None and not (several and all(0 <= v < math.inf for v in several)):
            raise ValueError(f"noise must be at least 0, got {noise}")
        for name, value in (("subset", subset), ("maximum", maximum)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if points < 0:
            raise ValueError(f"points must be at least 0, got {points}")
        self.kernel, self.noise, self.subset, self.maximum = kernel, noise, subset, maximum
        self.seed, self.nz, self.nr = seed, nz, nr
        if nz is None or nr is None:
            return
        if len(several) not in (0, 1, nr):
            raise ValueError(f"noise must be one number or {nr}, got {noise}")
        self.input, self.output = Standardize(nz), Rescale(nr)
        self.inputs: Tensor  # X
        self.weights: Tensor  # a² α
        self.inverse_factor: Tensor  # L⁻¹
        self.amplitude: Tensor  # a²
        self.precision: Tensor  # 1/ℓ²
        self.variance: Tensor  # σ²
        shapes = {
            "inputs": (points, nz),
            "weights": (nr, points),
            "inverse_factor": (nr, points, points),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("amplitude", torch.ones(nr, dtype=torch.float64))
        self.register_buffer("precision", torch.ones(nr, nz, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(nr, dtype=torch.float64))
        self._take_noise()

    @property
    def points(self) -> int:
        """N, the rows that are held."""
        return 0 if self.nz is None else len(self.inputs)

    def _correlation(self, z: Tensor) -> Tensor:
        """k (…, nr, N); d² is a sum of squares and so never negative."""
        squares = (self.input(z)[..., None, :] - self.inputs).square()  # (…, N, nz)
        return KERNELS[self.kernel]((squares @ self.precision.T).mT)

    def forward(self, z: Tensor) -> Tensor:
        return self.output((self._correlation(z) * self.weights).sum(-1))

    def members(self, z: Tensor) -> Tensor:
        return self(z)

    def distribution(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean = self(z)
        variance = self.variance.clamp(min=LEAST) * self.output.scale.square()
        return mean, variance.log().expand(mean.shape)

    def epistemic(self, z: Tensor) -> Tensor:
        """s² var f; rounding below zero, which happens on data without noise, is cut off."""
        k = self.amplitude[:, None] * self._correlation(z)
        v = torch.einsum("inm,...im->...in", self.inverse_factor, k)
        left = (self.amplitude - v.square().sum(-1)).clamp(min=0)
        return left * self.output.scale.square()

    @torch.no_grad()
    def solve(self, z: Tensor, r: Tensor) -> None:
        """Fit a, ℓ, σ of each row by marginal likelihood, then hold z (N, nz) and r (N, nr).

        Buffers are replaced where N changes: a planner that holds the old ones is to be built anew.

        Raises ValueError for other shapes, more than `maximum` rows, numbers that are not finite,
        or K that cannot be factorised.
        """
        z, r = checked_regression(self, z, r)
        if len(z) > self.maximum:
            raise ValueError(
                f"z has {len(z)} rows, more than maximum={self.maximum}: thin them, such as "
                f"z[::{-(-len(z) // self.maximum)}], or raise maximum (cost N³, memory nr N²)"
            )
        kind = {"dtype": torch.float64, "device": self.inputs.device}
        x = ((z.to(**kind) - self.input.mean) / self.input.scale).to(**kind)
        y = (r.to(**kind) / self.output.scale).to(**kind)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed))
        chosen = order[: self.subset].to(x.device)
        rows = [self._row(x, y[:, i], chosen, i) for i in range(y.shape[1])]
        parts = {
            "inputs": x,
            "weights": torch.stack([weights for _, weights, _ in rows]),
            "inverse_factor": torch.stack([inverse for _, _, inverse in rows]),
            "amplitude": torch.stack([h.amplitude for h, _, _ in rows]),
            "precision": torch.stack([h.precision for h, _, _ in rows]),
            "variance": torch.stack([h.variance for h, _, _ in rows]),
        }
        for name, value in parts.items():
            mine = self.get_buffer(name)
            if mine.shape == value.shape:
                mine.copy_(value)
            else:
                setattr(self, name, value.to(mine))

    def _row(
        self, x: Tensor, y: Tensor, chosen: Tensor, i: int
    ) -> tuple[Hyperparameters, Tensor, Tensor]:
        """a, ℓ, σ of a row, a² α and L⁻¹."""
        given = None if self.noise is None else self.variance[i].double()
        found = fitted(self.kernel, x[chosen], y[chosen], given)
        L = factorize(found.covariance(self.kernel, x), found.amplitude)
        inverse = torch.linalg.solve_triangular(L, torch.eye(len(x)).to(L), upper=False)
        return found, found.amplitude * (inverse.mT @ (inverse @ y)), inverse

    def sized(self, nz: int, nr: int) -> Self:
        return resized(self, self.config(), nz, nr)

    def standardize(self, mean: Tensor, scale: Tensor, output_scale: Tensor) -> None:
        self.input.mean.copy_(mean)
        self.input.scale.copy_(scale)
        self.output.scale.copy_(output_scale)
        self._take_noise()

    def _take_noise(self) -> None:
        """A given noise is in the units of r, σ in those of r/s."""
        if self.noise is not None:
            noise = torch.as_tensor(self.noise, dtype=torch.float64).to(self.variance)
            self.variance.copy_((noise / self.output.scale).square())

    def config(self) -> dict[str, Any]:
        return {
            "kernel": self.kernel,
            "noise": self.noise,
            "subset": self.subset,
            "maximum": self.maximum,
            "seed": self.seed,
            "points": self.points,
            "nz": self.nz,
            "nr": self.nr,
        }
