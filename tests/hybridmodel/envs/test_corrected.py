"""A residual inside an engine: known effects in closed form, and the plant's own laws."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pybullet_data
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import hybridmodel as hm
from hybridmodel import envs, placement, rl
from physics import (
    CartPole,
    DoublePendulum,
    DynamicBicycle,
    InputDelay,
    Linear,
    Pendulum,
    Quadrotor,
    RigidBody,
    System,
)
from physics.rigid_body import urdf
from residuals import GRU, MLP, Ensemble

DT = 0.04
TIGHT = 1e-7
ENGINES = ("ode", "pybullet", *(["mujoco"] if find_spec("mujoco") else []))
EVERY = pytest.mark.parametrize("engine", ENGINES)
HIDDEN = envs.HiddenEffects(
    coulomb=(0.4, 0.01), wind=0.3, observation_noise=0.01, input_lag=0.05, input_delay=1
)


def known(
    system: System,
    where: placement.Placement,
    weight: Any,
    features: tuple[str, ...],
    **keywords: Any,
) -> hm.HybridModel:
    """A model whose residual is r = W z exactly."""
    W = torch.tensor(weight, dtype=torch.float64)
    law = torch.nn.Linear(W.shape[1], W.shape[0], bias=False, dtype=torch.float64)
    law.weight.data.copy_(W)
    rules = {"dt": DT} | keywords
    model = hm.HybridModel(system, law, placement=where, features=features, **rules)
    model.residual.gate.data.fill_(1.0)  # type: ignore[union-attr]
    return model


def plant(system: Any, engine: Any, **keywords: Any) -> envs.Environment:
    return envs.make(system, engine=engine, **({"dt": DT} | keywords))


def path(env: envs.Environment, x0: Any = None, steps: int = 12) -> np.ndarray:
    """Observations (steps+1, ny) under a fixed input."""
    rows = [env.reset(seed=5, options=None if x0 is None else {"state": x0})[0]]
    low, high = env.action_space.low, env.action_space.high  # type: ignore[attr-defined]
    middle, half = (np.maximum(low, -4) + np.minimum(high, 4)) / 2, (high - low).clip(0, 2) / 4
    rows += [env.step(middle + half * np.sin(k + np.arange(len(low))))[0] for k in range(steps)]
    return np.array(rows)


@pytest.mark.parametrize(
    ("system", "engine"),
    [(CartPole(), engine) for engine in ENGINES]
    + [(DoublePendulum(), "pybullet"), (Quadrotor(), "pybullet"), (Linear(), "ode")],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_residual_that_is_zero_changes_no_bit(system: Any, engine: str) -> None:
    hidden = HIDDEN if isinstance(system, CartPole) else envs.HiddenEffects(input_gain=0.9)
    where = placement.input if isinstance(system, Linear) else placement.acceleration
    untrained = hm.HybridModel(system, MLP((4,)), dt=DT, placement=where)
    alone = path(plant(system, engine, hidden=hidden, episode_steps=20))
    corrected = envs.Corrected(plant(system, engine, hidden=hidden), untrained)
    np.testing.assert_array_equal(path(corrected), alone)
    np.testing.assert_array_equal(path(corrected), alone)  # nothing stays from before


@EVERY
@pytest.mark.parametrize(
    ("where", "weight", "features", "effect"),
    [
        (placement.force, [[-0.2]], ("rate",), {"viscous": (0.2,)}),
        (placement.input, [[-0.3]], ("torque",), {"input_gain": 0.7}),
        (placement.acceleration, [[-0.2 / 0.27]], ("rate",), {"viscous": (0.2,)}),
        (placement.derivative.on("rate"), [[-0.2 / 0.27]], ("rate",), {"viscous": (0.2,)}),
    ],
    ids=("force", "input", "acceleration", "derivative"),
)
def test_it_moves_as_the_plant_that_has_the_effect(
    engine: str, where: Any, weight: Any, features: Any, effect: Any
) -> None:
    system = Pendulum()  # 0.27 kg·m² about its pivot
    true = path(plant(system, engine, hidden=envs.HiddenEffects(**effect)), [1.0, 0.0])
    model = known(system, where, weight, features)
    found = path(envs.Corrected(plant(system, engine), model), [1.0, 0.0])
    nominal = path(plant(system, engine), [1.0, 0.0])
    assert np.abs(nominal - true).max() > 0.03
    np.testing.assert_allclose(found, true, atol=3e-3)


def test_its_error_is_of_first_order_in_the_engine_step() -> None:
    system, x0 = Pendulum(), [1.0, 0.0]
    true = path(plant(system, "ode", hidden=envs.HiddenEffects(viscous=(0.2,))), x0)
    model = known(system, placement.force, [[-0.2]], ("rate",))
    coarse, fine = (
        np.abs(path(envs.Corrected(plant(system, "ode", substeps=n), model), x0) - true).max()
        for n in (20, 40)
    )
    assert 1.8 < coarse / fine < 2.2


ACTING = (
    placement.input,
    placement.input.on("elbow_torque"),
    placement.force,
    placement.force.on("shoulder_rate"),
    placement.dissipation,
    placement.gyroscopic,
    placement.potential,
    placement.acceleration,
    placement.derivative.on("elbow_rate", "shoulder_rate"),
)


@EVERY
def test_every_placement_accelerates_as_in_the_model(engine: str) -> None:
    system = DoublePendulum()
    x, u = np.array([0.5, -0.3, 1.0, 2.0]), np.array([1.0, -2.0])
    alone = plant(system, engine)
    for where in ACTING:
        model = hm.HybridModel(system, MLP((4,)), dt=DT, placement=where)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.residual.parameters():  # type: ignore[union-attr]
                weight.add_(torch.randn(weight.shape, generator=generator).double())
        expected = model.ode_function()(x, u, [], []).full()[2:, 0]
        found = envs.Corrected(alone, model).acceleration(x, u)
        assert np.abs(expected - alone.acceleration(x, u)).max() > 0.1
        np.testing.assert_allclose(found, expected, rtol=TIGHT)


@EVERY
def test_accelerations_grow_by_r_whatever_the_plants_masses_are(engine: str) -> None:
    system, W = CartPole(), [[0.3, -0.1], [0.2, 0.5]]
    model = known(system, placement.acceleration, W, ("velocity", "rate"))
    for hidden in (None, envs.HiddenEffects(parameters={"cart_mass": 2.0}, input_gain=0.5)):
        alone = plant(system, engine, hidden=hidden)
        corrected = envs.Corrected(plant(system, engine, hidden=hidden), model)
        x, u = np.array([0.1, 0.7, -0.4, 1.3]), np.array([2.0])
        gained = corrected.acceleration(x, u) - alone.acceleration(x, u)
        np.testing.assert_allclose(gained, np.array(W) @ x[2:], rtol=1e-6)
        # and so does what it does in a step that is short
        short = [plant(system, engine, hidden=hidden, dt=1e-4, substeps=1) for _ in range(2)]
        short[1] = envs.Corrected(short[1], model)
        for env in short:
            env.reset(options={"state": x})
            env.step(u)
        moved = (short[1].state - short[0].state)[2:] / 1e-4
        np.testing.assert_allclose(moved, np.array(W) @ x[2:], rtol=2e-3)


def test_of_a_free_body_too_with_its_payload() -> None:
    system, hidden = Quadrotor(), envs.AerialEffects(payload=0.01, payload_at=(0.02, 0.0, -0.03))
    rates = tuple(s.name for s in system.states[7:])
    W = np.random.default_rng(0).normal(size=(6, 6))
    x, u = np.array(system.neutral), np.full(4, 0.05)
    x[3:7], x[7:] = [0.6, 0.0, 0.8, 0.0], np.linspace(-1, 1, 6)
    alone = plant(system, "pybullet", hidden=hidden)
    corrected = envs.Corrected(alone, known(system, placement.acceleration, W, rates))
    gained = corrected.acceleration(x, u) - alone.acceleration(x, u)
    np.testing.assert_allclose(gained, W @ x[7:], rtol=1e-9)


def test_two_corrections_add_up() -> None:
    system, x0 = Pendulum(), [1.0, 0.0]
    halves = [known(system, placement.force, [[-0.1]], ("rate",)) for _ in range(2)]
    whole = envs.Corrected(
        plant(system, "pybullet"), known(system, placement.force, [[-0.2]], ("rate",))
    )
    twice = envs.Corrected(envs.Corrected(plant(system, "pybullet"), halves[0]), halves[1])
    np.testing.assert_allclose(path(twice, x0), path(whole, x0), atol=1e-12)


def test_a_held_residual_is_held_over_the_step() -> None:
    system, x0, u = Pendulum(), np.array([1.0, 2.0]), np.array([0.5])
    held = envs.Corrected(
        plant(system, "ode"), known(system, placement.force, [[-0.3]], ("rate",), hold=True)
    )
    pushed = plant(system, "ode", hidden=envs.HiddenEffects(push=(0.0, 1.0, (-0.3 * x0[1],))))
    for _ in range(2):  # the second start is at the first step's number
        for env in (held, pushed):
            env.reset(options={"state": x0})
            env.step(u)
        np.testing.assert_allclose(held.state, pushed.state, atol=1e-12)
        held.reset(options={"state": [0.0, 5.0]})
        held.step(u)
    with pytest.raises(ValueError, match=r"plant: its dt is 0\.02 s"):
        envs.Corrected(plant(system, "ode", dt=0.02), held.model)


def test_bounds_are_those_of_the_command() -> None:
    system = Pendulum()  # ± 2 N·m
    corrected = envs.Corrected(
        plant(system, "pybullet"), known(system, placement.input, [[1.0]], ("torque",))
    )
    x, twice = np.zeros(2), plant(system, "pybullet", hidden=envs.HiddenEffects(input_gain=2.0))
    full = np.array([2.0])
    assert corrected.acceleration(x, full) == pytest.approx(twice.acceleration(x, full))
    corrected.reset(seed=0)
    with pytest.raises(ValueError, match="exceeds the bounds"):
        corrected.step(np.array([2.1]))


@EVERY
@pytest.mark.filterwarnings("ignore:.*recommend using a symmetric and normalized space")
@pytest.mark.filterwarnings("ignore:.*Box observation space m..imum value is .?infinity")
@pytest.mark.filterwarnings("ignore:.*not able to test alternative render modes")
def test_gymnasium_contract(engine: str) -> None:
    model = known(Pendulum(), placement.force, [[-0.2]], ("rate",))
    check_env(envs.Corrected(plant(Pendulum(), engine), model), skip_render_check=True)


@EVERY
def test_starts_seeds_rewards_and_ends_are_the_plants(engine: str) -> None:
    system = CartPole()

    def made() -> envs.Environment:
        return plant(
            system,
            engine,
            hidden=HIDDEN,
            reward=lambda x, u, k: float(x[0] + u[0] + k),
            initial_state=[2.39, 0.0, 2.0, 0.0],
            episode_steps=3,
        )

    inner = made()
    alone, corrected = made(), envs.Corrected(inner, hm.HybridModel(system, MLP((4,)), dt=DT))
    for env in (alone, corrected):
        env.reset(seed=1)
    for _ in range(3):
        one, other = alone.step(np.ones(1)), corrected.step(np.ones(1))
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:4] == other[1:4]
        assert one[2]  # beyond the rail
    assert corrected.observation_space == alone.observation_space
    assert corrected.action_space == alone.action_space
    assert corrected.settings["corrected"] == type(inner).__name__
    assert corrected.settings["hidden"] == alone.settings["hidden"]
    assert np.any(path(corrected) != path(alone, [2.0, 0.0, 0.0, 0.0]))


def test_what_happens_at_a_time_happens_in_the_engine() -> None:
    file = Path(pybullet_data.getDataPath()) / "TwoJointRobot_w_fixedJoints.urdf"
    arm = RigidBody.from_description(urdf.read(file))
    hidden = envs.RobotEffects(pickup=(0.08, 2.0, (0.1, 0.0, 0.0)))
    untrained = hm.HybridModel(arm, MLP((4,)), dt=DT, placement=placement.force)
    alone, corrected = (plant(arm, "pybullet", substeps=8, hidden=hidden) for _ in range(2))
    corrected, x0 = envs.Corrected(corrected, untrained), [0.5, -0.5, 1.0, 1.0]
    found = path(corrected, x0, 5)
    np.testing.assert_array_equal(found, path(alone, x0, 5))
    without = path(plant(arm, "pybullet", substeps=8), x0, 5)
    assert np.abs(found - without).max() > 1e-3


def test_a_residual_that_runs_away_ends_the_episode() -> None:
    model = known(Pendulum(), placement.force, [[1e6]], ("rate",))
    corrected = envs.Corrected(plant(Pendulum(), "ode"), model)
    corrected.reset(options={"state": [0.0, 1.0]})
    assert [corrected.step(np.zeros(1))[2] for _ in range(12)][-1]


def test_members_are_named() -> None:
    model = hm.HybridModel(Pendulum(), Ensemble((4,), count=2), dt=DT)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        weight: Any = model.residual.mean.weight  # type: ignore[union-attr]
        weight.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    x, u = np.array([0.5, 1.0]), np.array([0.3])
    found = [
        envs.Corrected(plant(Pendulum(), "ode"), model, member=i).acceleration(x, u)
        for i in (0, 1, "mean")
    ]
    assert found[2] == pytest.approx((found[0] + found[1]) / 2)
    assert found[0] != pytest.approx(found[1])
    with pytest.raises(ValueError, match="member must be"):
        envs.Corrected(plant(Pendulum(), "ode"), model, member=2)


def test_soft_actor_critic_trains_in_it() -> None:
    SAC = pytest.importorskip("stable_baselines3").SAC
    system = Pendulum()
    cost = hm.Quadratic(system, state={"angle": 1.0}, input={}, target={"angle": math.pi})
    made = plant(
        system, "pybullet", substeps=20, reward=rl.Reward(system, cost).of_plant, episode_steps=50
    )
    model = known(system, placement.force, [[-0.2]], ("rate",))
    env = rl.Scaled(envs.Corrected(made, model))
    agent = SAC("MlpPolicy", env, learning_starts=150, policy_kwargs={"net_arch": [16]}, seed=0)
    assert agent.learn(200).num_timesteps == 200
    assert agent._n_updates > 0


def test_what_cannot_act_is_refused_by_name() -> None:
    system = Pendulum()
    made = plant(system, "ode")

    def refused(match: str, model: Any, env: Any = made) -> None:
        with pytest.raises(ValueError, match=match):
            envs.Corrected(env, model)

    for where in (placement.next_state, placement.output, placement.parameters.on("mass")):
        model = hm.HybridModel(system, MLP((4,)), dt=DT, placement=where)
        refused(f"model: placement '{where.name}' cannot act in an engine", model)
    refused(
        "rate of 'angle'", hm.HybridModel(system, MLP((4,)), dt=DT, placement=placement.derivative)
    )
    refused("its residual has memory", hm.HybridModel(system, GRU(4), dt=DT))
    refused(
        "its system has memory",
        hm.HybridModel(InputDelay(system=system, steps=1), MLP((4,)), dt=DT),
    )
    refused("HybridModel without one", hm.HybridModel(system, dt=DT))
    refused("model must be a HybridModel", MLP((4,)))
    refused("it is of a CartPole", hm.HybridModel(CartPole(), MLP((4,)), dt=DT))
    refused("plant must be an Environment", hm.HybridModel(system, MLP((4,)), dt=DT), object())
    car = DynamicBicycle()
    model = hm.HybridModel(car, MLP((4,)), dt=DT, placement=placement.acceleration)
    refused("takes none; use placement.input", model, plant(car, "ode"))


def test_the_plant_must_have_the_models_parameters() -> None:
    moved = hm.HybridModel(Pendulum(), MLP((4,)), dt=DT, fit_parameters=("mass",))
    moved.theta.data.fill_(0.1)
    with pytest.raises(ValueError, match=r"built with mass = 1, .*1\.10517"):
        envs.Corrected(plant(Pendulum(), "ode"), moved)
    fitted = moved.system.with_parameters(**moved.parameter_values())
    envs.Corrected(plant(fitted, "ode"), moved)
