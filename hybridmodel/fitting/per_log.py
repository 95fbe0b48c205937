"""Parameters with a value of their own in each log.

ϑ_l = ϑ + δ_l on the chosen rows,    δ_l = argmin Σ_{windows of l} mean e² + ε ‖δ_l‖²
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hybridmodel.batches import Batch
from hybridmodel.fitting.loss import misfit
from hybridmodel.model import HybridModel

STEP, PRIOR, LARGEST = 1e-4, 1e-9, 0.5  # of differences in ϑ; ε; of one Gauss–Newton step


def own_rows(model: HybridModel, names: Sequence[str]) -> list[int]:
    """Rows of ϑ that differ from log to log."""
    for name in names:
        if name not in model.fit_parameters:
            raise ValueError(
                f"per_log: {name!r} is none of the model's fit_parameters {model.fit_parameters}"
            )
    return [model.fit_parameters.index(name) for name in names]


def parameters_of(
    model: HybridModel, shifts: Tensor, rows: Sequence[int], log: Tensor | None = None
) -> Tensor:
    """p (logs, np), or p (…, np) of windows that are of these logs."""
    shift = shifts if log is None else shifts[log]
    place = torch.eye(len(model.theta)).to(shift)[list(rows)]
    return model.torch_equations.constrain(model.theta + shift @ place)


def solved(
    model: HybridModel,
    windows: Batch,
    scale: Tensor,
    rows: Sequence[int],
    logs: int,
    *,
    iterations: int = 4,
) -> Tensor:
    """δ (logs, rows) at everything else as it is, by Gauss–Newton for all logs at once."""
    model.eval()
    with torch.no_grad():
        shifts = model.theta.new_zeros(logs, len(rows))
        size = windows.y[0].numel()

        def error(shifts: Tensor) -> Tensor:
            p = parameters_of(model, shifts, rows, windows.log)
            e = misfit(model, windows, scale, p).flatten(1) / size**0.5
            return torch.nan_to_num(e, nan=1e3).clamp(-1e3, 1e3)

        for _ in range(iterations):
            here = error(shifts)
            step = STEP * torch.eye(len(rows)).to(shifts)
            J = torch.stack(
                [(error(shifts + row) - error(shifts - row)) / (2 * STEP) for row in step], -1
            )
            normal = shifts.new_zeros(logs, len(rows), len(rows))
            normal.index_add_(0, windows.log, J.mT @ J)
            right = shifts.new_zeros(logs, len(rows))
            right.index_add_(0, windows.log, (J.mT @ here[..., None])[..., 0])
            normal = normal + PRIOR * torch.eye(len(rows)).to(shifts)
            right = right + PRIOR * shifts
            change = torch.linalg.solve(normal, right[..., None])[..., 0]
            shifts = shifts - change.clamp(-LARGEST, LARGEST)
        return shifts
