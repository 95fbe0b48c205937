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
from hybridmodel.uncertainty.linearised import Path, member_count, members_path
from hybridmodel.uncertainty.manifold import tangent_size
from physics import tangent

WINDOWS = (300, 2_000)  # that are linearised, the fewer the larger the system
NUMBERS = 4e6  # of the covariances of all windows
ITERATIONS = 20
LEAST = 1e-4  # of the mean square: no window claims to be more exact


@dataclass(frozen=True)
class Noise:
    """Variances by tangent row, of states and of outputs, in their units squared.

    process      Q (tangent rows of x), new in every step
    measurement  V (tangent rows of y), in each sample; of a start that was measured too
    residual     α ≥ 0, what remains of the residual's own σ_r² when it is drawn in every step:
                 trained on noisy one-step errors, σ_r holds sensor noise as well. What is
                 epistemic it leaves as it is
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

        (Q, V, α) = argmin Σ e²/v + ln v,  over windows, k = 1 … H and rows
        v = diag( M_k(V) + V + Σ_j Q_j C_kj + α S_k + E_k )

    M_k(V), C_kj, S_k: covariance after k steps of what comes from the start, from noise of row j,
    and from σ_r, each linear in its unknown along the window's own linearised rollout; E_k: the
    members' disagreement, and where windows leave a support the doubt about what has faded. So a
    window that magnifies errors does not hide one that does not. Errors of one window at several k
    are taken as independent, which costs precision and no bias. At most 2000 windows, evenly
    taken. What is small beside the rest is not told apart: it may come out 0.

    Raises ValueError where the system does not measure its states: then give a `Noise`.
    """
    system = model.system
    if system.outputs != system.states:
        raise ValueError(
            f"model: noise is told apart only where states are measured, and "
            f"{type(system).__name__} measures {[s.name for s in system.outputs]}: give a Noise"
        )
    windows = batch(model, data, horizon, stride=stride or max(1, horizon // 5))
    rows = len(tangent.signals(system.states))
    each = member_count(model) * tangent_size(model) ** 2 * (2 * rows + 1)
    most = int(min(max(NUMBERS / each, WINDOWS[0]), WINDOWS[1]))
    windows = windows.at(torch.arange(0, len(windows), -(-len(windows) // most)))
    with torch.no_grad():
        path = members_path(model, windows.x0(model), windows.u, windows.d)
        error = model.output_difference(windows.y, path.mean())[:, 1:].movedim(1, 0)
        apart = path.apart().movedim(-2, 0)[1:]
        known = apart.square().sum(1) / max(apart.shape[1] - 1, 1)  # (H, N, rows)
        if path.doubt[0].shape[-1]:
            doubt = torch.stack(path.doubt)[..., :rows, :].square().sum(-1)  # (H, E, N, rows)
            known = known + doubt.mean(1)
        parts = _responses(path, rows)  # (H, N, rows, 2 rows + 1)
    parts[..., :rows] += torch.eye(rows, dtype=parts.dtype)  # the sensor that measured y_k
    usable = torch.isfinite(parts).all(-1) & torch.isfinite(error) & torch.isfinite(known)
    size = error.square().nan_to_num(posinf=0.0).mean((0, 1)).clamp(min=1e-300)  # (rows,)
    size = size.expand(error.shape)[usable].numpy()
    found = _most_likely(
        parts[usable].numpy() / size[:, None],
        error.square()[usable].numpy() / size,
        known[usable].numpy() / size,
    )
    return Noise(tuple(found[rows : 2 * rows]), tuple(found[:rows]), float(found[-1]))


def _most_likely(P: np.ndarray, square: np.ndarray, known: np.ndarray) -> np.ndarray:
    """θ ≥ 0 with the least Σ e²/v + ln v, v = P θ + known, by Fisher scoring.

    Each step is least squares of e² − known on P θ with weights 1/v², at the v before it.
    """
    norm = np.linalg.norm(P, axis=0)
    scale = np.where(norm > 0, norm / np.sqrt(len(P)), 1.0)
    P = P / scale
    variance = np.full(len(P), square.mean())
    theta = np.zeros(P.shape[1])
    for _ in range(ITERATIONS):
        weighted = P / variance[:, None]
        normal = weighted.T @ weighted
        values, vectors = np.linalg.eigh(normal + 1e-12 * np.trace(normal) * np.eye(len(normal)))
        root = np.sqrt(values)
        right = vectors.T @ (weighted.T @ ((square - known) / variance)) / root
        before, theta = theta, scipy.optimize.nnls(root[:, None] * vectors.T, right)[0]
        if np.allclose(theta, before, rtol=1e-3, atol=1e-9):
            break
        variance = np.maximum(P @ theta + known, LEAST * square.mean())
    return np.where(norm > 0, theta / scale, 0.0)


def _responses(path: Path, rows: int) -> Tensor:
    """(H, N, rows, 2 rows + 1): variance per unit of each V_j at the start, each Q_j, and α."""
    size, shape = path.slopes[0].shape[-1], path.slopes[0].shape[:-2]
    unit = torch.eye(size, dtype=path.slopes[0].dtype)[:rows]
    each = (unit[:, :, None] * unit[:, None, :]).reshape(rows, *(1,) * len(shape), size, size)
    start = each.expand(rows, *shape, size, size)
    process, inner = torch.zeros_like(start), torch.zeros_like(path.slopes[0])
    found = []
    for A, added in zip(path.slopes, path.aleatoric, strict=True):
        start, process = A @ start @ A.mT, A @ process @ A.mT + each
        inner = A @ inner @ A.mT + added
        columns = torch.cat([start, process, inner[None]]).diagonal(dim1=-2, dim2=-1)
        found.append(columns[..., :rows].mean(1).movedim(0, -1))  # over members
    return torch.stack(found)
