"""Which part of a prediction's error enters where: at the start, at every step, or at the sensor.

    y₀ = x₀ ⊞ v₀,   x_{k+1} = F(x_k, u_k; r + √α σ_r ε_k) ⊞ w_k,   y_k = x_k ⊞ v_k
    w ~ N(0, Q),  v ~ N(0, V)

`model.noise` R is the one-step error of measured states, so it holds Q and V together, about
Q + V + A V Aᵀ. Added at every step it counts the sensors' noise H times over; `split_noise` tells
the parts apart by how the error grows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from hybridmodel.batches import batch
from hybridmodel.data import Dataset
from hybridmodel.model import HybridModel
from hybridmodel.uncertainty.linearised import Path, members_path
from physics import tangent

WINDOWS = 300  # that are linearised; more would say the same


@dataclass(frozen=True)
class Noise:
    """Variances by tangent row, of states and of outputs, in their units squared.

    process      Q (tangent rows of x), new in every step
    measurement  V (tangent rows of y), in each sample; of a start that was measured too
    residual     α ≥ 0, what remains of the residual's own σ_r² when it is drawn in every step:
                 trained on noisy one-step errors, σ_r holds sensor noise as well
    """

    process: tuple[float, ...]
    measurement: tuple[float, ...]
    residual: float = 1.0

    def __post_init__(self) -> None:
        for name in ("process", "measurement"):
            values = tuple(float(v) for v in getattr(self, name))
            if not all(0 <= v < math.inf for v in values):
                raise ValueError(f"{name} must be variances ≥ 0, got {values}")
            object.__setattr__(self, name, values)
        if not 0 <= self.residual < math.inf:
            raise ValueError(f"residual must be a factor ≥ 0, got {self.residual}")

    @classmethod
    def of(cls, model: HybridModel) -> Self:
        """All of `model.noise` as process noise, sensors that are exact.

        Raises ValueError where the model has none.
        """
        if not bool((model.noise > 0).all()):
            raise ValueError(
                "model.noise, the variance R of one step, is not known: `fit` estimates it, or "
                "set it: model.noise.copy_(…); or give noise=Noise(…), or noise=False"
            )
        outputs = tangent.signals(model.system.outputs)
        return cls(tuple(model.noise.tolist()), (0.0,) * len(outputs))

    @classmethod
    def none(cls, model: HybridModel) -> Self:
        """No noise at all: what is left is epistemic."""
        outputs = tangent.signals(model.system.outputs)
        return cls((0.0,) * len(model.noise), (0.0,) * len(outputs), 0.0)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(tuple(data["process"]), tuple(data["measurement"]), data["residual"])

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "process": list(self.process),
            "measurement": list(self.measurement),
            "residual": self.residual,
        }


def split_noise(
    model: HybridModel, data: Dataset, *, horizon: int = 25, stride: int | None = None
) -> Noise:
    """Q, V and α from the growth of free-run errors over validation logs.

        mean e_k²  =  diag( M_k(V) + V + Σ_j Q_j C_kj + α S_k + E_k ),   k = 1 … H

    M_k(V), C_kj, S_k: covariance after k steps of what comes from the start, from noise of row j,
    and from σ_r, each linear in its unknown along the linearised rollouts; E_k: the members'
    disagreement. Non-negative least squares over rows and k, weighted by 1/e⁴, the inverse of
    what a mean of squares is off by. At most 300 windows, evenly taken.

    Raises ValueError where the system does not measure its states: then give a `Noise`.
    """
    system = model.system
    if system.outputs != system.states:
        raise ValueError(
            f"model: noise is told apart only where states are measured, and "
            f"{type(system).__name__} measures {[s.name for s in system.outputs]}: give a Noise"
        )
    windows = batch(model, data, horizon, stride=stride or max(1, horizon // 5))
    windows = windows.at(torch.arange(0, len(windows), -(-len(windows) // WINDOWS)))
    rows = len(tangent.signals(system.states))
    with torch.no_grad():
        path = members_path(model, windows.x0(model), windows.u, windows.d)
        spread = path.apart()
        error = model.output_difference(windows.y, path.mean())[:, 1:]
        observed = error.square().mean(0)  # (H, rows)
        parts = _responses(path, rows)  # (H, rows, 2 rows + 1)
        rest = observed - spread.square().mean((0, 1))[1:]
    known = torch.eye(rows, dtype=parts.dtype).expand(horizon, rows, rows)
    parts[..., :rows] += known  # the sensor that measured y_k
    usable = torch.isfinite(parts).all(-1) & torch.isfinite(observed) & (observed > 0)
    weight = (1 / observed)[usable].numpy()
    matrix = parts[usable].numpy() * weight[:, None]
    size = np.where((norm := np.linalg.norm(matrix, axis=0)) > 0, norm, 1.0)
    right = np.maximum(rest[usable].numpy(), 0.0) * weight
    found = scipy.optimize.nnls(matrix / size, right)[0] / size
    found = np.where(norm > 0, found, 0.0)
    return Noise(tuple(found[rows : 2 * rows]), tuple(found[:rows]), float(found[-1]))


def _responses(path: Path, rows: int) -> Tensor:
    """(H, rows, 2 rows + 1): mean variance per unit of each V_j at the start, each Q_j, and α."""
    steps, size = len(path.slopes), path.slopes[0].shape[-1]
    unit = torch.eye(size, dtype=path.slopes[0].dtype)[:rows]
    each = unit[:, :, None] * unit[:, None, :]  # (rows, size, size)
    shape = path.slopes[0].shape[:-2]
    each = each.reshape(rows, *(1,) * len(shape), size, size)
    start = each.expand(rows, *shape, size, size)
    process = torch.zeros_like(start)
    inner = torch.zeros_like(path.slopes[0])
    found = []
    for k in range(steps):
        A = path.slopes[k]
        start, process = A @ start @ A.mT, A @ process @ A.mT + each
        inner = A @ inner @ A.mT + path.aleatoric[k]
        columns = torch.cat([start, process, inner[None]])
        diagonal = columns.diagonal(dim1=-2, dim2=-1)[..., :rows]
        found.append(diagonal.flatten(1, -2).mean(1).mT)
    return torch.stack(found)
