"""Steps as a policy network sees them, kept in a ring."""

from __future__ import annotations

import torch
from torch import Tensor

from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.transitions import Transitions
from hybridmodel.whole import whole


class Replay:
    """The last `capacity` steps as rows o (no), a (nu), r, o⁺ (no), ended, in float32.

    scale   unit of reward: r is kept as a multiple of it

    Raises ValueError for a capacity below 1, and where steps are not finite.
    """

    def __init__(self, coordinates: Coordinates, capacity: int, *, scale: float = 1.0) -> None:
        capacity = whole("capacity", capacity)
        self.coordinates, self.capacity, self.scale = coordinates, capacity, scale
        no, nu = coordinates.no, coordinates.system.nu
        self._widths = (no, nu, 1, no, 1)
        self._rows = torch.empty(capacity, sum(self._widths), dtype=torch.float32)
        self._next, self._held = 0, 0

    def __len__(self) -> int:
        return self._held

    def add(self, steps: Transitions) -> None:
        """Keep these, and forget the oldest beyond the capacity."""
        to = self.coordinates
        with torch.no_grad():
            rows = torch.cat(
                [
                    to.observed(steps.x),
                    to.actions(steps.u),
                    steps.reward[:, None] / self.scale,
                    to.observed(steps.after),
                    steps.ended[:, None].to(steps.x),
                ],
                -1,
            ).float()
        if not bool(torch.isfinite(rows).all()):
            raise ValueError("steps must be finite in x, u, reward and after")
        rows = rows[-self.capacity :]
        self._rows[(self._next + torch.arange(len(rows))) % self.capacity] = rows
        self._next = (self._next + len(rows)) % self.capacity
        self._held = min(self._held + len(rows), self.capacity)

    def clear(self) -> None:
        """Forget all."""
        self._next, self._held = 0, 0

    def drawn(self, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """(o, a, r, o⁺, ended) of so many, with replacement."""
        index = torch.randint(self._held, (count,), generator=generator)
        return self._rows[index].split(self._widths, -1)
