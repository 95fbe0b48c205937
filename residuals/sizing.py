"""How a residual is given its sizes: a fresh one of the same configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from residuals.residual import Residual

R = TypeVar("R", bound=Residual)


def resized(residual: R, arguments: Mapping[str, Any], nz: int, nr: int) -> R:
    """`type(residual)(**arguments)` for nz and nr, with the residual's weights where it has any.

    Raises ValueError where the residual has other sizes.
    """
    if (residual.nz, residual.nr) not in ((None, None), (nz, nr)):
        raise ValueError(
            f"residual maps {residual.nz} features to {residual.nr} outputs; "
            f"features and placement want {nz} → {nr}"
        )
    fresh = type(residual)(**{**arguments, "nz": nz, "nr": nr})
    if residual.nz is not None:
        fresh.load_state_dict(residual.state_dict())
    return fresh


def checked_regression(residual: Residual, z: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """The data z (N, nz) and r (N, nr) of a regression, without their graph.

    Raises ValueError for other shapes, no rows, or numbers that are not finite.
    """
    for name, given, size in (("z", z, residual.nz), ("r", r, residual.nr)):
        if given.dim() != 2 or given.shape[1] != size or len(given) != len(z) or len(z) == 0:
            raise ValueError(
                f"{name} must be (N, {size}) with N ≥ 1 rows, as many of z as of r, got "
                f"{(*given.shape,)}"
            )
        if not torch.isfinite(given).all():
            raise ValueError(f"{name} must be finite, {int((~given.isfinite()).sum())} are not")
    return z.detach(), r.detach()
