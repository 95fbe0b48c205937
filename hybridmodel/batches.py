"""Windows of logged data as tensors, in the form that losses and errors need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hybridmodel.data import Dataset
from hybridmodel.model import HybridModel


@dataclass(frozen=True)
class Batch:
    """N windows: x0 (N, nx) with memory, u (N, H, nu), d (N, H, nd), y (N, H+1, ny).

    `x` (N, H+1, n) is the true continuous state where the logs hold it.
    """

    x0: Tensor
    u: Tensor
    d: Tensor
    y: Tensor
    x: Tensor | None

    def __len__(self) -> int:
        return self.u.shape[0]

    def at(self, index: Tensor) -> Batch:
        x = None if self.x is None else self.x[index]
        return Batch(self.x0[index], self.u[index], self.d[index], self.y[index], x)


def batch(
    model: HybridModel,
    data: Dataset,
    horizon: int,
    *,
    stride: int = 1,
    start: Literal["measured", "true"] = "measured",
) -> Batch:
    """All windows of a dataset, each starting from the state that its log tells.

    "measured" starts from y where the system measures its states, else from the logged x;
    "true" starts from the logged x, else from y.
    Raises ValueError where dt or a number of channels is not the model's, or no state is known.
    """
    system = model.system
    if abs(data.dt - model.dt) > 1e-6 * model.dt:
        raise ValueError(f"dataset has dt = {data.dt:.9g} s, the model has {model.dt:.9g} s")
    first = data[0]
    widths = {"u": system.nu, "y": system.ny, "d": system.nd}
    for name, wanted in widths.items():
        if (got := getattr(first, name).shape[1]) != wanted:
            raise ValueError(f"dataset has {got} columns of {name}, the system has {wanted}")
    if first.x is not None and first.x.shape[1] != len(system.states):
        raise ValueError(
            f"dataset has {first.x.shape[1]} columns of x, the system has {len(system.states)}"
        )
    windows = data.windows(horizon, stride=stride, history=system.memory_steps)
    measures_all = system.outputs == system.states
    if windows.x is not None and (start == "true" or not measures_all):
        first_state = windows.x[:, 0]
    elif measures_all:
        first_state = windows.y[:, 0]
    else:
        raise ValueError(
            f"dataset must hold x: {type(system).__name__} does not measure its whole state"
        )
    like = model.theta

    def tensor(array) -> Tensor:
        return torch.as_tensor(array, dtype=like.dtype, device=like.device)

    with torch.no_grad():
        x0 = model.initial_state(tensor(first_state), tensor(windows.past_u))
    x = None if windows.x is None else tensor(windows.x)
    return Batch(x0, tensor(windows.u), tensor(windows.d), tensor(windows.y), x)


def outputs(model: HybridModel, windows: Batch, p: Tensor | None = None) -> Tensor:
    """Predicted y (…, N, H+1, ny) of a rollout from each window's start; p (…, np) if given."""
    x = model.rollout(windows.x0, windows.u, windows.d, p=p)
    if model.system.outputs == model.system.states:
        return x[..., : windows.y.shape[-1]]
    # a sample is measured at the end of a step, under the input of that step
    u, d = (torch.cat([v[:, :1], v], 1) for v in (windows.u, windows.d))
    return model.output(x, u, d)
