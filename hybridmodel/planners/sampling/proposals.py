"""Candidates that a policy proposes: its rollouts through the model.

    uₖ = clip(π(xₖ) + σ εₖ),  xₖ₊₁ = F(xₖ, uₖ, dₖ)

Sikchi, Zhou & Held, Learning Off-Policy with Online Planning, CoRL 2021; Hansen, Wang & Su,
Temporal Difference Learning for Model Predictive Control, ICML 2022, algorithm 1, lines 4-5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hybridmodel.model import HybridModel
from hybridmodel.planners.planner import Task
from hybridmodel.rollouts import RefusedError, kernel_of, refusal, served, widest

Policy = Callable[[Tensor], Tensor]
Step = Callable[[Tensor, Tensor, Tensor], Tensor]


def proposed(
    model: HybridModel, policy: Policy, task: Task, noise: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """Inputs (B, H, nu) of a policy from the task's x₀.

    policy    π(x (B, nx)) → u (B, nu); a module is given its own dtype, others float64
    noise     σ ε (B, H, nu) in units of the inputs

    An input that is not finite becomes the middle of its range. Where the task's deadline passes,
    the last inputs are held. Raises ValueError where the policy returns another shape.
    """
    B, H, nu = noise.shape
    first = next(policy.parameters(), None) if isinstance(policy, nn.Module) else None
    kind = torch.float64 if first is None else first.dtype
    x = torch.tensor(task.x0).expand(B, -1)
    ahead = torch.tensor(task.pi[:H, : model.system.nd])
    u = torch.empty_like(noise)
    step = _step(model, x, u, ahead)
    for k in range(H):
        action = policy(x.to(kind))
        if action.shape != (B, nu):
            raise ValueError(f"policy must return u {(B, nu)}, got {tuple(action.shape)}")
        action = (action.to(noise) + noise[:, k]).clamp(low, high)
        u[:, k] = torch.where(torch.isfinite(action), action, (low + high) / 2)
        if task.expired():
            u[:, k:] = u[:, k : k + 1].clone()
            break
        if k + 1 < H:
            x = step(x, u[:, k], ahead[k])
    return u


def _step(model: HybridModel, x: Tensor, u: Tensor, d: Tensor) -> Step:
    """(x, u, d) ↦ x⁺ of a model that stays as it is during a search, by the kernel if it has one.

    A model looks at its weights at every call, to see whether its kernel still is the right one:
    several times the work of a step of a few candidates. Torch takes milliseconds for a step of
    however few, plan after plan, so any number of them is worth a kernel.
    """
    if refusal(model, (x, u, d), x, u, worth=1) is None:
        p = model.physical().detach()
        try:
            kernel, weights = kernel_of(served(model), "mean", widest(model, x, u, d, p))
        except RefusedError:
            pass
        else:
            weights = weights.detach()

            def compiled(x: Tensor, u: Tensor, d: Tensor) -> Tensor:
                return kernel(x, u[:, None], p[None], d[None, None], weights)[:, 1]

            return compiled
    return lambda x, u, d: model(x, u, d if len(d) else None)
