"""What moves in images, in numbers that move with it.

    D = |I − Ī|,   D° = dilate(erode(D)),   a ∈ {D − D°, D°, (D − D°)², D°²}
    z = (Σ a (X, Y) / Σ a,   central second moments of a),   standardised

Ī is what stays the same, D what moves before it: its thin parts and its thick ones (a granulometry
of two sizes), whose centroids move linearly with the bodies that show them: a circle in space is a
circle in z. Second moments tell the direction of a thin part.
Opening: Serra, Image Analysis and Mathematical Morphology, 1982, section II.C; centroids as
features: Finn et al., Deep Spatial Autoencoders, ICRA 2016, section IV-B.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

LINEAR = 8  # the first features are centroids: X of 4 kinds of parts, then Y
_EMPTY = 1e-3  # share of a part's usual mass that is added to it, where it may be hidden
_PART = 512  # images at once


class Features(nn.Module):
    """z (…, 20) of images (…, h, w).

    images   (N, h, w) of uint8, from which Ī, means and scales are taken

    Raises ValueError naming the argument.
    """

    def __init__(self, images: np.ndarray) -> None:
        super().__init__()
        if images.ndim != 3 or images.dtype != np.uint8 or len(images) < 2:
            raise ValueError(
                f"images must be (N, h, w) of uint8, N ≥ 2, got {images.shape} {images.dtype}"
            )
        self.shape = images.shape[1:]
        self.background: Tensor
        self.mass: Tensor
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("background", torch.from_numpy(_behind(images)).float() / 255)
        masses = [self._parts(some).sum((-1, -2)) for some in torch.tensor(images).split(_PART)]
        self.register_buffer("mass", torch.cat(masses).mean(0).clamp_min(1e-6))
        found = self._raw(torch.tensor(images))
        self.register_buffer("mean", found.mean(0))
        self.register_buffer("spread", found.std(0).clamp_min(1e-6))

    @property
    def size(self) -> int:
        """Rows of z."""
        return len(self.mean)

    def forward(self, images: np.ndarray | Tensor) -> Tensor:
        images = torch.tensor(images) if isinstance(images, np.ndarray) else images
        if images.shape[-2:] != self.shape:
            h, w = self.shape
            raise ValueError(f"images must be (…, {h}, {w}), got {tuple(images.shape)}")
        return (self._raw(images) - self.mean) / self.spread

    def _raw(self, images: Tensor) -> Tensor:
        """Centroids, then central second moments, of images (…, h, w)."""
        found = []
        Y, X = (torch.linspace(-1, 1, n) for n in self.shape)
        for some in images.reshape(-1, *self.shape).split(_PART):
            a = self._parts(some)  # (N, 4, h, w)
            rows, columns = a.sum(-1), a.sum(-2)
            mass = rows.sum(-1) + _EMPTY * self.mass
            x, y = columns @ X / mass, rows @ Y / mass
            xx, yy = columns @ X**2 / mass - x**2, rows @ Y**2 / mass - y**2
            xy = (a @ X) @ Y / mass - x * y
            found.append(torch.cat([x, y, xx, yy, xy], -1))
        return torch.cat(found).reshape(*images.shape[:-2], -1)

    def _parts(self, images: Tensor) -> Tensor:
        """a (N, 4, h, w) of images (N, h, w)."""
        D = (images.float() / 255 - self.background).abs()[:, None]
        eroded = -functional.max_pool2d(-D, 3, 1, 1)
        thick = functional.max_pool2d(eroded, 3, 1, 1)
        parts = torch.cat([D - thick, thick], 1)
        return torch.cat([parts, parts**2], 1)


def _behind(images: np.ndarray) -> np.ndarray:
    """Ī (h, w), the lightest or the darkest of each pixel, whichever leaves less before it."""
    light, dark = images.max(0), images.min(0)
    seen = images.astype(np.float64).mean(0)
    return light if (light - seen).sum() <= (seen - dark).sum() else dark
