"""The monitor of a residual: how large r is, and how far its features are from the training data.

    residual_size = maxᵢ |rᵢ| / ℓᵢ        ℓ: the residual's hard limit, else its scale in the data
    support       = maxᵢ |zᵢ − μᵢ| / ςᵢ   μ, ς: mean and deviation of the features in the data

A model without residual has 0 and 0; a figure whose scale the residual does not know is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from hybridmodel.export.c.arrays import Arrays
from hybridmodel.export.c.pieces import REAL, element
from hybridmodel.model import HybridModel
from residuals import Limit, Rescale, Standardize


@dataclass(frozen=True)
class Monitor:
    """ℓ (nr,), μ (nz,), ς (nz,), each None where it is unknown; `of` says what ℓ is."""

    size: np.ndarray | None
    mean: np.ndarray | None
    scale: np.ndarray | None
    of: str

    def __call__(self, z: np.ndarray, r: np.ndarray) -> np.ndarray:
        """(N, 2): residual_size and support of rows z (N, nz), r (N, nr)."""
        nothing = np.zeros(len(r)) if not r.shape[1] else np.full(len(r), np.nan)
        size = nothing if self.size is None else np.abs(r / self.size).max(1)
        if self.mean is None or self.scale is None:
            return np.stack([size, nothing], 1)
        return np.stack([size, np.abs((z - self.mean) / self.scale).max(1, initial=0.0)], 1)

    def statements(self, z: str, r: str, arrays: Arrays) -> list[str]:
        """C statements that set r, *residual_size and *support from the places of z and r."""
        kind, fabs = REAL[arrays.dtype], "fabsf" if arrays.dtype == "float32" else "fabs"
        lines = ["*residual_size = NAN;", "*support = NAN;"]
        if self.size is not None:
            lines += [
                *_largest("residual_size", self.size.size, kind),
                f"    const {kind} a = {fabs}({element(r, 'i')}) / {arrays.numbers(self.size)}[i];",
                *_kept("residual_size"),
            ]
        if self.mean is not None and self.scale is not None:
            mean, scale = arrays.numbers(self.mean), arrays.numbers(self.scale)
            lines += [
                *_largest("support", self.mean.size, kind),
                f"    const {kind} a = {fabs}(({element(z, 'i')} - {mean}[i]) / {scale}[i]);",
                *_kept("support"),
            ]
        return lines


def monitor_of(model: HybridModel) -> Monitor:
    """The scales that the residual's own layers hold."""
    residual = model.residual
    if residual is None:
        return Monitor(None, None, None, "nothing: there is no residual")
    layers = list(residual.modules())
    seen = [m for m in layers if isinstance(m, Standardize) and m.mean.numel() == residual.nz]
    limits = [m.limit for m in layers if isinstance(m, Limit) and m.limit.numel() == residual.nr]
    typical = [m.scale for m in layers if isinstance(m, Rescale) and m.scale.numel() == residual.nr]
    mean, scale = (_numpy(seen[0].mean), _numpy(seen[0].scale)) if seen else (None, None)
    if limits:
        return Monitor(_numpy(limits[-1]), mean, scale, "its hard limit")
    if typical:
        return Monitor(_numpy(typical[-1]), mean, scale, "its scale in the training data")
    return Monitor(None, mean, scale, "unknown: the residual has no scale, so this is NaN")


def _largest(name: str, size: int, kind: str) -> list[str]:
    return [f"*{name} = 0;", f"for (int i = 0; i < {size}; i++) {{"]


def _kept(name: str) -> list[str]:
    return [f"    if (a > *{name} || a != a) *{name} = a;", "}"]  # NaN stays


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
