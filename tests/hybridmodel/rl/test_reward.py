"""Rewards of a cost and learned ones: one number on every path."""

from __future__ import annotations

from dataclasses import dataclass

import casadi as ca
import numpy as np
import pytest
import torch

import hybridmodel as hm
from hybridmodel import envs, physics
from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.reward import Reward, fit_reward
from hybridmodel.rl.transitions import Transitions, run_episode

SYSTEM = physics.Pendulum()
COST = hm.Quadratic(
    SYSTEM, state={"angle": 1.0, "rate": 0.1}, input={"torque": 0.1}, target={"angle": np.pi}
)


def data(count: int = 4000, seed: int = 0) -> Transitions:
    """Random steps, whose rewards are those of COST; an episode ends beyond 6 rad/s."""
    generator = torch.Generator().manual_seed(seed)
    x = (2 * torch.rand(count, 2, generator=generator) - 1).double() * torch.tensor([np.pi, 8.0])
    u = 4 * torch.rand(count, 1, generator=generator).double() - 2
    return Transitions(x, u, Reward(SYSTEM, COST)(x, u), x, x[:, 1].abs() > 6)


def test_a_reward_is_minus_the_stage_cost_that_planners_see() -> None:
    x, u = np.array([0.3, -1.0]), np.array([0.7])
    problem = hm.OptimalControlProblem(hm.HybridModel(SYSTEM, dt=0.05), COST, horizon=1)
    reward = Reward(SYSTEM, COST)
    stage = float(problem.stage(x, u, 0, np.zeros(0), np.zeros(0)))
    assert reward.of_plant(x, u, 0) == pytest.approx(-stage, rel=1e-14)
    many = reward(torch.tensor(x).expand(3, 2, -1), torch.tensor(u).expand(3, 2, -1))
    assert many.shape == (3, 2)
    assert float(many[1, 1]) == pytest.approx(-stage, rel=1e-14)


def test_an_episode_adds_up_what_the_plant_paid() -> None:
    reward = Reward(SYSTEM, COST)
    with envs.make(SYSTEM, engine="ode", dt=0.05, reward=reward.of_plant) as plant:
        episode = run_episode(plant, hm.Multisine(SYSTEM.inputs), steps=20, seed=1)
    steps = episode.transitions()
    assert torch.equal(reward(steps.x, steps.u), steps.reward)
    assert episode.value == pytest.approx(float(steps.reward.sum()))
    assert torch.equal(steps.x[1:], steps.after[:-1])
    assert not steps.ended.any()


def test_steps_of_a_plant_that_measures_otherwise_are_of_its_states() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Seen(physics.Pendulum):
        """Its tip is measured, in as many numbers as there are states."""

        @property
        def outputs(self):
            return (physics.Signal("across", "m"), physics.Signal("down", "m"))

        def output(self, x, u, p, d):
            return ca.vertcat(ca.sin(x[0]), ca.cos(x[0]))

    plant = envs.OdePlant(Seen(), dt=0.05)
    wave = hm.RandomSteps(plant.system.inputs)
    episode = run_episode(plant, wave, steps=5, seed=0, state=np.array([0.3, 0.0]))
    assert episode.log.x is not None
    assert np.array_equal(episode.transitions().x.numpy(), episode.log.x[:-1])


def test_a_learned_reward_is_near_the_true_one_and_the_same_for_every_path() -> None:
    found = fit_reward(SYSTEM, data(), epochs=40, loss=7.0)
    assert found.rmse < 0.1 * found.scale
    assert found.missed < 0.1
    assert found.false < 0.1
    fresh = data(5, seed=1)
    learned, labels = found.cost, found.cost.network
    model = hm.HybridModel(SYSTEM, dt=0.05)
    problem = hm.OptimalControlProblem(model, learned, horizon=1)
    reward = Reward(SYSTEM, learned)(fresh.x, fresh.u)
    for k in range(5):
        x, u = fresh.x[k].numpy(), fresh.u[k].numpy()
        told = float(problem.stage(x, u, 0, np.zeros(0), problem.weights()))
        assert told == pytest.approx(-float(reward[k]), rel=1e-10)
    z = torch.stack([fresh.x[:, 0].sin(), fresh.x[:, 0].cos(), fresh.x[:, 1], fresh.u[:, 0]], -1)
    assert labels.ending is not None
    chance = torch.sigmoid(labels.ending(z))[:, 0]
    assert torch.allclose(reward, labels(z)[:, 0] - 7.0 * chance, atol=1e-9)


def test_a_changed_reward_needs_no_other_model() -> None:
    model = hm.HybridModel(SYSTEM, dt=0.05)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ends = []
    for goal in (0.5, -0.5):
        x, u = data().x, data().u
        labels = -((x[:, 0] - goal) ** 2 + 0.1 * x[:, 1] ** 2)
        cost = fit_reward(SYSTEM, Transitions(x, u, labels, x, x[:, 0] > 9), epochs=30).cost
        problem = hm.OptimalControlProblem(model, cost, horizon=25)
        plan = hm.CEM(problem, samples=200, elites=20, knots=6).plan(np.zeros(2), seed=0)
        ends.append(plan.x[-5:, 0].mean())
    assert ends[0] > 0.15
    assert ends[1] < -0.15
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


def test_a_chance_of_ending_is_one() -> None:
    x, u = data(2000).x, data(2000).u
    ended = torch.rand(2000, generator=torch.Generator().manual_seed(3)) < 0.05
    constant = torch.ones(2000, dtype=torch.float64)
    cost = fit_reward(SYSTEM, Transitions(x, u, constant, x, ended), epochs=15).cost
    assert cost.network.ending is not None
    chance = torch.sigmoid(cost.network.ending(cost.seen(x, u)))
    assert float(chance.mean()) == pytest.approx(0.05, abs=0.02)
    assert cost.loss == pytest.approx(100.0)  # a hundred steps of 1
    alone = Reward(SYSTEM, cost.rewards)(x[:5], u[:5])
    assert torch.allclose(alone, constant[:5], atol=0.05)


def test_a_reward_knows_whether_it_depends_on_the_step() -> None:
    class Late(hm.Cost):
        def stage(self, x, u, k, pi):
            return k * x[0] ** 2

        def terminal(self, x, pi):
            return x[0]

    assert Reward(SYSTEM, Late()).timed
    assert not Reward(SYSTEM, COST).timed


def test_the_same_seed_learns_the_same_bits() -> None:
    first, again = (fit_reward(SYSTEM, data(200), epochs=3, seed=5) for _ in range(2))
    for a, b in zip(first.cost.network.parameters(), again.cost.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_coordinates_go_there_and_back() -> None:
    coordinates = Coordinates(physics.CartPole())
    u = torch.tensor([[-12.0], [3.0], [12.0]], dtype=torch.float64)
    assert torch.allclose(coordinates.inputs(coordinates.actions(u)), u)
    assert torch.equal(coordinates.actions(u)[[0, 2], 0], torch.tensor([-1.0, 1.0]).double())
    x = torch.tensor([0.1, 0.4, -1.0, 2.0], dtype=torch.float64)
    turned = x + torch.tensor([0.0, 2 * np.pi, 0.0, 0.0], dtype=torch.float64)
    assert torch.allclose(coordinates.observed(x), coordinates.observed(turned))
    assert coordinates.no == len(coordinates.signals) == 5
    with pytest.raises(ValueError, match="'torque' has bounds"):
        Coordinates(physics.Pendulum(inputs=(physics.Signal("torque", "N·m"),)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"held_out": 0.0}, "held_out"),
        ({"epochs": 0}, "epochs"),
        ({"data": data(5)}, "data must hold at least 20"),
    ],
)
def test_bad_arguments_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_reward(SYSTEM, change.pop("data", data(50)), **change)
