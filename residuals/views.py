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


class Doubt(nn.Module):
    """z (…, nz) ↦ mean_i (Var_e(r_i) / s_i²) (…, 1), s (nr,) the output scale of the data.

    About 0 where data were, 1 where r may be anything of its usual size. Raises ValueError for a
    residual that does not tell its scale.
    """

    def __init__(self, residual: Probabilistic) -> None:
        super().__init__()
        self.variance, self.holder = Epistemic(residual), _scaled(residual)
        self.train(residual.training)

    @property
    def scale(self) -> Tensor:
        return next(
            getattr(self.holder, name)
            for name in _SCALES
            if isinstance(getattr(self.holder, name, None), Tensor)
        )

    def forward(self, z: Tensor) -> Tensor:
        return (self.variance(z) / self.scale.square()).mean(-1, keepdim=True)


_SCALES = ("output_scale", "scale")


def _scaled(residual: Probabilistic) -> nn.Module:
    """What holds the scale: the residual or its last module."""
    for holder in (residual, getattr(residual, "output", None)):
        if any(isinstance(getattr(holder, name, None), Tensor) for name in _SCALES):
            assert isinstance(holder, nn.Module)
            return holder
    raise ValueError(
        f"residual: {type(residual).__name__} does not tell its output scale; wanted "
        "`output_scale` (nr,)"
    )


def _side_by_side(members: Tensor) -> Tensor:
    """(E, …, nr) ↦ (…, E·nr)."""
    return members.movedim(0, -2).flatten(-2)
