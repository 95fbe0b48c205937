"""The same planner as one writes it in torch: what the time of a plan is held against.

Float32, one thread, no gradients; 20 rollouts of the policy, then 3 rounds of 220 candidates whose
states are computed step by step for all at once. Physics, network, policy and critic are the same
numbers as in the model that it stands beside.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.rl.phihp.systems import Cart, Rod, TwoLinks
from hybridmodel import HybridModel
from hybridmodel.rl.agent import Agent
from hybridmodel.rl.value import Value
from physics import System
from residuals import MLP

Rates = Callable[[Tensor, Tensor], Tensor]
Stage = Callable[[Tensor, Tensor], Tensor]


def rod(x: Tensor, u: Tensor) -> Tensor:
    return 15 * torch.sin(x[:, :1]) + 3 * u


def cart(x: Tensor, u: Tensor) -> Tensor:
    sin, cos, rate = torch.sin(x[:, 1]), torch.cos(x[:, 1]), x[:, 3]
    a = (u[:, 0] + 0.05 * rate * rate * sin) / 1.1
    turning = (9.8 * sin - a * cos) / (0.5 * (4 / 3 - 0.1 / 1.1 * cos * cos))
    return torch.stack([a - 0.05 / 1.1 * turning * cos, turning], -1)


def two_links(x: Tensor, u: Tensor) -> Tensor:
    first, second, rate1, rate2 = x.unbind(-1)
    sin, cos = torch.sin(second), torch.cos(second)
    d1, d2 = 3.5 + cos, 1.25 + 0.5 * cos
    phi2 = 4.9 * torch.sin(first + second)
    phi1 = 14.7 * torch.sin(first) + phi2 - 0.5 * rate2 * (rate2 + 2 * rate1) * sin
    ahead = d2 / d1
    pull = u[:, 0] + ahead * phi1 - 0.5 * rate1 * rate1 * sin - phi2
    elbow = pull / (1.25 - ahead * d2)
    also = u[:, 1] if u.shape[-1] > 1 else 0.0
    return torch.stack([-(also + d2 * elbow + phi1) / d1, elbow], -1)


def rod_cost(x: Tensor, u: Tensor) -> Tensor:
    angle = torch.remainder(x[:, 0] + torch.pi, 2 * torch.pi) - torch.pi
    return angle * angle + 0.1 * x[:, 1] ** 2 + 0.001 * u[:, 0] ** 2


def balance_cost(x: Tensor, u: Tensor) -> Tensor:
    return (x * x) @ _BALANCE


def tip_cost(x: Tensor, u: Tensor) -> Tensor:
    tip = x[:, 0] + 0.5 * torch.sin(x[:, 1])
    return -torch.exp(-tip * tip - (0.5 * torch.cos(x[:, 1])) ** 2)


def links_cost(x: Tensor, u: Tensor) -> Tensor:
    return 0.5 * (torch.cos(x[:, 0]) + torch.cos(x[:, 0] + x[:, 1]))


def reaching_cost(x: Tensor, u: Tensor) -> Tensor:
    return 1.5 + links_cost(x, u)


_BALANCE = torch.tensor([0.2, 10.0, 0.01, 0.01])
RATES: dict[type, Rates] = {Rod: rod, Cart: cart, TwoLinks: two_links}
STAGES: dict[str, Stage] = {
    "pendulum": rod_cost,
    "pendulum swing-up": rod_cost,
    "cart-pole": balance_cost,
    "cart-pole swing-up": tip_cost,
    "acrobot": reaching_cost,
    "acrobot swing-up": links_cost,
}


class Plain:
    """CEM over inputs (H, nu) of a hybrid model, with a policy's samples and a critic at the end.

    value   the critic, None without; γ is the agent's with it and 1 without
    """

    def __init__(
        self,
        model: HybridModel,
        stage: Stage,
        agent: Agent,
        value: Value | None,
        *,
        horizon: int,
        samples: int,
        of_policy: int,
        iterations: int,
        elites: int,
        smoothing: float = 0.1,
    ) -> None:
        system = model.system
        self.rates, self.stage, self.dt = RATES[type(system)], stage, model.dt
        self.n = system.nx // 2
        self.angles, self.order = _columns(system)
        if not isinstance(model.residual, MLP):
            raise ValueError(f"model: its residual must be an MLP, got {model.residual!r}")
        self.network = _single(model.residual.chain)
        self.policy = nn.Sequential(_single(agent.sac.actor.latent_pi), agent.sac.actor.mu)
        self.value = None if value is None else _single(value)
        self.discount = 1.0 if value is None else agent.discount
        self.high = torch.tensor([s.high for s in system.inputs], dtype=torch.float32)
        self.horizon, self.samples, self.of_policy = horizon, samples, of_policy
        self.iterations, self.elites, self.smoothing = iterations, elites, smoothing

    def observed(self, x: Tensor) -> Tensor:
        """States, angles as sine and cosine, in the order of the model."""
        angles = x[:, self.angles]
        return torch.cat([x, angles.sin(), angles.cos()], -1).index_select(-1, self.order)

    def step(self, x: Tensor, u: Tensor) -> Tensor:
        """x⁺ (B, nx)."""
        learned = self.network(torch.cat([self.observed(x), u], -1))
        v = x[:, self.n :] + self.dt * (self.rates(x, u) + learned)
        return torch.cat([x[:, : self.n] + self.dt * v, v], -1)

    def proposed(self, x: Tensor, noise: Tensor) -> Tensor:
        """(n, H, nu) of the policy."""
        u = []
        for k in range(self.horizon):
            mean = self.high * torch.tanh(self.policy(self.observed(x)))
            u.append((mean + noise[:, k]).clamp(-self.high, self.high))
            x = self.step(x, u[-1])
        return torch.stack(u, 1)

    def costs(self, x: Tensor, u: Tensor) -> Tensor:
        """J (B,)."""
        total = torch.zeros(len(u))
        for k in range(self.horizon):
            total = total + self.discount**k * self.stage(x, u[:, k])
            x = self.step(x, u[:, k])
        if self.value is None:
            return total
        return total - self.discount**self.horizon * self.value(self.observed(x))[:, 0]

    @torch.inference_mode()
    def plan(self, x0: Tensor, guess: Tensor | None, generator: torch.Generator) -> Tensor:
        """u (H, nu) from x₀ (nx,), in float32."""
        H, nu = self.horizon, len(self.high)
        cold = guess is None
        mean = torch.zeros(H, nu) if guess is None else guess
        deviation = (self.high * (0.6 if cold else 0.3)).expand(H, nu)
        noise = 0.3 * self.high * torch.randn(self.of_policy, H, nu, generator=generator)
        own = self.proposed(x0.expand(self.of_policy, -1), noise)
        x, best, least = x0.expand(self.samples, -1), mean, float("inf")
        for _ in range(self.iterations):
            noise = torch.randn(self.samples - self.of_policy, H, nu, generator=generator)
            u = torch.cat([own, (mean + deviation * noise).clamp(-self.high, self.high)])
            total = self.costs(x, u)
            found, order = torch.topk(total, self.elites, largest=False)
            elite = u[order]
            if float(found[0]) < least:
                best, least = elite[0], float(found[0])
            mean = torch.lerp(elite.mean(0), mean, self.smoothing)
            deviation = torch.lerp(elite.std(0), deviation, self.smoothing)
        return best


def _single(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).float()


def _columns(system: System) -> tuple[slice, Tensor]:
    """Where x has its angles, and where (x, sines, cosines) has the model's features."""
    states, n = system.states, system.nx
    angles = [i for i, s in enumerate(states) if s.angle]
    order: list[int] = []
    for i, signal in enumerate(states):
        k = len([a for a in angles if a < i])
        order += [n + k, n + len(angles) + k] if signal.angle else [i]
    return slice(angles[0], angles[-1] + 1), torch.tensor(order)
