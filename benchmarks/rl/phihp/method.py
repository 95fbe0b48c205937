"""One seed: learn the friction, learn a policy and its critic in imagination, plan with them.

    episodes of the plant → hybrid model → SAC on its rollouts → CEM over policy samples [+ V_ψ]

V_ψ is SAC's critic, or on the pendulum that swings up, where a few percent decide, found by value
iteration on the model.

The physics is frictionless; a network of the paper's size adds accelerations. The first episode is
random, the others are planned with the model so far. The reward is known, as in the paper, whose
planner computes it too; planners and critics see the task's cost, returns are of the published
reward. Budget of the paper: 200 samples and 20 of the policy, 3 iterations, a plan a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.rl.phihp.tasks import Task
from hybridmodel import CEM, HybridModel, OptimalControlProblem, RandomSteps, receding_horizon
from hybridmodel.closed_loop import RecedingHorizon
from hybridmodel.rl.agent import Agent
from hybridmodel.rl.branching import branched
from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.learning import Learning, learn
from hybridmodel.rl.reward import Reward
from hybridmodel.rl.transitions import Transitions
from hybridmodel.rl.value import Value, WithValue
from hybridmodel.rl.value_iteration import iterate_value
from physics.integrators import semi_implicit_euler
from residuals import MLP

SAMPLES, OF_POLICY, ITERATIONS, ELITES = 220, 20, 3, 20
_BATCH, _LENGTH, _UPDATES = 64, 10, 50  # rollouts, their steps, and updates after them
_PIECE = 10  # steps of the shortest log that is fitted to


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one task.

    episodes        of the plant
    horizon         of the planner in the loop
    final           horizon of the final one
    value           what stands at its end: the critic, the value iterated on the model, or None
    updates         of the agent
    reward_unit     of the agent
    """

    episodes: int
    horizon: int
    final: int
    value: Literal["critic", "iterated"] | None
    updates: int
    reward_unit: float


SETTINGS = {
    "pendulum": Settings(
        episodes=2, horizon=25, final=25, value=None, updates=2000, reward_unit=10.0
    ),
    "pendulum swing-up": Settings(
        episodes=3, horizon=30, final=5, value="iterated", updates=2000, reward_unit=10.0
    ),
    "cart-pole": Settings(
        episodes=3, horizon=25, final=25, value=None, updates=2000, reward_unit=1.0
    ),
    "cart-pole swing-up": Settings(
        episodes=3, horizon=50, final=50, value=None, updates=2000, reward_unit=1.0
    ),
    "acrobot": Settings(
        episodes=3, horizon=14, final=20, value="critic", updates=3000, reward_unit=2.0
    ),
    "acrobot swing-up": Settings(
        episodes=3, horizon=14, final=14, value=None, updates=2000, reward_unit=1.0
    ),
}


def untrained(task: Task, seed: int) -> HybridModel:
    """The physics with a network that says nothing yet."""
    network = MLP((16, 16), seed=seed)
    return HybridModel(task.system, network, dt=task.dt, integrator=semi_implicit_euler)


def learned(task: Task, settings: Settings, seed: int) -> Learning:
    """Model and episodes of the loop."""

    def control(model: HybridModel) -> RecedingHorizon:
        problem = OptimalControlProblem(model, task.cost, horizon=settings.horizon)
        return receding_horizon(
            CEM(
                problem,
                samples=SAMPLES,
                elites=ELITES,
                iterations=ITERATIONS,
                precision="float32",
            )
        )

    return learn(
        task.plant(),
        untrained(task, seed),
        control,
        episodes=settings.episodes,
        steps=task.steps,
        first=RandomSteps(task.system.inputs, amplitude=1.0),
        piece=_PIECE,
        seed=seed,
    )


def imagined(task: Task, settings: Settings, found: Learning, seed: int) -> tuple[Agent, Value]:
    """Policy and critic from rollouts of the model, which start where the plant or they have been.

    A quarter of them starts where episodes do, a quarter at states of the logs, and half go on
    where others have ended. Rollouts that spin faster than the plant can are cut.
    """
    coordinates, reward = Coordinates(task.system), Reward(task.system, task.cost)
    agent = Agent(
        coordinates,
        rate=1e-3,
        share=0.9,
        imagined_capacity=50_000,
        entropy=0.05,
        target_rate=0.02,
        reward_unit=settings.reward_unit,
        seed=seed,
    )
    real = Transitions.joined([episode.transitions() for episode in found.episodes])
    ended = task.ended(real.x, real.u, real.after)
    agent.real.add(Transitions(real.x, real.u, reward(real.x, real.u), real.after, ended))
    generator = torch.Generator().manual_seed(seed)
    explore, ends, quarter = agent.exploring(generator), real.x, _BATCH // 4
    kept = [real.x]
    for _ in range(settings.updates // _UPDATES):
        drawn = [(real.x, quarter), (ends, 2 * quarter)]
        starts = [pool[torch.randint(len(pool), (n,), generator=generator)] for pool, n in drawn]
        steps = branched(
            found.model,
            reward,
            explore,
            torch.cat([task.starts(quarter, generator), *starts]),
            _LENGTH,
            generator=generator,
            noise=False,
            ended=task.ended,
        )
        steps = steps.at(task.possible(steps.after))
        going = steps.after[~steps.ended][-_BATCH:]
        ends = going if len(going) else real.x
        agent.imagined.add(steps)
        agent.learn(_UPDATES)
        kept = [*kept, steps.x][-settings.updates // (2 * _UPDATES) :]
    states = torch.cat([real.x, *kept])
    if settings.value == "iterated":
        return agent, iterated(task, found.model, agent.discount, seed)
    chosen = torch.randperm(len(states), generator=generator)[:5000]
    return agent, agent.value(states[chosen], seed=seed)


def iterated(task: Task, model: HybridModel, discount: float, seed: int) -> Value:
    """The value of the task on the model, at states anywhere: angles all round, rates as fast as
    the plant allows."""
    n = task.system.nx // 2
    reach = np.append(np.full(n, math.pi), task.plant().fastest[:n])
    states = np.random.default_rng((seed, 7)).uniform(-1, 1, (3000, 2 * n)) * reach
    problem = OptimalControlProblem(model, task.cost, horizon=10, discount=discount)
    return iterate_value(
        problem, states, rounds=100, epochs=10, candidates=16, knots=4, seed=seed
    ).value


def mean_policy(agent: Agent) -> Callable[[Tensor], Tensor]:
    """The agent's mean as a few layers: in a search its deviation is not asked for."""
    to, actor = agent.coordinates, agent.sac.actor
    layers = nn.Sequential(actor.latent_pi, actor.mu, nn.Tanh())

    def policy(x: Tensor) -> Tensor:
        return to.inputs(layers(to.observed(x).float()).double())

    return policy


def planner(task: Task, settings: Settings, model: HybridModel, agent: Agent, value: Value) -> CEM:
    """The final planner."""
    cost = WithValue(task.cost, agent.coordinates, value) if settings.value else task.cost
    problem = OptimalControlProblem(
        model,
        cost,
        horizon=settings.final,
        discount=agent.discount if settings.value else 1.0,
    )
    return CEM(
        problem,
        samples=SAMPLES,
        elites=ELITES,
        iterations=ITERATIONS,
        precision="float32",
        policy=mean_policy(agent),
        policy_share=OF_POLICY / SAMPLES,
    )
