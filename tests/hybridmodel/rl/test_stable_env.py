"""Stable-Baselines3 trains in the model, on the numbers of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC

import hybridmodel as hm
from hybridmodel import physics, residuals, rl

SYSTEM = physics.Pendulum()
COST = hm.Quadratic(SYSTEM, state={"angle": 1.0}, input={"torque": 0.1}, target={"angle": 3.0})


def env(n: int = 3, steps: int = 4) -> rl.ModelVectorEnv:
    model = hm.HybridModel(SYSTEM, residuals.Ensemble((4,), count=2), dt=0.05)
    starts = torch.tensor([[0.1, 0.0], [1.0, -1.0]], dtype=torch.float64)
    return rl.ModelVectorEnv(model, COST, n, starts=starts, episode_steps=steps)


def test_it_gives_the_numbers_of_the_environment() -> None:
    plain, stable = env(), rl.StableVectorEnv(env())
    stable.seed(3)
    observed, _ = plain.reset(seed=3)
    assert np.array_equal(stable.reset(), observed)
    generator = np.random.default_rng(0)
    for _ in range(6):
        actions = generator.uniform(-1, 1, (3, 1)).astype(np.float32)
        observed, reward, terminated, truncated, info = plain.step(actions)
        o, r, over, infos = stable.step(actions)
        assert np.array_equal(o, observed)
        assert np.allclose(r, reward)
        assert np.array_equal(over, terminated | truncated)
        for i in np.flatnonzero(over):
            assert np.array_equal(infos[i]["terminal_observation"], info["final_obs"][i])
            assert infos[i]["TimeLimit.truncated"] == (truncated[i] and not terminated[i])


def test_a_state_is_set_for_all() -> None:
    stable = rl.StableVectorEnv(env())
    stable.set_options({"state": [0.3, 0.2]})
    stable.reset()
    assert [info["x"].tolist() for info in stable.reset_infos] == 3 * [[0.3, 0.2]]
    stable.reset()
    assert stable.reset_infos[0]["x"].tolist() != [0.3, 0.2]  # for one reset


def test_an_agent_of_theirs_learns_in_it() -> None:
    agent = SAC(
        "MlpPolicy",
        rl.StableVectorEnv(env()),
        learning_starts=6,
        policy_kwargs={"net_arch": [8]},
        seed=0,
        device="cpu",
    )
    agent.learn(30)
    assert agent.num_timesteps >= 30
    assert agent._n_updates > 0


def test_what_cannot_be_done_for_one_episode_is_refused() -> None:
    stable = rl.StableVectorEnv(env())
    assert stable.get_attr("episode_steps", [0, 2]) == [4, 4]
    with pytest.raises(AttributeError, match="share one model"):
        stable.set_attr("episode_steps", 5)
    with pytest.raises(ValueError, match="env must be a ModelVectorEnv"):
        rl.StableVectorEnv(object())  # type: ignore[arg-type]
