"""The model-based inverse: inputs that bring the model itself from one state to another.

    min over u_{t:t+n} inside its bounds:  ‖Fⁿ(x, u) ⊟ x_goal‖²_W + λ ‖(u − u_ref) / h‖²

by Levenberg–Marquardt through the differentiable model, all of a batch side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybridmodel.model import HybridModel
from hybridmodel.rl.boxed_least_squares import boxed_least_squares
from physics import System, tangent

Weights = Mapping[str, float] | None


@dataclass(frozen=True)
class Reached:
    """The inputs that were found: u (…, n, nu), where the model ends x (…, nx), how far from the
    goal ‖·‖_W error (…), and after how many steps the search ended."""

    u: Tensor
    x: Tensor
    error: Tensor
    iterations: int


def solve_inverse(
    model: HybridModel,
    x: Tensor,
    x_goal: Tensor,
    *,
    steps: int = 1,
    weights: Weights = None,
    effort: float = 1e-6,
    guess: Tensor | None = None,
    reference: Tensor | None = None,
    bounds: tuple[Sequence[float], Sequence[float]] | None = None,
    iterations: int = 20,
    tolerance: float = 1e-8,
) -> Reached:
    """Inputs that bring the model from x to x_goal in n steps, batched over leading dims.

    weights     W by the name of a tangent row of the state [1/unit²]; default 1 each, and a row
                that is not named weighs nothing
    effort      λ, of inputs in units of half their range h
    guess       (…, n, nu) from which the search begins; default: `reference`
    reference   u_ref (nu,), default: the middle of the bounds
    bounds      (low, high) of u (nu,); default: those of the system's inputs
    iterations, tolerance   of Levenberg–Marquardt; it ends where no problem of the batch still
                lowers its cost by a share of `tolerance`

    Errors of angles are wrapped: x_goal and x_goal + 2π are one goal. Where the goal is out of
    reach the nearest point in W is found, up to local minima. Raises ValueError naming the
    argument.
    """
    if steps < 1 or iterations < 1:
        raise ValueError(f"steps and iterations must be at least 1, got {steps} and {iterations}")
    for name, number in (("effort", effort), ("tolerance", tolerance)):
        if not 0 <= number < math.inf:
            raise ValueError(f"{name} must be a number of at least 0, got {number}")
    system = model.system
    n, nu = len(system.states), system.nu
    if system.nd:
        found = [s.name for s in system.exogenous]
        raise ValueError(f"model: its exogenous signals {found} are not told")
    low, high = _bounds(system, bounds)
    middle, half = (low + high) / 2, (high - low) / 2
    toward = middle if reference is None else torch.as_tensor(reference, dtype=torch.float64)
    if toward.shape != (nu,) or not torch.isfinite(toward).all():
        raise ValueError(f"reference must be {nu} finite numbers, got {reference}")
    root = root_weights(system, weights)
    angles = torch.tensor([s.angle for s in tangent.signals(system.states)])
    x = state_tensor("x", x, (n, model.nx))
    x_goal = state_tensor("x_goal", x_goal, (n, model.nx))[..., :n]
    for name, given in (("x", x), ("x_goal", x_goal), ("guess", guess)):
        if isinstance(given, Tensor) and not torch.isfinite(given).all():
            raise ValueError(f"{name} must be finite, it has entries that are not")
    if x.shape[-1] == n and model.nx > n:
        x = model.initial_state(x)
    lead = torch.broadcast_shapes(x.shape[:-1], x_goal.shape[:-1])
    shape = (*lead, steps, nu)
    begin = toward.expand(shape)
    if guess is not None:
        if not isinstance(guess, Tensor) or guess.shape != shape:
            got = tuple(guess.shape) if isinstance(guess, Tensor) else type(guess).__name__
            raise ValueError(f"guess must be a tensor of shape {shape}, got {got}")
        begin = guess.double()
    count = math.prod(lead)
    if not count:
        raise ValueError(f"x must hold a state at least, got shape {tuple(x.shape)}")
    starts = x.expand(*lead, -1).reshape(count, -1)
    goals = x_goal.expand(*lead, -1).reshape(count, -1)
    scaled = ((begin - middle) / half).reshape(count, -1)
    anchor = ((toward - middle) / half).repeat(steps)
    price = math.sqrt(effort)

    def inputs(v: Tensor) -> Tensor:
        return middle + half * v.unflatten(-1, (steps, nu))

    def ends(v: Tensor) -> Tensor:
        """Weighted distance (…, rows) of where v (…, B, n·nu) leads from the goal."""
        reached = model.rollout(starts, inputs(v))[..., -1, :n]
        error = model.state_difference(reached, goals)
        turned = torch.where(angles, (2 * math.pi * torch.round(error / (2 * math.pi))), 0.0)
        return root * (error - turned.detach())

    def residuals(v: Tensor) -> Tensor:
        return torch.cat([ends(v), price * (v - anchor)], -1)

    def slopes(v: Tensor) -> tuple[Tensor, Tensor]:
        # one row of the batch for each row of the error, so that one pass back gives them all
        rows = len(root)
        copies = v.detach().expand(rows, *v.shape).requires_grad_()
        with torch.enable_grad():
            error = ends(copies)
            (slope,) = torch.autograd.grad(error.diagonal(dim1=0, dim2=2).sum(), copies)
        J = slope.movedim(0, 1)
        own = price * torch.eye(v.shape[-1], dtype=v.dtype).expand(len(v), -1, -1)
        e = torch.cat([error[0].detach(), price * (v - anchor)], -1)
        return e, torch.cat([J, own], -2)

    solved = boxed_least_squares(
        residuals, slopes, scaled, iterations=iterations, tolerance=tolerance
    )
    with torch.no_grad():
        u = inputs(solved.v)
        reached = model.rollout(starts, u)[..., -1, :]
        error = ends(solved.v).norm(dim=-1)
    return Reached(
        u=u.reshape(shape),
        x=reached.reshape(*lead, -1),
        error=error.reshape(lead),
        iterations=solved.iterations,
    )


@dataclass(frozen=True, eq=False)
class ModelInverse:
    """`solve_inverse` with its settings, in the form of an `Inverse`."""

    model: HybridModel
    steps: int = 1
    weights: Weights = None
    effort: float = 1e-6
    reference: Tensor | None = None
    bounds: tuple[Sequence[float], Sequence[float]] | None = None
    iterations: int = 5

    @property
    def system(self) -> System:
        """Whose states and inputs these are."""
        return self.model.system

    def mean(self, x: Tensor, x_next: Tensor) -> Tensor:
        """u (…, n, nu)."""
        return solve_inverse(
            self.model,
            x,
            x_next,
            steps=self.steps,
            weights=self.weights,
            effort=self.effort,
            reference=self.reference,
            bounds=self.bounds,
            iterations=self.iterations,
        ).u


def state_tensor(name: str, value: Tensor, widths: tuple[int, ...]) -> Tensor:
    """The states (…, width) in float64. ValueError where they are no tensor of such a width."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a torch.Tensor (…, {widths[0]}), got {type(value)}")
    if not value.dim() or value.shape[-1] not in widths:
        wanted = " or ".join(map(str, dict.fromkeys(widths)))
        raise ValueError(f"{name} must have {wanted} columns, got shape {tuple(value.shape)}")
    return value.double()


def _bounds(
    system: System, bounds: tuple[Sequence[float], Sequence[float]] | None
) -> tuple[Tensor, Tensor]:
    """low, high (nu,), both finite and apart."""
    given = bounds or ([s.low for s in system.inputs], [s.high for s in system.inputs])
    low, high = (torch.as_tensor(np.array(b, dtype=float)) for b in given)
    if low.shape != (system.nu,) or high.shape != (system.nu,):
        raise ValueError(f"bounds must be two rows of {system.nu} numbers, got {bounds}")
    if not (torch.isfinite(low).all() and torch.isfinite(high).all() and (low < high).all()):
        raise ValueError(
            f"bounds must be finite with low < high, got {low.tolist()} and {high.tolist()}"
        )
    return low, high


def root_weights(system: System, weights: Weights) -> Tensor:
    """√W (tangent rows,)."""
    rows = [s.name for s in tangent.signals(system.states)]
    if weights is None:
        return torch.ones(len(rows), dtype=torch.float64)
    if unknown := set(weights) - set(rows):
        raise ValueError(f"weights: no row {sorted(unknown)[0]!r}; rows are {rows}")
    if any(not 0 <= w < math.inf for w in weights.values()):
        raise ValueError(f"weights must be finite and at least 0, got {dict(weights)}")
    return torch.tensor([math.sqrt(weights.get(row, 0.0)) for row in rows], dtype=torch.float64)
