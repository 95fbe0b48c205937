"""The round trip: what was exported, run outside of the model, against the model in torch."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from hybridmodel.model import HybridModel
from hybridmodel.paths import draw_finite, torch_derivative

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


@dataclass(frozen=True)
class RoundTrip:
    """Largest differences between an export and the model.

    differences   by quantity, relative to its largest entry at a point, or to 1 if that is less
    tolerance     the bar for each
    points        at how many seeded points; 0 where an export could not even be started
    how           what ran the export, or why nothing could
    finite        share of the points drawn where the model is finite; only those are compared
    """

    differences: Mapping[str, float]
    tolerance: float
    points: int
    how: str
    finite: float = 1.0

    @property
    def holds(self) -> bool | None:
        """Whether all differences are within the bar; None where nothing was compared: nothing
        could run the export, or the model is finite at no point."""
        if not all(gap <= self.tolerance for gap in self.differences.values()):
            return False
        return True if self.differences and self.finite else None

    def __str__(self) -> str:
        if not self.finite and self.holds is None:
            return (
                "NOT CHECKED: the model is finite at no point that was drawn; bounds of the "
                f"signals (low=, high=) keep the points where it is defined; {self.how}"
            )
        if not self.differences:
            return f"NOT CHECKED: {self.how}"
        if not self.points:  # it came to no comparison, and that is the fault of the export
            return f"FAILED: {self.how}"
        verdict = "agrees" if self.holds else "DISAGREES"
        rows = ", ".join(f"{name} {gap:.1e}" for name, gap in self.differences.items())
        bar = f"each ≤ {self.tolerance:.0e}" if self.tolerance else "each = 0"
        at = f"{self.points} point{'s' if self.points != 1 else ''}"
        few = f", {self.finite:.0%} of the points drawn are finite" if self.finite < 1 else ""
        return f"{verdict} with the model at {at}: {rows} ({bar}); {self.how}{few}"


@dataclass(frozen=True)
class Points:
    """Seeded points and what the float64 model makes of them in torch; one row a point.

    x (N, nx), u (N, nu), p (N, np), d (N, nd); x_next (N, nx), A (N, nx, nx), B (N, nx, nu),
    y (N, ny), z (N, nz), r (N, nr). All are finite, and `finite` is the share of the points drawn
    that are; where it is 0 the points are such as were found.
    """

    x: np.ndarray
    u: np.ndarray
    p: np.ndarray
    d: np.ndarray
    x_next: np.ndarray
    A: np.ndarray
    B: np.ndarray
    y: np.ndarray
    z: np.ndarray
    r: np.ndarray
    finite: float = 1.0

    def arguments(self, k: int) -> tuple[np.ndarray, ...]:
        """(x, u, p, d) of one point."""
        return self.x[k], self.u[k], self.p[k], self.d[k]

    def __len__(self) -> int:
        return len(self.x)


def in_float64(model: HybridModel) -> HybridModel:
    """A copy in float64, for inference."""
    return copy.deepcopy(model).cpu().to(torch.float64).eval()


def evaluate(model: HybridModel, dtype: str, *, count: int = 8, seed: int = 0) -> Points:
    """Seeded points that `dtype` holds exactly, and what a float64 model gives there."""
    system = model.system
    v, found, share = draw_finite(model, count, seed=seed, dtype=getattr(torch, dtype))
    v = v[: found or count]
    x, u, p, d = v.split([model.nx, system.nu, len(model.fit_parameters), system.nd], -1)
    with torch.no_grad():
        pieces = model.torch_equations
        z = pieces.features(x, pieces.applied(x, u, p), d)
        r = x[:, :0] if model.residual is None or model.nm else model.residual(z)
        x_next, y = model(x, u, d, p=p), model.output(x, u, d, p=p)
    slopes = torch.func.jacrev(lambda x, u: model(x, u, d, p=p).sum(0), argnums=(0, 1))(x, u)
    A, B = (slope.detach().movedim(0, 1) for slope in slopes)
    return Points(*(t.numpy() for t in (x, u, p, d, x_next, A, B, y, z, r)), finite=share)


def derivatives(model: HybridModel, points: Points) -> np.ndarray:
    """ẋ (N, nx) in torch, of a model that has an ODE."""
    v = torch.from_numpy(np.concatenate([points.x, points.u, points.p, points.d], -1))
    with torch.no_grad():
        return torch_derivative(model)(v).numpy()


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of two arrays, relative to the second; NaN agrees with NaN."""
    known = np.isfinite(theirs)
    if not np.array_equal(ours[~known], theirs[~known], equal_nan=True):
        return math.inf
    gap = np.nan_to_num(np.abs(ours - theirs)[known], nan=math.inf).max(initial=0.0)
    return float(gap / max(1.0, float(np.abs(theirs[known]).max(initial=0.0))))
