"""Inverse models as policies: what a sampling planner takes as `policy=`.

π(x) = first of the inputs from x to x_goal,   or to a point of a reference ahead of x
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from hybridmodel.planners.sampling.proposals import Policy
from hybridmodel.rl.solved_inverse import Weights, root_weights
from physics import System


class Inverse(Protocol):
    """Inputs (…, n, nu) from x (…, nx) to x_next (…, nx)."""

    @property
    def system(self) -> System: ...

    def mean(self, x: Tensor, x_next: Tensor) -> Tensor: ...


def proposal(inverse: Inverse, goal: Tensor | Callable[[Tensor], Tensor]) -> Policy:
    """π(x (B, nx)) → u (B, nu): the first of the inputs that lead to the goal.

    goal   x_goal (n,), or x ↦ x_goal (B, n): a point of a reference ahead of x, see `ahead`

    n counts the continuous states. Raises ValueError naming the argument.
    """
    n = len(inverse.system.states)
    if isinstance(goal, Tensor):
        if goal.shape != (n,) or not torch.isfinite(goal).all():
            raise ValueError(f"goal must be {n} finite numbers, got {goal}")
    elif not callable(goal):
        raise ValueError(f"goal must be a torch.Tensor ({n},) or a function, got {type(goal)}")

    def policy(x: Tensor) -> Tensor:
        if isinstance(goal, Tensor):
            wanted = goal.to(x).expand(x.shape[0], -1)
        else:
            wanted = goal(x)
            if wanted.shape != (x.shape[0], n):
                raise ValueError(
                    f"goal must return shape {(x.shape[0], n)}, got {tuple(wanted.shape)}"
                )
        with torch.no_grad():
            return inverse.mean(x, wanted)[..., 0, :]

    return policy


def ahead(
    system: System, reference: Tensor, *, steps: int = 1, weights: Weights = None
) -> Callable[[Tensor], Tensor]:
    """x ↦ the state `steps` after the point of a reference that is nearest to x.

    reference   (T, n) states, `model.dt` apart; its last one is held
    weights     W of the distance, as in `solve_inverse`; name rates too where a reference crosses
                itself

    A policy knows no time: this is feedback on where along its path a state is. Raises ValueError
    where the reference is empty, not finite or of another width, or the system has rotations.
    """
    n = len(system.states)
    if not isinstance(reference, Tensor):
        raise ValueError(f"reference must be a torch.Tensor (T, {n}), got {type(reference)}")
    if reference.dim() != 2 or reference.shape[1] != n or not len(reference):
        raise ValueError(f"reference must have shape (T, {n}), got {tuple(reference.shape)}")
    if not torch.isfinite(reference).all():
        raise ValueError("reference must be finite, it has entries that are not")
    if system.quaternion_rows:
        raise ValueError(f"system: {type(system).__name__} has rotations, which `ahead` does not")
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}")
    root, path = root_weights(system, weights), reference.double()
    angles = torch.tensor([s.angle for s in system.states])

    def goal(x: Tensor) -> Tensor:
        apart = x[..., None, :n].double() - path
        turned = torch.where(angles, 2 * math.pi * torch.round(apart / (2 * math.pi)), 0.0)
        nearest = (root * (apart - turned)).square().sum(-1).argmin(-1)
        return path[(nearest + steps).clamp(max=len(path) - 1)]

    return goal
