"""Where the data were: a residual that fades to exactly zero outside them."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor

from residuals.residual import Probabilistic, Recurrent, Regressed, Residual
from residuals.sizing import resized
from residuals.support import Support

LEAST = 1e-12  # of s²


class Supported(Residual):
    """r = w(z) r_θ(z) with the `Support` w ∈ [0, 1] of the data: outside of them, r is exactly 0.

    residual  any without memory; of a Probabilistic this makes a `SupportedProbabilistic`, of a
              Regressed a `SupportedRegressed`
    centres   of the support, as of `Support`

    Before `cover` the support is everywhere. New scales forget what was covered: `standardize`
    first, then `cover`.

    Raises ValueError for a residual that is none or has memory, and for centres < 1.
    """

    def __new__(cls, residual: Residual | None = None, **_: Any) -> Self:
        kinds = {Regressed: SupportedRegressed, Probabilistic: SupportedProbabilistic}
        found = [kind for inner, kind in kinds.items() if isinstance(residual, inner)]
        return super().__new__(found[0] if found and issubclass(found[0], cls) else cls)

    def __init__(
        self,
        residual: Residual,
        *,
        centres: int = 64,
        nz: int | None = None,
        nr: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(residual, Residual) or isinstance(residual, Recurrent):
            found = type(residual).__name__
            raise ValueError(f"residual must be a Residual without memory, got {found}")
        if centres < 1:
            raise ValueError(f"centres must be at least 1, got {centres}")
        nz = residual.nz if nz is None else nz
        nr = residual.nr if nr is None else nr
        self.centres, self.nz, self.nr = centres, nz, nr
        self.residual = copy.deepcopy(residual)
        if nz is not None and nr is not None:
            self.residual = residual.sized(nz, nr)
            self.support = Support(nz, centres=centres)
            self.output_scale: Tensor
            self.register_buffer("output_scale", torch.ones(nr, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return self.support(z) * self.residual(z)

    def cover(self, z: Tensor) -> None:
        """Take the features z (N, nz) of the data as the place where the residual may act."""
        self.support.cover(z)

    def sized(self, nz: int, nr: int) -> Self:
        return resized(self, self.config(), nz, nr)

    def standardize(self, mean: Tensor, scale: Tensor, output_scale: Tensor) -> None:
        self.residual.standardize(mean, scale, output_scale)
        self.support.standardize(mean, scale)
        self.output_scale.copy_(output_scale)

    def config(self) -> dict[str, Any]:
        return {"residual": self.residual, "centres": self.centres, "nz": self.nz, "nr": self.nr}


class SupportedProbabilistic(Supported, Probabilistic):
    """Means that fade, and a spread that does not: outside, r is as unknown as it used to be.

        members       w r_e                            s  output scale of the data
        variance      w² σ_e²                          (…, nr), aleatoric
        epistemic     Var_e(r_e) + (1 − w) s²          disagreement before the fade

    A model that has faded to physics must not look certain.
    """

    residual: Any  # a Probabilistic

    def __init__(
        self,
        residual: Residual,
        *,
        centres: int = 64,
        nz: int | None = None,
        nr: int | None = None,
    ) -> None:
        if not isinstance(residual, Probabilistic):
            raise ValueError(f"residual must be a Probabilistic, got {type(residual).__name__}")
        super().__init__(residual, centres=centres, nz=nz, nr=nr)
        self.count = residual.count

    def members(self, z: Tensor) -> Tensor:
        return self.support(z) * self.residual.members(z)

    def distribution(self, z: Tensor) -> tuple[Tensor, Tensor]:
        w = self.support(z)
        mean, log_variance = self.residual.distribution(z)
        least = LEAST * self.output_scale.square()  # so that there is a logarithm
        return w * mean, (w.square() * log_variance.exp() + least).log()

    def epistemic(self, z: Tensor) -> Tensor:
        return self.residual.epistemic(z) + self.unknown(z)

    def unknown(self, z: Tensor) -> Tensor:
        """(1 − w) s² (…, nr), what r may be where there were no data."""
        return (1 - self.support(z)) * self.output_scale.square()


class SupportedRegressed(SupportedProbabilistic, Regressed):
    """Solved for with the residual inside, on data that are then the support."""

    def __init__(
        self,
        residual: Residual,
        *,
        centres: int = 64,
        nz: int | None = None,
        nr: int | None = None,
    ) -> None:
        if not isinstance(residual, Regressed):
            raise ValueError(f"residual must be a Regressed, got {type(residual).__name__}")
        super().__init__(residual, centres=centres, nz=nz, nr=nr)

    def solve(self, z: Tensor, r: Tensor) -> None:
        self.residual.solve(z, r)
        self.cover(z)
