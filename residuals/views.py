"""What a Probabilistic says besides its mean, each as a module of z alone that a bridge can read.

E members stand side by side, the first one's rows first: (…, E·nr).
"""

from __future__ import annotations

from torch import Tensor, nn

from residuals.residual import Probabilistic


class Members(nn.Module):
    """z (…, nz) ↦ the mean of each member (…, E·nr)."""

    def __init__(self, residual: Probabilistic) -> None:
        super().__init__()
        self.residual = residual
        self.train(residual.training)

    def forward(self, z: Tensor) -> Tensor:
        return _side_by_side(self.residual.members(z[None]))


class Distribution(nn.Module):
    """z (…, nz) ↦ mean and log-variance of each member, (…, E·nr) each."""

    def __init__(self, residual: Probabilistic) -> None:
        super().__init__()
        self.residual = residual
        self.train(residual.training)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.residual.distribution(z[None])
        return _side_by_side(mean), _side_by_side(log_variance)


class Epistemic(nn.Module):
    """z (…, nz) ↦ the variance from want of data (…, nr)."""

    def __init__(self, residual: Probabilistic) -> None:
        super().__init__()
        self.residual = residual
        self.train(residual.training)

    def forward(self, z: Tensor) -> Tensor:
        return self.residual.epistemic(z)


def _side_by_side(members: Tensor) -> Tensor:
    """(E, …, nr) ↦ (…, E·nr)."""
    return members.movedim(0, -2).flatten(-2)
