"""A measure of whether a point lies where the data were."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from residuals.residual import Standardize

ROWS = 20_000  # data are thinned to at most this many
MARGIN = 1.5  # of the inner radius, over the least that reaches all data
FADE = 2.0  # outer radius over inner radius
RANGE = (1.5, 2.5)  # inner and outer half-width, in half ranges of a feature


class Support(nn.Module):
    """w(z) ∈ [0, 1], exactly 1 on the data and exactly 0 far from them.

        x = (z − μ)/ς                                            in standard units
        t_k = max(0, (b² − ‖x − c_k‖²)/(b² − a²))³               nearness to centre k = 1 … K
        e_i = max(0, (v_i² − α²)/(β² − α²))³, v = (x − m)/h      excess of feature i = 1 … nz
        w = (1 − max(0, 1 − Σ_k t_k)³) max(0, 1 − Σ_i e_i)³

    c (K, nz) centres, a inner radius, b = 2a outer radius, m and h (nz,) middle and half the range
    of the data, α = 1.5, β = 2.5.

    Where a centre is nearer than a and no feature leaves α ranges, w = 1; where all centres are
    farther than b or a feature leaves β ranges, w = 0. Balls find what the data never combined;
    the ranges find what balls that reach all of the data, in many dimensions, do not. No nearest
    centre is picked, so there is no kink: max(0, ·)³ has two continuous derivatives, and so has w.
    Before `cover` there are no data and w = 1 everywhere.
    """

    def __init__(self, nz: int, *, centres: int = 64) -> None:
        super().__init__()
        self.input = Standardize(nz)
        self.centre: Tensor
        self.used: Tensor
        self.inverse_radius: Tensor
        self.middle: Tensor
        self.inverse_range: Tensor
        sizes = {"centre": (centres, nz), "inverse_radius": (), "middle": (nz,)}
        for name, size in {**sizes, "inverse_range": (nz,)}.items():
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))
        self.register_buffer("used", torch.ones(centres, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        """w (…, 1) of z (…, nz)."""
        x = self.input(z)
        product = x @ self.centre.mT  # (…, K)
        lengths = x.square().sum(-1, keepdim=True) + self.centre.square().sum(-1)
        ratio = (lengths - 2 * product) * self.inverse_radius.square()  # ‖x − c‖²/a²
        t = torch.relu((FADE**2 - ratio) / (FADE**2 - 1))
        missing = torch.relu(1 - (t * t * t * self.used).sum(-1, keepdim=True))
        low, high = RANGE[0] ** 2, RANGE[1] ** 2
        v = (x - self.middle) * self.inverse_range
        e = torch.relu((v.square() - low) / (high - low))
        inside = torch.relu(1 - (e * e * e).sum(-1, keepdim=True))
        return (1 - missing * missing * missing) * (inside * inside * inside)

    def standardize(self, mean: Tensor, scale: Tensor) -> None:
        """Take the scales of the features (nz,) and forget what was covered in other scales."""
        self.input.mean.copy_(mean)
        self.input.scale.copy_(scale)
        self.inverse_radius.zero_()
        self.inverse_range.zero_()

    @torch.no_grad()
    def cover(self, z: Tensor) -> None:
        """Take the data z (N, nz), at most 20,000 rows of them, evenly.

        Centres are picked by `farthest_points`; a is 1.5 times what reaches all rows from them, or
        the median distance of a centre to its next one where that is more (few rows).

        Raises ValueError where z is not (N ≥ 1, nz) or not finite.
        """
        count, nz = self.centre.shape
        if z.dim() != 2 or z.shape[1] != nz or len(z) < 1:
            raise ValueError(f"z must have shape (N, {nz}) with N ≥ 1, got {tuple(z.shape)}")
        if not torch.isfinite(z).all():
            raise ValueError("z must be finite, it holds NaN or ∞")
        x = self.input(z.to(self.centre))[:: -(-len(z) // ROWS)]
        index, distance = farthest_points(x, count)
        self.centre.zero_()
        self.centre[: len(index)] = x[index]
        self.used.copy_(torch.arange(count) < len(index))
        apart = torch.cdist(x[index], x[index]).fill_diagonal_(torch.inf).amin(-1)
        radius = torch.maximum(MARGIN * distance.max(), apart.median())
        # one row has no scale of its own: then it is that of the features
        self.inverse_radius.copy_(1 / torch.where(radius.isfinite(), radius, 1.0))
        low, high = x.amin(0), x.amax(0)
        self.middle.copy_((low + high) / 2)
        # half a range is never less than the deviation; a constant feature has neither
        self.inverse_range.copy_(2 / (high - low).clamp(min=2.0))

    def covered(self) -> Tensor:
        """Rows z (≤ K, nz) that stand for the data so far; none before `cover`."""
        if not bool(self.inverse_radius > 0):
            return self.centre[:0]
        return self.centre[self.used > 0] * self.input.scale + self.input.mean


def farthest_points(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices (≤ count,) of rows of x (N, n) far apart, and the distance (N,) to the next of them.

    The first is the row next to the mean, each further one the row farthest from all before it, so
    that balls around them reach all rows with at most twice the radius that the best balls would
    need (Gonzalez 1985). A row that is repeated is taken once.
    """
    index = [int((x - x.mean(0)).square().sum(-1).argmin())]
    square = (x - x[index[0]]).square().sum(-1)
    while len(index) < count and square.max() > 0:
        index.append(int(square.argmax()))
        square = torch.minimum(square, (x - x[index[-1]]).square().sum(-1))
    return torch.tensor(index, device=x.device), square.sqrt()
