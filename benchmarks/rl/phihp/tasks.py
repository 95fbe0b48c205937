"""The six tasks: machine, reward, starts, ends, length, and the paper's figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, exp, pi, sin

import casadi as ca
import numpy as np
import torch
from torch import Tensor

from benchmarks.rl.phihp.plants import Plant, cart, rod, two_links
from benchmarks.rl.phihp.systems import ELBOW, SHOULDER, Cart, Rod, TwoLinks
from hybridmodel import Cost
from physics import System

_WILD = 40.0  # rates beyond which an imagined step says nothing [rad/s, m/s]


@dataclass(frozen=True)
class Stage(Cost):
    """ℓ(x, u) of an expression; no terminal cost."""

    of: Callable[[ca.SX, ca.SX], ca.SX]

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return self.of(x, u)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(0)


def _never(x: Tensor) -> Tensor:
    return torch.zeros(x.shape[:-1], dtype=torch.bool)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be done, and what the paper reached.

    system     the physics as known, without friction
    plant      makes the machine with its friction and the published reward
    cost       ℓ(x, u) that stands for −reward in planners and in imagination
    over       x⁺ (…, nx) ↦ whether an imagined step ends the episode
    paper      mean return of the paper, after `paper_steps` real steps
    """

    name: str
    system: System
    plant: Callable[[], Plant]
    cost: Cost
    paper: float
    paper_steps: int
    over: Callable[[Tensor], Tensor] = _never

    @property
    def dt(self) -> float:
        return self.plant().dt

    @property
    def steps(self) -> int:
        """Most steps of an episode."""
        return self.plant().episode_steps

    def ended(self, x: Tensor, u: Tensor, after: Tensor) -> Tensor:
        """What `branched` asks for."""
        return self.over(after)

    def possible(self, x: Tensor) -> Tensor:
        """Whether the plant can be as fast as this (…)."""
        n = self.system.nx // 2
        fastest = torch.tensor(self.plant().fastest[:n], dtype=x.dtype)
        return (x[..., n:].abs() <= fastest.clamp_max(_WILD)).all(-1)

    def starts(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, nx) states at which episodes start."""
        seed = int(torch.randint(2**31, (), generator=generator))
        numbers, plant = np.random.default_rng(seed), self.plant()
        return torch.tensor(np.array([plant.start(numbers) for _ in range(count)]))


def _wrapped(angle: float) -> float:
    return (angle + pi) % (2 * pi) - pi


def _within(*half: float) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda generator: generator.uniform(np.negative(half), half)


def _hanging(*half: float, row: int) -> Callable[[np.random.Generator], np.ndarray]:
    def start(generator: np.random.Generator) -> np.ndarray:
        x = generator.uniform(np.negative(half), half)
        x[row] = _wrapped(x[row] + pi)
        return x

    return start


def _rod_reward(x: np.ndarray, u: np.ndarray, after: np.ndarray) -> float:
    return -(_wrapped(x[0]) ** 2 + 0.1 * x[1] ** 2 + 0.001 * u[0] ** 2)


def _rod_cost(x: ca.SX, u: ca.SX) -> ca.SX:
    angle = ca.atan2(ca.sin(x[0]), ca.cos(x[0]))
    return angle**2 + 0.1 * x[1] ** 2 + 0.001 * u[0] ** 2


def _fallen(x: np.ndarray) -> bool:
    return bool(abs(x[0]) > 2.4 or abs(x[1]) > 12 * 2 * pi / 360)


def _balance_cost(x: ca.SX, u: ca.SX) -> ca.SX:
    return 10 * x[1] ** 2 + 0.2 * x[0] ** 2 + 0.01 * x[2] ** 2 + 0.01 * x[3] ** 2


def _tip_reward(x: np.ndarray, u: np.ndarray, after: np.ndarray) -> float:
    return exp(-((after[0] + 0.5 * sin(after[1])) ** 2) - (0.5 * cos(after[1])) ** 2)


def _tip_cost(x: ca.SX, u: ca.SX) -> ca.SX:
    return -ca.exp(-((x[0] + 0.5 * ca.sin(x[1])) ** 2) - (0.5 * ca.cos(x[1])) ** 2)


def _height(x: np.ndarray) -> float:
    return -cos(x[0]) - cos(x[0] + x[1])


def _links_cost(x: ca.SX, u: ca.SX) -> ca.SX:
    return (ca.cos(x[0]) + ca.cos(x[0] + x[1])) / 2


def _reaching_cost(x: ca.SX, u: ca.SX) -> ca.SX:
    # a step costs something wherever it is, so that the episode's end is worth reaching
    return 1.5 + _links_cost(x, u)


def _reached(x: Tensor) -> Tensor:
    return -torch.cos(x[..., 0]) - torch.cos(x[..., 0] + x[..., 1]) > 1


def _toppled(x: Tensor) -> Tensor:
    return (x[..., 0].abs() > 2.4) | (x[..., 1].abs() > 12 * 2 * pi / 360)


_LINKS = 4 * pi, 9 * pi

TASKS = {
    "pendulum": Task(
        name="pendulum",
        system=Rod(),
        plant=lambda: Plant(Rod(), rod(), _rod_reward, _within(pi, 1.0), 0.05, 200),
        cost=Stage(_rod_cost),
        paper=-263.0,
        paper_steps=2000,
    ),
    "pendulum swing-up": Task(
        name="pendulum swing-up",
        system=Rod(),
        plant=lambda: Plant(
            Rod(), rod(), _rod_reward, _hanging(pi / 32, 1.0, row=0), 0.05, 500, (8.0,)
        ),
        cost=Stage(_rod_cost),
        paper=-356.0,
        paper_steps=5000,
    ),
    "cart-pole": Task(
        name="cart-pole",
        system=Cart(),
        plant=lambda: Plant(
            Cart(),
            cart(),
            lambda x, u, after: 1.0,
            _within(*4 * [0.05]),
            0.02,
            500,
            ends=_fallen,
        ),
        cost=Stage(_balance_cost),
        over=_toppled,
        paper=500.0,
        paper_steps=5000,
    ),
    "cart-pole swing-up": Task(
        name="cart-pole swing-up",
        system=Cart(),
        plant=lambda: Plant(Cart(), cart(), _tip_reward, _hanging(*4 * [0.05], row=1), 0.02, 500),
        cost=Stage(_tip_cost),
        paper=453.0,
        paper_steps=5000,
    ),
    "acrobot": Task(
        name="acrobot",
        system=TwoLinks(inputs=(ELBOW,)),
        plant=lambda: Plant(
            TwoLinks(inputs=(ELBOW,)),
            two_links(),
            lambda x, u, after: -float(_height(after) <= 1),
            _within(*4 * [0.1]),
            0.2,
            500,
            _LINKS,
            ends=lambda x: _height(x) > 1,
            moves="free",
        ),
        cost=Stage(_reaching_cost),
        over=_reached,
        paper=-138.0,
        paper_steps=5000,
    ),
    "acrobot swing-up": Task(
        name="acrobot swing-up",
        system=TwoLinks(inputs=(ELBOW, SHOULDER)),
        plant=lambda: Plant(
            TwoLinks(inputs=(ELBOW, SHOULDER)),
            two_links(),
            lambda x, u, after: _height(after) / 2,
            _within(*4 * [0.1]),
            0.2,
            500,
            _LINKS,
            moves="free",
        ),
        cost=Stage(_links_cost),
        paper=371.0,
        paper_steps=15000,
    ),
}
