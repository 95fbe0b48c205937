"""From an image to the coordinates of a mechanical system.

    e = N(z(I)),   q = atan2(e_s, e_c) of an angle,  c + h e of another coordinate

An angle is a point on the circle, so that no image lies at a seam.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from hybridmodel.rl.latent.features import Features
from physics import Mechanical, Signal
from residuals import MLP


class Encoder(nn.Module):
    """q̂ (…, nq) of images (…, h, w).

    coordinates   signals of q; bounds of those that are no angles give c and h, else 0 and 1
    images        (N, h, w) of uint8, what `Features` are made of
    hidden        widths of N, a multilayer perceptron; N starts at zero

    Raises ValueError naming the argument.
    """

    def __init__(
        self,
        coordinates: Sequence[Signal],
        images: np.ndarray,
        *,
        hidden: Sequence[int] = (64, 64),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not coordinates:
            raise ValueError("coordinates must hold at least one signal")
        self.coordinates, self.features = tuple(coordinates), Features(images)
        bounded = [math.isfinite(s.low) and math.isfinite(s.high) for s in self.coordinates]
        pairs = zip(self.coordinates, bounded, strict=True)
        ranges = [(s.low, s.high) if b else (-1.0, 1.0) for s, b in pairs]
        low, high = torch.tensor(ranges, dtype=torch.float64).T
        self.center: Tensor
        self.reach: Tensor
        self.register_buffer("center", (low + high) / 2)
        self.register_buffer("reach", (high - low) / 2)
        shape = {"nz": self.features.size, "nr": self.size}
        self.network = MLP(hidden, activation="silu", seed=seed, **shape).float()

    @property
    def size(self) -> int:
        """m, rows of e."""
        return sum(2 if s.angle else 1 for s in self.coordinates)

    def targets(self, q: Tensor) -> Tensor:
        """e (…, m) of coordinates q (…, nq)."""
        rows = []
        for i, signal in enumerate(self.coordinates):
            if signal.angle:
                rows += [q[..., i].cos(), q[..., i].sin()]
            else:
                rows.append((q[..., i] - self.center[i]) / self.reach[i])
        return torch.stack(rows, -1)

    def read(self, e: Tensor) -> Tensor:
        """q (…, nq) of points e (…, m), angles in (−π, π]."""
        rows, k = [], 0
        for i, signal in enumerate(self.coordinates):
            if signal.angle:
                rows.append(torch.atan2(e[..., k + 1], e[..., k]))
                k += 2
            else:
                rows.append(self.center[i].to(e) + self.reach[i].to(e) * e[..., k])
                k += 1
        return torch.stack(rows, -1)

    def wrapped(self, off: Tensor) -> Tensor:
        """Differences of coordinates (…, nq), those of angles within half a turn."""
        turns = torch.remainder(off + math.pi, 2 * math.pi) - math.pi
        return torch.where(torch.tensor([s.angle for s in self.coordinates]), turns, off)

    def forward(self, images: np.ndarray | Tensor) -> Tensor:
        return self.read(self.network(self.features(images)))


def coordinates_of(system: object) -> tuple[Signal, ...]:
    """The signals of q; ValueError where the system has no such coordinates."""
    if not isinstance(system, Mechanical) or system.quaternion_rows or system.nq != system.nv:
        raise ValueError(
            "model: its system must be a physics.Mechanical without quaternions, whose states "
            f"are coordinates and their rates, got {type(system).__name__}"
        )
    if system.outputs != system.states:
        raise ValueError(
            f"model: its system must measure its states, {type(system).__name__} measures "
            f"{[s.name for s in system.outputs]}"
        )
    return system.states[: system.nq]
