"""What a propagation returns: where the system will be, and how far off that may be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physics import Signal, tangent


@dataclass(frozen=True)
class Prediction:
    """The distribution of states, or of measured outputs, after 0 … H steps.

    mean        (…, H+1, n)
    covariance  (…, H+1, rows, rows) in the tangent space at the mean, everything together
    signals     of the n columns; a rotation has four columns and three tangent rows
    samples     (S, …, H+1, n) where paths were drawn, else None
    deviations  (S, …, H+1, rows), samples ⊟ mean
    aleatoric   (…, H+1, rows) variance that more data would not take away,
    epistemic   and what they would, where the members keep to their paths; else None
                total variance: Var y = E_e Var(y | e) + Var_e E(y | e)
    factor      (H+1, rows) of the intervals' half-widths, from a recalibration; 1 without one
    """

    mean: Tensor
    covariance: Tensor
    signals: tuple[Signal, ...]
    samples: Tensor | None = None
    deviations: Tensor | None = None
    aleatoric: Tensor | None = None
    epistemic: Tensor | None = None
    factor: Tensor | None = None

    @property
    def std(self) -> Tensor:
        """(…, H+1, rows) standard deviation, recalibrated where factors are known."""
        plain = self.covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
        return plain if self.factor is None else plain * self.factor

    def offsets(self, level: float) -> tuple[Tensor, Tensor]:
        """Ends of the central interval that holds a share `level`, (…, H+1, rows) ⊟ mean.

        Of S samples the order statistics at (1 ± level)/2·(S + 1), between which a further sample
        falls with probability `level`, the outermost where S is too small; else mean ± z·std.
        Recalibrated ones are mean ± factor·z·std.
        Raises ValueError for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie in (0, 1), got {level}")
        if self.deviations is not None and self.factor is None:
            return _between(self.deviations, level)
        half = normal_half_width(level) * self.std
        return -half, half

    def quantiles(self, level: float) -> tuple[Tensor, Tensor]:
        """(low, high), the ends of `offsets` in the units of the signals (…, H+1, rows).

        Rows of a rotation are the rotation vector from the mean, around 0.
        """
        low, high = self.offsets(level)
        centre = self._centre()
        return centre + low, centre + high

    def _centre(self) -> Tensor:
        columns = {s.name: i for i, s in enumerate(self.signals) if s.quaternion is None}
        none = torch.zeros_like(self.mean[..., 0])
        return torch.stack(
            [
                self.mean[..., columns[s.name]] if s.name in columns else none
                for s in tangent.signals(self.signals)
            ],
            -1,
        )


def normal_half_width(level: float) -> float:
    """z with P(|N(0, 1)| ≤ z) = level."""
    return math.sqrt(2) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64)))


def _between(samples: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Order statistics around a share `level`, between neighbours by interpolation.

    Hyndman & Fan, Sample quantiles in statistical packages, 1996, definition 6. Others, as that of
    torch, lie further in: of 30 samples their 90 % interval holds 84 %.
    """
    count = len(samples)
    rising = samples.sort(0).values

    def at(rank: float) -> Tensor:
        rank = min(max(rank, 1.0), float(count))
        below = min(int(rank), count - 1)
        return torch.lerp(rising[below - 1], rising[below], rank - below)

    return at((1 - level) / 2 * (count + 1)), at((1 + level) / 2 * (count + 1))
