"""Models and plants as Gymnasium environments, and short rollouts of them."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torch import Tensor

import hybridmodel as hm
from hybridmodel import envs
from hybridmodel.density import transition
from hybridmodel.rl.branching import branched
from hybridmodel.rl.imagination import OutOfBounds
from hybridmodel.rl.model_env import ModelEnv, ModelVectorEnv, Scaled
from hybridmodel.rl.reward import Reward
from hybridmodel.uncertainty import disagreement
from physics import CartPole, Pendulum
from residuals import Ensemble

SYSTEM = Pendulum()
COST = hm.Quadratic(
    SYSTEM,
    state={"angle": 1.0, "rate": 0.1},
    input={"torque": 0.01},
    target={"angle": math.pi},
)
REWARD = Reward(SYSTEM, COST)


def parted(system: Any = SYSTEM) -> hm.HybridModel:
    """A model whose members differ, with noise."""
    model = hm.HybridModel(system, Ensemble((8,), count=3), dt=0.05)
    assert isinstance(model.residual, Ensemble)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        weight = model.residual.mean.weight
        weight.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    model.noise.fill_(1e-6)
    return model.requires_grad_(False).eval()


def drawn(count: int, nx: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, nx, generator=generator, dtype=torch.float64)


def swings(x: Tensor) -> Tensor:
    return 2 * torch.sin(3 * x[..., :1])


@pytest.mark.parametrize("options", [{"noise": True}, {"member": "mean"}, {"member": "fixed"}])
def test_gymnasiums_contract(options: Any) -> None:
    env = ModelEnv(parted(), COST, starts=drawn(5), episode_steps=20, **options)
    check_env(env, skip_render_check=True)


def test_the_contract_of_stable_baselines() -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(ModelEnv(parted(), COST, starts=drawn(5), episode_steps=20))
    checker.check_env(Scaled(envs.make(SYSTEM, engine="ode", dt=0.05, episode_steps=20)))


def test_many_at_once_are_as_one_by_one() -> None:
    n, steps = 4, 7
    rules: Any = {"starts": drawn(5), "episode_steps": 5, "member": "mean"}
    many = ModelVectorEnv(parted(), COST, n, **rules)
    alone = [ModelEnv(parted(), COST, **rules) for _ in range(n)]
    o, info = many.reset(seed=3)
    for i, env in enumerate(alone):
        assert (env.reset(options={"state": info["x"][i]})[0] == o[i]).all()
    generator = np.random.default_rng(0)
    for k in range(steps):
        a = generator.uniform(-1, 1, (n, 1)).astype(np.float32)
        o, reward, terminated, truncated, info = many.step(a)
        assert (truncated == (k % 5 == 4)).all()
        for i, env in enumerate(alone):
            seen, r, ended, late, told = env.step(a[i])
            assert (r, ended, late) == (
                pytest.approx(reward[i], abs=1e-12),
                terminated[i],
                truncated[i],
            )
            if late:  # the vector has begun anew
                assert seen == pytest.approx(info["final_obs"][i], abs=1e-6)
                assert told["x"] == pytest.approx(info["final_info"]["x"][i], abs=1e-12)
                env.reset(options={"state": info["x"][i]})
            else:
                assert seen == pytest.approx(o[i], abs=1e-6)
                assert told["x"] == pytest.approx(info["x"][i], abs=1e-12)


def test_the_model_of_a_plant_is_that_plant() -> None:
    plant = Scaled(envs.make(SYSTEM, engine="ode", dt=0.05, reward=REWARD.of_plant))
    model = hm.HybridModel(SYSTEM, dt=0.05, substeps=5)
    env = ModelEnv(model, COST, starts=drawn(2), episode_steps=50)
    place = {"state": np.array([0.4, -1.0])}
    assert plant.reset(options=place)[0] == pytest.approx(env.reset(options=place)[0])
    generator = np.random.default_rng(1)
    for _ in range(20):
        a = generator.uniform(-1, 1, 1).astype(np.float32)
        true, imagined = plant.step(a), env.step(a)
        assert imagined[0] == pytest.approx(true[0], abs=1e-5)
        assert imagined[1] == pytest.approx(true[1], abs=1e-5)


def test_same_seed_same_bits() -> None:
    def run(seed: int) -> np.ndarray:
        env = ModelVectorEnv(parted(), COST, 3, starts=drawn(5), episode_steps=4, noise=True)
        rows = [env.reset(seed=seed)[0]]
        rows += [env.step(np.full((3, 1), 0.5))[0] for _ in range(9)]
        return np.array(rows)

    assert (run(1) == run(1)).all()
    assert (run(1) != run(2)).any()


def test_another_library_learns_in_it() -> None:
    SAC = pytest.importorskip("stable_baselines3").SAC
    env = ModelEnv(parted(), COST, starts=drawn(5), episode_steps=10)
    agent = SAC("MlpPolicy", env, learning_starts=8, batch_size=8, device="cpu")
    assert agent.learn(20).num_timesteps == 20


def test_discrete_actions_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="takes actions from Discrete"):
        Scaled(gymnasium.make("CartPole-v1"))
    with pytest.raises(ValueError, match="CartPole-v1 takes actions from Discrete"):
        envs.GymnasiumPlant(gymnasium.make("CartPole-v1"), CartPole())


def test_a_step_in_doubt_truncates_and_does_not_terminate() -> None:
    env = ModelEnv(parted(), COST, starts=drawn(5), episode_steps=50, stop=1e-9)
    env.reset(seed=0)
    assert env.step(np.zeros(1))[2:4] == (False, True)


def test_rollouts_of_the_mean_are_those_of_the_model() -> None:
    model, x0 = parted(), drawn(6)
    steps = branched(
        model,
        REWARD,
        swings,
        x0,
        4,
        generator=torch.Generator(),
        member="mean",
    )
    x, u = steps.x.reshape(4, 6, 2), steps.u.reshape(4, 6, 1)
    ahead = model.rollout(x0, u.transpose(0, 1))
    torch.testing.assert_close(x, ahead.transpose(0, 1)[:4])
    torch.testing.assert_close(steps.after[-6:], ahead[:, -1])
    torch.testing.assert_close(steps.reward, REWARD(steps.x, steps.u))
    assert not steps.ended.any()


def test_a_fixed_member_goes_all_the_way() -> None:
    model, x0, n = parted(), drawn(8), 8
    steps = branched(
        model,
        REWARD,
        swings,
        x0,
        5,
        generator=torch.Generator().manual_seed(0),
        member="fixed",
    )
    u = steps.u.reshape(5, n, 1).transpose(0, 1)
    each = model.rollout(x0, u, member="each")  # (E, n, 6, nx)
    apart = (each[:, :, -1] - steps.after[-n:]).abs().amax(-1)
    assert (apart.min(0).values < 1e-9).all()
    assert len(apart.argmin(0).unique()) > 1


def test_rollouts_stop_where_members_part_and_doubt_costs() -> None:
    model, x0 = parted(), drawn(40)
    rules: Any = {"member": "fixed"}

    def run(**more: Any) -> Any:
        generator = torch.Generator().manual_seed(0)
        return branched(model, REWARD, swings, x0, 6, generator=generator, **rules, **more)

    free = run()
    level = float(disagreement(model, free.x, free.u).median())
    stopped = run(stop=level)
    assert 0 < len(stopped) < len(free) == 240
    assert (disagreement(model, stopped.x, stopped.u) <= level).all()
    assert not stopped.ended.any()
    punished = run(penalty=2.0)
    doubt = disagreement(model, free.x, free.u)
    torch.testing.assert_close(punished.reward, free.reward - 2 * doubt)


def test_draws_have_the_models_mean_and_spread() -> None:
    model = parted()
    x0 = torch.tensor([[0.4, 1.0]], dtype=torch.float64)
    steps = branched(
        model,
        REWARD,
        swings,
        x0.expand(4000, -1),
        1,
        generator=torch.Generator().manual_seed(0),
        member="mean",
        noise=True,
    )
    mean, covariance = transition(model, x0, swings(x0))
    error = steps.after - mean
    spread = covariance[0].diagonal().sqrt()
    assert (error.mean(0).abs() < 4 * spread / math.sqrt(4000)).all()
    torch.testing.assert_close(error.std(0), spread, rtol=0.06, atol=0)


def test_what_leaves_its_bounds_has_ended() -> None:
    system = CartPole()
    model = hm.HybridModel(system, dt=0.05)
    x0 = torch.tensor([[2.3, 0.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    still = Reward(system, hm.Quadratic(system, state={"position": 1.0}, input={}))
    steps = branched(
        model,
        still,
        lambda x: torch.zeros_like(x[:, :1]),
        x0,
        3,
        generator=torch.Generator(),
    )
    assert steps.ended.sum() == 1
    assert len(steps) == 4
    assert (OutOfBounds(system)(steps.x, steps.u, steps.after) == steps.ended).all()


def test_what_float32_cannot_hold_is_not_trusted() -> None:
    """Policies learn in float32, where the square of 1e20 is infinite."""
    for scale, held in ((1e10, True), (1e20, False)):
        steps = branched(
            hm.HybridModel(SYSTEM, dt=0.05),
            lambda x, u: -(x[..., 1] ** 2),
            swings,
            scale * torch.tensor([[0.0, 1.0]], dtype=torch.float64),
            1,
            generator=torch.Generator(),
            ended=lambda x, u, after: torch.zeros(len(x), dtype=torch.bool),
        )
        assert len(steps) == held


def test_starts_are_its_own_and_of_any_precision() -> None:
    starts = drawn(3).float()
    env = ModelVectorEnv(parted(), COST, 2, starts=starts, episode_steps=1)
    starts += 5
    env.reset(seed=0)
    env.step(np.zeros((2, 1)))  # the episodes end, and others start
    assert (np.abs(env.step(np.zeros((2, 1)))[-1]["x"]) < 4).all()
    lost = ModelVectorEnv(
        parted(), COST, 2, starts=lambda g, n: torch.full((n, 2), math.nan), episode_steps=1
    )
    with pytest.raises(ValueError, match="starts must give finite x"):
        lost.reset()
    with pytest.raises(ValueError, match="options: the only one is 'state'"):
        env.reset(options={"stat": [0.0, 0.0]})


def test_wrong_arguments_are_named() -> None:
    model = parted()
    rules: Any = {"generator": torch.Generator()}
    with pytest.raises(ValueError, match="starts"):
        branched(model, REWARD, swings, drawn(3, 4), 1, **rules)
    with pytest.raises(ValueError, match="length"):
        branched(model, REWARD, swings, drawn(3), 0, **rules)
    with pytest.raises(ValueError, match="member"):
        branched(model, REWARD, swings, drawn(3), 1, **{**rules, "member": "all"})
    bare = hm.HybridModel(SYSTEM, dt=0.05)
    with pytest.raises(ValueError, match="stop and penalty"):
        branched(bare, REWARD, swings, drawn(3), 1, stop=0.5, **rules)
    with pytest.raises(ValueError, match="starts"):
        ModelEnv(model, COST, starts=drawn(3, 4), episode_steps=5)
    with pytest.raises(ValueError, match="episode_steps"):
        ModelEnv(model, COST, starts=drawn(3), episode_steps=0)
