"""The agent, its value in plans, and Dyna."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import hybridmodel as hm
from hybridmodel import envs
from hybridmodel.excitation import RandomSteps
from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.reward import Reward
from hybridmodel.rl.transitions import Transitions
from hybridmodel.rl.value import WithValue
from physics import CartPole, Pendulum, Signal

pytest.importorskip("stable_baselines3")
from hybridmodel.rl.agent import Agent
from hybridmodel.rl.mbpo import Dyna, Schedule, dyna

SYSTEM = Pendulum()
COORDINATES = Coordinates(SYSTEM)
COST = hm.Quadratic(SYSTEM, state={"angle": 1.0, "rate": 0.1}, input={"torque": 0.1})
REWARD = Reward(SYSTEM, COST)


def bandit(count: int = 400) -> Transitions:
    """One step each, that is best at 0.4 of the largest torque."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    a = 2 * torch.rand(count, 1, generator=generator, dtype=torch.float64) - 1
    reward = -10 * (a[:, 0] - 0.4).square()
    return Transitions(x, COORDINATES.inputs(a), reward, x, torch.ones(count, dtype=torch.bool))


def taught(seed: int = 0, updates: int = 30) -> Agent:
    agent = Agent(COORDINATES, hidden=(16, 16), batch_size=64, seed=seed)
    agent.real.add(bandit())
    agent.learn(updates)
    return agent


def test_it_finds_the_best_input_and_what_it_is_worth() -> None:
    agent = Agent(COORDINATES, hidden=(32, 32), batch_size=128, rate=3e-3, entropy=1e-3)
    steps = bandit()
    agent.real.add(steps)
    agent.learn(500)
    best = COORDINATES.actions(agent(steps.x))
    assert (best - 0.4).abs().mean() < 0.1
    told = agent.critic(steps.x, steps.u)
    assert (told - steps.reward).abs().mean() < 0.6  # of rewards down to −19.6


def test_same_seed_same_bits_and_nobody_elses_draws() -> None:
    torch_before, others_before = torch.get_rng_state(), random.getstate()
    numpy_before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    one, two, other = taught(), taught(), taught(1)
    x = bandit().x
    assert torch.equal(one(x), two(x))
    assert not torch.equal(one(x), other(x))
    assert torch.equal(torch_before, torch.get_rng_state())
    assert others_before == random.getstate()
    assert (numpy_before == np.random.get_state(legacy=False)["state"]["key"]).all()  # noqa: NPY002


def test_batches_mix_real_and_imagined() -> None:
    agent = Agent(COORDINATES, hidden=(8,), batch_size=100, share=0.8)
    steps = bandit()
    agent.real.add(steps)
    assert (agent.sample(100).rewards <= 0).all()
    marked = Transitions(steps.x, steps.u, steps.reward.abs() + 1, steps.after, steps.ended)
    agent.imagined.add(marked)
    assert int((agent.sample(100).rewards > 0).sum()) == 80


def test_a_ring_forgets_the_oldest() -> None:
    agent = Agent(COORDINATES, hidden=(8,), capacity=150, seed=0)
    for k in range(4):
        steps = bandit(100)
        steps.reward.fill_(k)
        agent.real.add(steps)
    assert len(agent.real) == 150
    assert set(agent.sample(500).rewards[:, 0].tolist()) == {2.0, 3.0}


def test_the_mean_policy_is_the_same_in_torch_and_in_a_loop() -> None:
    agent = taught()
    policy = agent.policy()
    policy.reset(0)
    x = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    assert policy(0.0, x[0].numpy()) == pytest.approx(agent(x)[0].numpy(), abs=1e-6)
    plant = envs.make(SYSTEM, engine="ode", dt=0.05)
    log = hm.collect(plant, agent.policy(deterministic=False), steps=20, seed=1)
    again = hm.collect(plant, agent.policy(deterministic=False), steps=20, seed=1)
    assert (log.u == again.u).all()
    assert log.u.std() > 0
    low, high = SYSTEM.inputs[0].low, SYSTEM.inputs[0].high
    assert (log.u >= low).all()
    assert (log.u <= high).all()


def test_weights_come_back(tmp_path: Path) -> None:
    agent, x = taught(), bandit().x
    agent.save(tmp_path / "agent.safetensors")
    again = Agent.load(tmp_path / "agent.safetensors", COORDINATES)
    assert torch.equal(agent(x), again(x))
    assert torch.equal(agent.critic(x), again.critic(x))
    with pytest.raises(ValueError, match="knows other states or inputs"):
        Agent.load(tmp_path / "agent.safetensors", Coordinates(CartPole()))


def test_a_plans_end_is_worth_what_the_critic_says() -> None:
    agent, x = taught(), bandit().x
    value = agent.value(x, hidden=(16,))
    spread = float(agent.critic(x).std())
    assert value.rmse < 0.3 * spread
    model = hm.HybridModel(SYSTEM, dt=0.05)
    cost = WithValue(COST, COORDINATES, value)
    problem = hm.OptimalControlProblem(model, cost, horizon=3)
    for planner in (
        hm.CEM(problem, samples=50, elites=10, iterations=2, policy=agent),
        hm.SQP(problem),
    ):
        plan = planner.plan(np.array([0.5, 0.0]), seed=0)
        states, inputs = torch.tensor(plan.x), torch.tensor(plan.u)
        wanted = -REWARD(states[:-1], inputs).sum() - value(COORDINATES.observed(states[-1]))[0]
        assert plan.cost == pytest.approx(float(wanted), rel=1e-6)


def run(seed: int, **options: Any) -> tuple[Dyna, int]:
    plant = envs.make(SYSTEM, engine="ode", dt=0.05, reward=REWARD.of_plant)
    counted, step = [0], plant.step

    def counting(action: np.ndarray) -> Any:
        counted[0] += 1
        return step(action)

    plant.step = counting  # type: ignore[method-assign]
    agent = Agent(COORDINATES, hidden=(32, 32), batch_size=128, entropy=0.02, seed=seed)
    found = dyna(
        plant,
        hm.HybridModel(SYSTEM, dt=0.05),
        REWARD,
        agent,
        fitting=None,
        episode_steps=40,
        warmup=RandomSteps(SYSTEM.inputs, amplitude=0.9),
        updates_per_round=50,
        seed=seed,
        **options,
    )
    return found, counted[0]


@pytest.mark.slow
def test_imagination_teaches_what_the_plant_wants() -> None:
    def start(generator: np.random.Generator) -> np.ndarray:
        return np.array([generator.uniform(0.6, 1.0), 0.0])

    found, counted = run(0, steps=160, warmup_steps=80, updates_per_step=5, start=start, length=3)
    assert counted == found.history[-1]["steps"] == 160 == sum(e.steps for e in found.episodes)
    values = [episode.value for episode in found.episodes]
    assert values[-1] > 0.6 * np.mean(values[:2])  # of negative returns: less than 60 % of the cost
    assert found.agent.updates == 160 * 5


def test_a_run_repeats() -> None:
    def weights(found: Dyna) -> Tensor:
        return found.agent(torch.eye(2, dtype=torch.float64))

    rules: Any = {"steps": 80, "warmup_steps": 40, "updates_per_step": 1}
    one, two = (run(3, **rules)[0] for _ in range(2))
    assert torch.equal(weights(one), weights(two))
    drop = {"seconds", "evaluation"}
    for a, b in zip(one.history, two.history, strict=True):
        assert {k: v for k, v in a.items() if k not in drop} == {
            k: v for k, v in b.items() if k not in drop
        }
    assert not torch.equal(weights(one), weights(run(4, **rules)[0]))


def test_rollouts_grow_on_a_line() -> None:
    schedule = Schedule(1, 11, start=100, end=200)
    assert [schedule(k) for k in (0, 100, 150, 200, 999)] == [1, 1, 6, 11, 11]
    with pytest.raises(ValueError, match="first"):
        Schedule(5, 2)


def test_wrong_arguments_are_named() -> None:
    for name, value in (("discount", 1.5), ("share", -1.0), ("rate", math.nan)):
        with pytest.raises(ValueError, match=name):
            Agent(COORDINATES, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no steps"):
        Agent(COORDINATES, hidden=(8,)).learn(1)
    narrow = Pendulum(inputs=(Signal("torque", "N·m", -0.5, 0.5),))
    with pytest.raises(ValueError, match="agent: its states or inputs, or their bounds"):
        dyna(
            envs.make(SYSTEM, engine="ode", dt=0.05, reward=REWARD.of_plant),
            hm.HybridModel(SYSTEM, dt=0.05),
            REWARD,
            Agent(Coordinates(narrow), hidden=(8,)),
            steps=2,
            episode_steps=2,
            warmup=RandomSteps(SYSTEM.inputs),
            warmup_steps=2,
        )
    with pytest.raises(ValueError, match="updates_per_step"):
        run(0, steps=10, warmup_steps=5, updates_per_step=0)
