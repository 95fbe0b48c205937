"""Rewards: those of a cost, and those learned from their labels.

    r(x, u) = −ℓ(x, u)    or    r_η(x, u) with the chance c_η(x, u) that the episode ends

A model is fitted without them, so that one model serves many tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import casadi as ca
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.costs import Cost
from hybridmodel.features import features, names
from hybridmodel.learned import Learned, cut
from hybridmodel.rl.transitions import Transitions
from physics import System
from residuals import MLP

_SURE = 20.0  # logit beyond which a chance is 0 or 1
_STEPS = 100.0  # of reward that an ending is taken to cost


class Reward:
    """r(x, u, k) = −ℓ(x, u, k, π) of a Cost, for batches of torch and for a plant.

    parameters  π (nπ,) that the cost names
    timed       whether r depends on k, which imagined steps do not know

    Raises ValueError where π does not fit.
    """

    def __init__(self, system: System, cost: Cost, *, parameters: np.ndarray | None = None) -> None:
        pi = np.zeros(0) if parameters is None else np.asarray(parameters, dtype=float)
        if pi.shape != (len(cost.parameters),):
            raise ValueError(
                f"parameters must be {len(cost.parameters)} numbers {list(cost.parameters)}, "
                f"got {parameters!r}"
            )
        n = len(system.states)
        x, u, k = ca.SX.sym("x", n), ca.SX.sym("u", system.nu), ca.SX.sym("k")
        symbols = {"x": x, "u": u, "k": k}
        pieces = cut("reward", symbols, lambda: {"reward": -cost.stage(x, u, k, ca.SX(ca.DM(pi)))})
        self.timed = any(f.nnz_in(2) and _depends(f, 2) for f in (*pieces.arguments, pieces.result))
        self.cost, self.n, self._pieces = cost, n, pieces.map(to_torch)

    def __call__(self, x: Tensor, u: Tensor, k: float = 0.0) -> Tensor:
        """r (…) of x (…, nx) and u (…, nu)."""
        maps, x = self._pieces.modules, x[..., : self.n]
        step = x.new_full((1,), k)
        return self._pieces.run(lambda i, z: maps[i](z), x, u, step)[..., 0]

    def of_plant(self, x: np.ndarray, u: np.ndarray, k: int) -> float:
        """The same of one state and input, as `Environment(reward=)` asks for it."""
        with torch.no_grad():
            return float(self(torch.tensor(x), torch.tensor(u), float(k)))


class Labelled(nn.Module):
    """z (…, nz) ↦ r_η, and the logit of c_η where endings were seen."""

    def __init__(self, reward: MLP, ending: MLP | None, mean: Tensor) -> None:
        super().__init__()
        self.reward, self.ending = reward, ending
        self.mean: Tensor
        self.register_buffer("mean", mean)

    def forward(self, z: Tensor) -> Tensor:
        return self.mean + self.reward(z)


class Chance(nn.Module):
    """z (…, nz) ↦ c = 1 / (1 + exp(−logit))."""

    def __init__(self, ending: MLP) -> None:
        super().__init__()
        self.ending = ending

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.ending(z).clamp(-_SURE, _SURE))


class LearnedReward(Cost):
    """ℓ = −r_η(z) + κ c_η(z),  V = 0,  z = φ(x, u) with angles as sine and cosine.

    network   r_η, and c_η where endings were seen
    loss      κ, what an ending costs a plan: the reward that it ends

    For every planner. A policy learns from episodes that end: give it `Reward(system,
    learned.rewards)` and `ended=learned.ended`. A terminal value is added by `WithValue`.
    """

    def __init__(self, system: System, network: Labelled, *, loss: float = 0.0) -> None:
        self.system, self.network, self.loss = system, network, loss

    def features(self, x: ca.SX, u: ca.SX) -> ca.SX:
        """z (nz,)."""
        signals = (*self.system.states, *self.system.inputs)
        return features(signals, ca.vertcat(x, u), names(signals))

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        z = self.features(x, u)
        cost = -Learned(self.network)(z)
        if self.network.ending is not None:
            cost += self.loss * Learned(Chance(self.network.ending))(z)
        return cost

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(0)

    @property
    def rewards(self) -> LearnedReward:
        """The reward alone, endings not counted."""
        alone = Labelled(self.network.reward, None, self.network.mean)
        return LearnedReward(self.system, alone)

    def ended(self, x: Tensor, u: Tensor, after: Tensor | None = None) -> Tensor:
        """Whether an episode ends (…) with u at x; nowhere where no ending was seen.

        As `dyna(ended=)`, `branched` and model environments want it, which tell x⁺ too.
        """
        if self.network.ending is None:
            return torch.zeros(x.shape[:-1], dtype=torch.bool)
        return self.network.ending(self.seen(x, u))[..., 0] > 0

    def seen(self, x: Tensor, u: Tensor) -> Tensor:
        """z (…, nz) of x (…, nx) and u (…, nu)."""
        return self._seen(x[..., : len(self.system.states)], u)

    @cached_property
    def _seen(self) -> nn.Module:
        x, u = ca.SX.sym("x", len(self.system.states)), ca.SX.sym("u", self.system.nu)
        return to_torch(ca.Function("seen", [x, u], [self.features(x, u)]))


@dataclass(frozen=True)
class RewardFit:
    """A learned reward, and its errors on held-out transitions.

    rmse     of rewards, in their unit; scale their standard deviation
    missed   share of endings that were not foreseen, and of steps wrongly called one; NaN
             where none were held out
    """

    cost: LearnedReward
    rmse: float
    scale: float
    missed: float
    false: float


def fit_reward(
    system: System,
    data: Transitions,
    *,
    hidden: tuple[int, ...] = (64, 64),
    epochs: int = 200,
    batch_size: int = 256,
    rate: float = 3e-3,
    held_out: float = 0.15,
    loss: float | None = None,
    seed: int = 0,
) -> RewardFit:
    """Learn r_η by least squares and c_η by cross entropy from labelled transitions.

    held_out   share of transitions that errors are told of
    loss       κ of `LearnedReward`; default: a hundred steps of the reward's root mean square

    Raises ValueError naming the argument.
    """
    if not 0 < held_out < 0.9:
        raise ValueError(f"held_out must be a share in (0, 0.9), got {held_out}")
    if len(data) < 20:
        raise ValueError(f"data must hold at least 20 transitions, got {len(data)}")
    for name, values in (("x", data.x), ("u", data.u), ("reward", data.reward)):
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"data must be finite, its {name} is not")
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("rate", rate)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    if loss is not None and not loss >= 0:
        raise ValueError(f"loss must be at least 0, got {loss}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data), generator=generator)
    cut_at = max(1, round(held_out * len(data)))
    r, ended = data.reward, data.ended.to(torch.float64)
    learn, check = order[cut_at:], order[:cut_at]
    mean, scale = r[learn].mean(), r[learn].std().clamp_min(1e-12)
    ends = bool(ended[learn].any())
    blank = LearnedReward(system, Labelled(MLP(hidden).sized(1, 1), None, mean))
    z = blank.seen(data.x, data.u)
    nz = z.shape[-1]
    centre, spread = z[learn].mean(0), z[learn].std(0).clamp_min(1e-6)
    reward = MLP(hidden, activation="silu", seed=seed).sized(nz, 1)
    reward.standardize(centre, spread, scale[None])
    ending = MLP(hidden, activation="silu", seed=seed + 1).sized(nz, 1) if ends else None
    if ending is not None:
        ending.standardize(centre, spread, torch.ones(1, dtype=torch.float64))
    network = Labelled(reward, ending, mean)
    weights = list(network.parameters())
    optimizer = torch.optim.Adam(weights, lr=rate)
    annealed = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        shuffled = learn[torch.randperm(len(learn), generator=generator)]
        for index in shuffled.split(batch_size):
            seen = z[index]
            misfit = ((network(seen)[:, 0] - r[index]) / scale).square().mean()
            if ending is not None:
                misfit = misfit + functional.binary_cross_entropy_with_logits(
                    ending(seen)[:, 0], ended[index]
                )
            optimizer.zero_grad()
            misfit.backward()
            optimizer.step()
        annealed.step()
    for weight in weights:
        weight.requires_grad_(False)
    size = float(r[learn].square().mean().sqrt())
    cost = LearnedReward(system, network.eval(), loss=_STEPS * size if loss is None else loss)
    with torch.no_grad():
        error = network(z[check])[:, 0] - r[check]
        told, true = cost.ended(data.x[check], data.u[check]), data.ended[check]
    return RewardFit(
        cost,
        rmse=float(error.square().mean().sqrt()),
        scale=float(scale),
        missed=_share(~told, true),
        false=_share(told, ~true),
    )


def _depends(function: ca.Function, argument: int) -> bool:
    """Whether any output depends on an argument."""
    symbols = function.sx_in()
    return any(ca.depends_on(value, symbols[argument]) for value in function.call(symbols))


def _share(what: Tensor, of: Tensor) -> float:
    return float((what & of).sum() / of.sum()) if bool(of.any()) else float("nan")
