"""A learned inverse model: which inputs lead from one state to another.

    p(u_{t:t+n} | s_t, s_{t+n}) = N(μ_θ(z), σ_θ²(z)),   z = φ(s_t, s_{t+n})

`hybridmodel.rl.solved_inverse` has the model-based one, `hybridmodel.rl.proposals` makes either a
policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import casadi as ca
import torch
from torch import Tensor, nn

from hybridmodel.batches import batch
from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.data import Dataset
from hybridmodel.features import features, names
from hybridmodel.model import HybridModel
from hybridmodel.rl.solved_inverse import state_tensor
from physics import System, tangent
from residuals import MLP

_LEAST, _MOST = -10.0, 1.0  # log σ, in units of the data's deviation


class InverseModel(nn.Module):
    """p(u_{t:t+n} | s_t, s_{t+n}), a normal distribution with a diagonal covariance.

    system   whose states and inputs these are
    steps    n
    hidden   widths of the network
    seed     of its first weights

    It sees both states and their difference, angles as sine and cosine, so that turns do not
    matter. What it learns is a posterior: where several inputs lead to the same end, the mean is
    that of those in the data. Shapes: x, x_next (…, nx), u (…, n, nu). float64; of states with
    memory the continuous ones count. Raises ValueError naming the argument.
    """

    def __init__(
        self, system: System, *, steps: int = 1, hidden: Sequence[int] = (64, 64), seed: int = 0
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if system.nd:
            found = [s.name for s in system.exogenous]
            raise ValueError(f"system: an inverse model sees no exogenous signals, got {found}")
        self.system, self.steps = system, steps
        nz = self.function.size1_out(0)
        outputs = 2 * steps * system.nu
        # its last layer starts at zero, so that the first guess is the mean of the data
        self.network = MLP(hidden, activation="silu", seed=seed, nz=nz, nr=outputs)
        self.input_mean: Tensor
        self.input_scale: Tensor
        self.register_buffer("input_mean", torch.zeros(system.nu, dtype=torch.float64))
        self.register_buffer("input_scale", torch.ones(system.nu, dtype=torch.float64))

    @cached_property
    def function(self) -> ca.Function:
        """(x, x_next) ↦ z in CasADi."""
        states = self.system.states
        x, goal = (ca.SX.sym(name, len(states)) for name in ("x", "goal"))
        seen = names(states)
        apart = tangent.difference(states, goal, x)
        signals = tangent.signals(states)
        z = ca.vertcat(
            features(states, x, seen),
            features(states, goal, seen),
            features(signals, apart, names(signals)),
        )
        return ca.Function("between", [x, goal], [z])

    @cached_property
    def _between(self) -> nn.Module:
        return to_torch(self.function)

    def features(self, x: Tensor, x_next: Tensor) -> Tensor:
        """z (…, nz)."""
        n = len(self.system.states)
        wide = max(n, x.shape[-1]) if isinstance(x, Tensor) and x.dim() else n
        x, x_next = state_tensor("x", x, (n, wide)), state_tensor("x_next", x_next, (n, wide))
        return self._between(x[..., :n], x_next[..., :n])

    def standardize(self, x: Tensor, x_next: Tensor, u: Tensor) -> None:
        """Take the scales of features and inputs from data (N, …)."""
        z = self.features(x, x_next)
        outputs = torch.ones(2 * self.steps * self.system.nu, dtype=torch.float64)
        self.network.standardize(z.mean(0), _positive(z.std(0)), outputs)
        rows = u.reshape(-1, self.system.nu)
        self.input_mean.copy_(rows.mean(0))
        self.input_scale.copy_(_positive(rows.std(0)))

    def forward(self, x: Tensor, x_next: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ (…, n, nu), both in the units of the inputs."""
        out = self.network(self.features(x, x_next))
        middle, spread = out.unflatten(-1, (2, self.steps, self.system.nu)).unbind(-3)
        centre = (_LEAST + _MOST) / 2
        log_sigma = centre + (_MOST - centre) * torch.tanh((spread - centre) / (_MOST - centre))
        return self.input_mean + self.input_scale * middle, log_sigma + self.input_scale.log()

    def mean(self, x: Tensor, x_next: Tensor) -> Tensor:
        """μ (…, n, nu)."""
        return self(x, x_next)[0]

    def sample(self, x: Tensor, x_next: Tensor, generator: torch.Generator) -> Tensor:
        """Inputs (…, n, nu) drawn from the distribution."""
        mean, log_sigma = self(x, x_next)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        return mean + log_sigma.exp() * noise

    def log_prob(self, x: Tensor, x_next: Tensor, u: Tensor) -> Tensor:
        """log density (…) of inputs (…, n, nu)."""
        mean, log_sigma = self(x, x_next)
        scaled = (u - mean) * torch.exp(-log_sigma)
        each = -0.5 * scaled**2 - log_sigma - 0.5 * math.log(2 * math.pi)
        return each.sum((-2, -1))


def fit_inverse(
    system: System,
    data: Dataset,
    *,
    steps: int = 1,
    hidden: Sequence[int] = (64, 64),
    epochs: int = 150,
    batch_size: int = 64,
    rate: float = 3e-3,
    held_out: float = 0.15,
    seed: int = 0,
    progress: Callable[[Mapping[str, float]], None] | None = None,
) -> InverseModel:
    """Maximum likelihood of the logged inputs given the states n steps apart.

    held_out   share of the windows, the last of each log, by whose likelihood the best weights are
               kept: a normal distribution with a network for its variance overfits. Windows that
               share an input with these are in neither part
    progress   called after every epoch with epoch, train and validation −log p per input

    States are the measured y where the system measures its states, as in `fit`, else the logged
    x. Raises ValueError naming the argument.
    """
    if epochs < 1 or batch_size < 1 or not rate > 0:
        raise ValueError(
            f"epochs, batch_size and rate must be positive, got {epochs}, {batch_size}, {rate}"
        )
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must be a share in (0, 1), got {held_out}")
    inverse = InverseModel(system, steps=steps, hidden=hidden, seed=seed)
    windows = batch(HybridModel(system, dt=data.dt), data, steps)
    states = windows.y if system.outputs == system.states else windows.x
    assert states is not None  # else `batch` has no start
    x, x_next, u = states[:, 0], states[:, -1], windows.u
    early, late = [], []
    for log in range(len(data)):
        own = torch.nonzero(windows.log == log)[:, 0]
        first = len(own) - max(1, round(held_out * len(own)))
        early.append(own[: max(0, first - steps + 1)])
        late.append(own[first:])
    train, validation = torch.cat(early), torch.cat(late)
    if not len(train):
        raise ValueError(f"data: {len(u)} windows of {steps} steps are too few to hold some out")
    inverse.standardize(x[train], x_next[train], u[train])
    optimiser = torch.optim.Adam(inverse.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    generator = torch.Generator().manual_seed(seed)
    each = steps * system.nu
    least, best = math.inf, {k: v.clone() for k, v in inverse.state_dict().items()}
    for epoch in range(1, epochs + 1):
        total = 0.0
        for part in train[torch.randperm(len(train), generator=generator)].split(batch_size):
            loss = -inverse.log_prob(x[part], x_next[part], u[part]).mean() / each
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(inverse.parameters(), 1.0)
            optimiser.step()
            total += float(loss.detach()) * len(part)
        schedule.step()
        with torch.no_grad():
            chosen = x[validation], x_next[validation], u[validation]
            now = float(-inverse.log_prob(*chosen).mean()) / each
        if now < least:
            least, best = now, {k: v.clone() for k, v in inverse.state_dict().items()}
        if progress is not None:
            progress({"epoch": epoch, "train": total / len(train), "validation": now})
    inverse.load_state_dict(best)
    return inverse


def _positive(scale: Tensor) -> Tensor:
    """The scale, 1 where a column does not vary."""
    return torch.where(scale > 1e-9, scale, torch.ones_like(scale))
