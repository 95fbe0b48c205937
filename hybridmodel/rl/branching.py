"""Short rollouts of a model that start where the plant has been.

    uₖ = π(xₖ),   xₖ₊₁ ~ F_e(xₖ, uₖ),   rₖ − λ δ(xₖ, uₖ),   as long as δ(xₖ, uₖ) ≤ stop

δ is `disagreement`. Janner, Fu, Zhang & Levine, When to Trust Your Model, NeurIPS 2019, algorithm
2; members after Chua et al., NeurIPS 2018 (TS1, TS∞); penalty after Yu et al., MOPO, NeurIPS 2020,
eq. 5; stops after Pan et al., Trust the Model When It Is Confident, NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hybridmodel.model import HybridModel
from hybridmodel.rl.imagination import Ended, Imagination, Members, RewardOf
from hybridmodel.rl.transitions import Transitions


def branched(
    model: HybridModel,
    reward: RewardOf,
    policy: Callable[[Tensor], Tensor],
    starts: Tensor,
    length: int,
    *,
    generator: torch.Generator,
    member: Members = "random",
    noise: bool = False,
    stop: float | None = None,
    penalty: float = 0.0,
    ended: Ended | None = None,
) -> Transitions:
    """The steps of a rollout of at most `length` from each of starts (N, nx), all at once.

    policy     x (N, nx) ↦ u (N, nu): `agent.exploring(generator)`
    reward, member, noise, stop, penalty, ended   as of `Imagination`; a rollout ends before the
               step that is not trusted, and nothing has terminated then

    Raises ValueError naming the argument.
    """
    imagined = Imagination(
        model, reward, member=member, noise=noise, stop=stop, penalty=penalty, ended=ended
    )
    return rollouts(imagined, policy, starts, length, generator=generator)


def rollouts(
    imagined: Imagination,
    policy: Callable[[Tensor], Tensor],
    starts: Tensor,
    length: int,
    *,
    generator: torch.Generator,
) -> Transitions:
    """`branched`, with all that concerns the model in one."""
    nx = imagined.model.nx
    if starts.dim() != 2 or starts.shape[-1] != nx:
        raise ValueError(f"starts must have shape (N, {nx}), got {tuple(starts.shape)}")
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    x, parts = starts.detach(), []
    chosen = imagined.drawn(len(x), generator)
    with torch.no_grad():
        for _ in range(length):
            u = policy(x)
            step = imagined.step(x, u, chosen, generator)
            parts.append(Transitions(x, u, step.reward, step.after, step.ended).at(step.trusted))
            alive = step.trusted & ~step.ended
            x, chosen = step.after[alive], chosen[alive]
            if not len(x):
                break
    return Transitions.joined(parts)
