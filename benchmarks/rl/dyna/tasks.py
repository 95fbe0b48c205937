"""What is learned: two plants, what is known of them, and their rewards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import casadi as ca
import gymnasium
import numpy as np

from hybridmodel.collection import Environment
from hybridmodel.costs import Cost
from hybridmodel.envs import GymnasiumPlant, make
from hybridmodel.rl.learning import Start, trial
from hybridmodel.rl.reward import Reward
from hybridmodel.tasks.cartpole import CARTPOLE
from physics import CartPole, Signal, System

TRIALS = 5  # evaluation episodes


class Upright(Cost):
    """ℓ = −½ (1 − cos θ) exp(−s²) / (1 + θ̇²/10) + 10⁻⁴ F².

    1 a step for a pole that stands still over the middle of its rail, less where it turns round.
    """

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        up = 0.5 * (1 - ca.cos(x[1])) * ca.exp(-(x[0] ** 2))
        return -up / (1 + x[3] ** 2 / 10) + 1e-4 * ca.sumsqr(u)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(0)


class Alive(Cost):
    """ℓ = −1 as long as the episode lasts."""

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(-1.0)

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(0)


@dataclass(frozen=True)
class Trial:
    """A task: what is known of its plant, its reward, and how long it may take.

    threshold   mean return of a solved one
    """

    system: System
    cost: Cost
    plant: Callable[[], Any]
    dt: float
    fit_parameters: tuple[str, ...]
    threshold: float
    episode_steps: int
    training_steps: int
    warmup_steps: int
    budget: int
    budget_alone: int
    every: int
    every_alone: int
    piece: int
    start: Start | None = None


def _hanging(generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(-1, 1, 4) * np.array([0.3, 0.3, 0.0, 0.0])


def _bullet() -> Environment:
    system, cost = CartPole(), Upright()
    return make(
        system,
        dt=0.04,
        hidden=replace(CARTPOLE.hidden, observation_noise=0.0),
        reward=Reward(system, cost).of_plant,
    )


_INVERTED = CartPole(
    cart_mass=8.0,
    pole_mass=4.0,
    pole_length=0.4,
    pole_inertia=0.15,
    cart_damping=0.5,
    pole_damping=0.5,
    states=(
        Signal("position", "m", -0.95, 0.95),  # the rail ends at 1 m
        Signal("angle", "rad", math.pi - 0.2, math.pi + 0.2, angle=True),
        Signal("velocity", "m/s", rate_of="position"),
        Signal("rate", "rad/s", rate_of="angle"),
    ),
    inputs=(Signal("force", "N", -300.0, 300.0),),
)


def _mujoco() -> Any:
    def state(o: np.ndarray) -> np.ndarray:
        return np.array([o[0], math.pi - o[1], o[2], -o[3]])  # it falls to the right, ours turns

    return GymnasiumPlant(gymnasium.make("InvertedPendulum-v5"), _INVERTED, state=state)


TASKS: Mapping[str, Trial] = {
    "cart-pole swing-up (PyBullet)": Trial(
        system=CartPole(),
        cost=Upright(),
        plant=_bullet,
        dt=0.04,
        fit_parameters=CARTPOLE.recipe.fit_parameters,
        threshold=90.0,
        episode_steps=150,
        training_steps=100,
        warmup_steps=200,
        budget=1200,
        budget_alone=30_000,
        every=200,
        every_alone=1000,
        piece=25,
        start=_hanging,
    ),
    "InvertedPendulum-v5 (MuJoCo)": Trial(
        system=_INVERTED,
        cost=Alive(),
        plant=_mujoco,
        dt=0.04,
        fit_parameters=("cart_mass", "pole_mass", "pole_length", "cart_damping", "pole_damping"),
        threshold=950.0,
        episode_steps=1000,
        training_steps=100,
        warmup_steps=100,
        budget=600,
        budget_alone=20_000,
        every=100,
        every_alone=500,
        piece=4,
    ),
}


def judged(task: Trial, plant: Any, policy: Any, seed: int) -> float:
    found = trial(plant, policy, task.episode_steps, TRIALS, start=task.start, seed=seed)
    return float(np.mean(found))
