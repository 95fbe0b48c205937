"""Windows of logged data as tensors, in the form that losses and errors need."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hybridmodel.data import Dataset
from hybridmodel.model import HybridModel, Member
from physics import System

Start = Literal["measured", "true", "guessed"]


@dataclass(frozen=True)
class Batch:
    """N windows: u (N, H, nu), d (N, H, nd), y (N, H+1, ny), and how each begins.

    start (N, n) continuous state, past_u (N, P, nu), past_d (N, P, nd), past_x (N, P, n) where a
    recurrent residual needs it; x (N, H+1, n) is the true continuous state where logs hold it;
    log (N,) says which log a window is from. With a member axis all have (E, N, …).
    """

    start: Tensor
    past_u: Tensor
    past_d: Tensor
    past_x: Tensor | None
    u: Tensor
    d: Tensor
    y: Tensor
    x: Tensor | None
    log: Tensor

    def __len__(self) -> int:
        return self.u.shape[0]

    def at(self, index: Tensor) -> Batch:
        """The windows of these numbers (…)."""
        named = ((f.name, getattr(self, f.name)) for f in fields(self))
        chosen: dict[str, Any] = {k: None if v is None else v[index] for k, v in named}
        return Batch(**chosen)

    def starting(self, start: Tensor) -> Batch:
        """The same windows from other continuous states."""
        return replace(self, start=start)

    def x0(self, model: HybridModel) -> Tensor:
        """(N, nx) with memory: of a recurrent residual it depends on its weights."""
        return model.initial_state(self.start, self.past_u, past_x=self.past_x, past_d=self.past_d)


def batch(
    model: HybridModel,
    data: Dataset,
    horizon: int,
    *,
    stride: int = 1,
    start: Start = "measured",
) -> Batch:
    """All windows of a dataset, each starting from the state that its log tells.

    "measured" starts from y where the system measures its states, else from the logged x;
    "true" starts from the logged x, else from y; "guessed" is content with less: states that
    are no outputs start from the system's neutral value.
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
    windows = data.windows(horizon, stride=stride, history=model.memory_steps)
    like = model.theta

    def tensor(array) -> Tensor:
        return torch.as_tensor(array, dtype=like.dtype, device=like.device)

    measures_all = system.outputs == system.states
    if windows.x is not None and (start == "true" or not measures_all):
        first_state, past = tensor(windows.x[:, 0]), windows.past_x
    elif measures_all:
        first_state, past = tensor(windows.y[:, 0]), windows.past_y
    elif start == "guessed":
        first_state, past = guessed(system, tensor(windows.y[:, 0])), None
    else:
        raise ValueError(
            f"dataset must hold x: {type(system).__name__} does not measure its whole state; "
            "let an estimator fill it in (`with_states`), or fit with initial='estimated'"
        )
    return Batch(
        start=first_state,
        past_u=tensor(windows.past_u),
        past_d=tensor(windows.past_d),
        past_x=tensor(past) if model.nm and past is not None else None,
        u=tensor(windows.u),
        d=tensor(windows.d),
        y=tensor(windows.y),
        x=None if windows.x is None else tensor(windows.x),
        log=torch.as_tensor(windows.trajectory, device=like.device),
    )


def guessed(system: System, y: Tensor) -> Tensor:
    """Continuous states (…, n) of outputs (…, ny): where a state is an output of the same name,
    that, else its neutral value."""
    measured = {s.name: i for i, s in enumerate(system.outputs)}
    columns = [
        y[..., measured[s.name]] if s.name in measured else torch.full_like(y[..., 0], value)
        for s, value in zip(system.states, system.neutral, strict=True)
    ]
    return torch.stack(columns, -1)


def outputs(
    model: HybridModel, windows: Batch, p: Tensor | None = None, member: Member = "mean"
) -> Tensor:
    """Predicted y (…, N, H+1, ny) of a rollout from each window's start; p (…, np) if given.

    With member="each" a leading axis counts the members.
    """
    x = model.rollout(windows.x0(model), windows.u, windows.d, p=p, member=member)
    return observed(model, windows, x, p)


def observed(model: HybridModel, windows: Batch, x: Tensor, p: Tensor | None = None) -> Tensor:
    """y (…, N, H+1, ny) of states x (…, N, H+1, nx) along the windows."""
    if model.system.outputs == model.system.states and model.scheme.enters != "output":
        return x[..., : windows.y.shape[-1]]
    # a sample is measured at the end of a step, under the input of that step
    u, d = (torch.cat([v[..., :1, :], v], -2) for v in (windows.u, windows.d))
    return model.output(x, u, d, p=None if p is None else p[..., None, :])
