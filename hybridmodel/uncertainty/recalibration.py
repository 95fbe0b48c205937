"""Factors that make intervals hold what they say, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from hybridmodel.uncertainty.noise import Noise


@dataclass(frozen=True)
class Recalibration:
    """Half-widths of intervals about measured outputs, as factors on z·std by step and signal.

    factors   (H, rows of y), of steps 1 … H
    level     the share that they were fitted for
    method    of `propagate`, whose std they multiply
    noise     that goes with them
    signals   names of the rows
    windows   of the validation logs, and how many of them share no sample
    """

    factors: tuple[tuple[float, ...], ...]
    level: float
    method: str
    noise: Noise
    signals: tuple[str, ...]
    windows: int
    apart: int

    @property
    def horizon(self) -> int:
        """H, the longest prediction that they are for."""
        return len(self.factors)

    def factor(self, steps: int) -> Tensor:
        """(steps + 1, rows) of samples 0 … steps; the start itself is not recalibrated."""
        known = torch.tensor(self.factors, dtype=torch.float64)[:steps]
        return torch.cat([torch.ones(1, len(self.signals), dtype=known.dtype), known])

    def check(self, method: str, steps: int) -> None:
        """ValueError where a prediction is not of the kind that the factors are for."""
        if method != self.method:
            raise ValueError(
                f"calibration is of method {self.method!r}, whose std it multiplies; got {method!r}"
            )
        if steps > self.horizon:
            raise ValueError(
                f"calibration holds {self.horizon} steps, got u with {steps}: recalibrate with "
                f"horizon={steps}"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and names."""
        return {
            "factors": [list(row) for row in self.factors],
            "level": self.level,
            "method": self.method,
            "noise": self.noise.to_json(),
            "signals": list(self.signals),
            "windows": self.windows,
            "apart": self.apart,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(
            factors=tuple(tuple(row) for row in data["factors"]),
            level=data["level"],
            method=data["method"],
            noise=Noise.from_json(data["noise"]),
            signals=tuple(data["signals"]),
            windows=data["windows"],
            apart=data["apart"],
        )
