"""An arm of two links that reaches for points: what it pays, when it got there, a policy for it.

The double pendulum of the demonstrations in PyBullet, with all that it hides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import casadi as ca
import numpy as np
import torch
from torch import Tensor, nn

import hybridmodel as hm
from benchmarks.rl.fitted import TASKS
from hybridmodel.model import HybridModel
from hybridmodel.tasks.task import Task
from residuals import MLP

TASK = TASKS["double-pendulum"]
REACH = 0.3, 0.3  # m, of the links
STEPS, HOLD = 150, 20  # of an episode, and of its end
CLOSE, RADIUS = 0.08, 0.08  # m, of success and of a disc
TRAINING = {"iterations": 400, "batch": 64, "rate": 1e-2}
_RATES, _EFFORT, _END = 0.05, 0.001, 5.0  # weights beside 100 / m² of the distance


class Reaching(hm.Cost):
    """100 |tip − π|² + 0.05 |q̇|² + 0.001 |u|², five times as much at the end."""

    parameters = ("x", "z")

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        away = tip(x) - pi[:2]
        rates = ca.sumsqr(x[2:4])
        return 100 * ca.sumsqr(away) + _RATES * rates + _EFFORT * ca.sumsqr(u)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return _END * (100 * ca.sumsqr(tip(x) - pi[:2]) + _RATES * ca.sumsqr(x[2:4]))


def tip(x: Any) -> Any:
    """(x, z) [m] of the tip, in CasADi."""
    return ca.vertcat(
        REACH[0] * ca.sin(x[0]) + REACH[1] * ca.sin(x[0] + x[1]),
        -REACH[0] * ca.cos(x[0]) - REACH[1] * ca.cos(x[0] + x[1]),
    )


def tips(x: np.ndarray) -> np.ndarray:
    """(…, 2) of states (…, nx)."""
    one, both = x[..., 0], x[..., 0] + x[..., 1]
    return np.stack(
        [
            REACH[0] * np.sin(one) + REACH[1] * np.sin(both),
            -REACH[0] * np.cos(one) - REACH[1] * np.cos(both),
        ],
        axis=-1,
    )


@dataclass(frozen=True)
class Instance:
    """A goal (2,) [m], and the centre (2,) of a disc where there is one."""

    goal: np.ndarray
    disc: np.ndarray | None = None


class Network(nn.Module):
    """u = m + h tanh N(sin q, cos q, q̇ / 5, tip, goal), for whatever limits m ± h it was made."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__()
        self.low = torch.tensor([s.low for s in task.system.inputs])
        self.high = torch.tensor([s.high for s in task.system.inputs])
        self.chain = MLP((64, 64), activation="tanh", seed=seed, nz=10, nr=task.system.nu)

    def forward(self, x: Tensor, goal: Tensor) -> Tensor:
        q, v = x[..., :2], x[..., 2:4]
        one, both = q[..., 0], q.sum(-1)
        at = torch.stack(
            [
                REACH[0] * one.sin() + REACH[1] * both.sin(),
                -REACH[0] * one.cos() - REACH[1] * both.cos(),
            ],
            -1,
        )
        z = torch.cat([q.sin(), q.cos(), v / 5, 4 * (goal - at), 2 * goal], -1)
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return middle + half * torch.tanh(self.chain(z))


class Acting:
    """A trained network as a policy for `collect`, clipped to what the motors give."""

    def __init__(self, network: Network, goal: np.ndarray, share: float) -> None:
        self._network, self._goal, self._share = network, torch.tensor(goal), share

    def reset(self, seed: int | None) -> None:
        """Nothing is remembered."""

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            u = self._network(torch.tensor(y), self._goal).numpy()
        low, high = self._network.low.numpy(), self._network.high.numpy()
        return np.clip(u, self._share * low, self._share * high)


def holds(q: np.ndarray, share: float, load: float) -> bool:
    """Whether 90 % of the true motors' torques keep the true arm still at q."""
    weight = np.array(_weight(load)(q)).ravel()
    most = TASK.hidden.input_gain * (
        share * np.array([s.high for s in TASK.system.inputs]) - TASK.hidden.dead_zone
    )
    return bool((np.abs(weight) <= 0.9 * most).all())


@cache
def _weight(load: float) -> ca.Function:
    """q ↦ torques (2,) that keep the true arm still."""
    true: Any = TASK.hidden.true_system(TASK.system)
    true = replace(true, mass2=float(true.parameters["mass2"]) + load)
    q = ca.SX.sym("q", 2)
    return ca.Function("weight", [q], [true.bias(q, ca.SX.zeros(2), true.namespace())])


def judged(log: hm.Trajectory, instance: Instance) -> tuple[bool, float]:
    """Success, and the largest distance from the goal over the end [m]."""
    assert log.x is not None
    at = tips(log.x)
    distance = float(np.linalg.norm(at[-HOLD:] - instance.goal, axis=1).max())
    fine = log.steps == STEPS and distance < CLOSE
    if instance.disc is not None:
        fine &= bool((np.linalg.norm(at - instance.disc, axis=1) > RADIUS).all())
    return fine, distance


def cost_of(log: hm.Trajectory, goal: np.ndarray) -> float:
    """Σ ℓ dt along the true states, without obstacles."""
    assert log.x is not None
    x, u = log.x[:-1], log.u
    away = ((tips(x) - goal) ** 2).sum(1)
    return TASK.dt * float(
        (100 * away + _RATES * (x[:, 2:] ** 2).sum(1) + _EFFORT * (u**2).sum(1)).sum()
    )


def train(model: HybridModel, network: Network, *, steps: int, seed: int) -> list[float]:
    """Adam on the network's weights through rollouts of the model; the cost by iteration.

    J = Σ ℓ(xₖ, π(xₖ, goal)) + V(x_H) over `steps` from states around rest and from goals before.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=TRAINING["rate"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, int(TRAINING["iterations"]))
    count, history = int(TRAINING["batch"]), []
    cost = Reaching()
    x, u, pi = ca.SX.sym("x", 4), ca.SX.sym("u", 2), ca.SX.sym("pi", 2)
    stage = hm.to_torch(ca.Function("stage", [x, u, pi], [cost.stage(x, u, ca.SX(0), pi)]))
    end = hm.to_torch(ca.Function("end", [x, pi], [cost.terminal(x, pi)]))
    for _ in range(int(TRAINING["iterations"])):
        goal = torch.tensor(_goals(count, generator))
        begin = torch.randn(count, 4, generator=generator, dtype=torch.float64)
        state = begin * torch.tensor([0.1, 0.1, 0.1, 0.1])
        part = count // 2  # the other half begins anywhere, at rest or moving
        spread = torch.tensor([1.5, 1.0, 2.0, 2.0])
        state = torch.cat([state[:part], begin[part:] * spread])
        total = torch.zeros(count, dtype=torch.float64)
        for _ in range(steps):
            action = network(state, goal)
            total = total + stage(state, action, goal)[..., 0]
            state = model(state, action)
        loss = (total + end(state, goal)[..., 0]).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        history.append(float(loss.detach()))
    return history


def _goals(count: int, generator: torch.Generator) -> np.ndarray:
    """(count, 2) goals that the old situation can ask for."""
    found: list[np.ndarray] = []
    while len(found) < count:
        q = (2 * torch.rand(2, generator=generator, dtype=torch.float64) - 1).numpy() * (1.7, 1.8)
        goal = tips(np.append(q, (0, 0)))
        if np.linalg.norm(goal - tips(np.zeros(4))) > 0.3 and holds(q, 1.0, 0.0):
            found.append(goal)
    return np.array(found)
