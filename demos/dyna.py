"""A policy from a few hundred real steps: soft actor-critic on rollouts of a hybrid model.

python demos/dyna.py

The motor of the pendulum is weaker than known, and there is dry friction. Evaluations are separate
episodes that teach nothing; on the way up a step is worth little.
"""

from __future__ import annotations

import math

import casadi as ca
import numpy as np
import torch

import hybridmodel as hm
from hybridmodel import envs, physics, placement, residuals
from hybridmodel.rl.agent import Agent
from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.learning import trial
from hybridmodel.rl.mbpo import dyna
from hybridmodel.rl.reward import Reward


class Upright(hm.Cost):
    """ℓ = −½ (1 − cos θ) / (1 + θ̇²/10): 1 a step for a pendulum that stands still."""

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return -0.5 * (1 - ca.cos(x[0])) / (1 + x[1] ** 2 / 10) + 1e-3 * u[0] ** 2

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return ca.SX(0)


def start(generator: np.random.Generator) -> np.ndarray:
    return np.array([generator.uniform(-0.5, 0.5), 0.0])


def main(quick: bool = False) -> None:
    torch.set_num_threads(1)
    system, cost = physics.Pendulum(), Upright()
    reward = Reward(system, cost)
    hidden = envs.HiddenEffects(coulomb=(0.1,), input_gain=0.8)
    rules = {"dt": 0.05, "hidden": hidden, "reward": reward.of_plant}
    plant, judge = (envs.make(system, engine="ode", **rules) for _ in range(2))

    model = hm.HybridModel(
        system,
        residuals.Ensemble((16, 16), count=3),
        dt=0.05,
        placement=placement.acceleration,
        fit_parameters=("damping", "motor_gain"),
    )
    coordinates = Coordinates(system)
    agent = Agent(coordinates, discount=0.98, target_rate=0.01, entropy="auto_0.1")

    def judged(agent: Agent) -> float:
        return float(np.mean(trial(judge, agent.policy(), 100, 3, start=start)))

    def told(row: object) -> None:
        assert isinstance(row, dict)
        if not math.isnan(row.get("evaluation", math.nan)):
            print(f"{row['steps']:5.0f} real steps: return {row['evaluation']:.1f} of at most 100")

    found = dyna(
        plant,
        model,
        reward,
        agent,
        steps=120 if quick else 600,
        episode_steps=60,
        warmup=hm.RandomSteps(system.inputs, amplitude=0.9),
        warmup_steps=120,
        start=start,
        updates_per_step=1 if quick else 20,
        length=40,
        rollouts_per_step=4,
        updates_per_round=60 if quick else 200,
        refit_every=200,
        stop=0.5,
        evaluate=judged,
        evaluate_every=120,
        progress=told,
    )
    for name, value in found.model.parameter_values().items():
        print(f"{name}: {float(system.parameters[name]):.3f} → {value:.3f}")
    plant.close()
    judge.close()


if __name__ == "__main__":
    main()
