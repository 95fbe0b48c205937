"""Leading dims of tensors that are used together."""

from __future__ import annotations

import torch


def broadcast(*leading: torch.Size) -> torch.Size:
    """What leading dims broadcast to; where all but the empty are equal, which is nearly always,
    without torch's own search, which takes longer than many an operation on the tensors.

    Raises RuntimeError where they do not broadcast.
    """
    distinct = {*leading} - {torch.Size()}
    if len(distinct) > 1:
        return torch.broadcast_shapes(*distinct)
    return distinct.pop() if distinct else torch.Size()
