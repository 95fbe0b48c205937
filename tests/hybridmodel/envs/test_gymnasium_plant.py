"""Laws of somebody else's environment as a plant: its own steps, angles, bounds, refusals."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import hybridmodel as hm
from hybridmodel.envs.gymnasium_plant import GymnasiumPlant
from physics import Linear, Pendulum, Signal, integrators

# Gymnasium's θ = 0 stands: θ̈ = 3g/2l sin θ + 3/(ml²) u, a rod of length 1 m and mass 1 kg
SYSTEM = Pendulum(mass=1.0, length=0.5, inertia=1 / 12, damping=1e-9, gravity=10.0)


def pendulum(**options: Any) -> GymnasiumPlant:
    env = gymnasium.make("Pendulum-v1")
    inner: Any = env.unwrapped

    def state(_: Any) -> np.ndarray:
        return inner.state + np.array([np.pi, 0.0])

    def place(x: np.ndarray) -> None:
        inner.state = x - np.array([np.pi, 0.0])

    return GymnasiumPlant(env, SYSTEM, **{"state": state, "place": place, **options})


def model() -> hm.HybridModel:
    return hm.HybridModel(SYSTEM, dt=0.05, integrator=integrators.semi_implicit_euler)


def test_the_same_equation_is_the_same_step() -> None:
    draw, known = np.random.default_rng(0), model()
    with pendulum() as plant:
        assert plant.dt == 0.05
        x, info = plant.reset(seed=0, options={"state": [0.3, 0.4]})
        assert x == pytest.approx([0.3, 0.4])
        for _ in range(20):
            u = draw.uniform(-2, 2, 1)
            wanted = known(torch.tensor(x), torch.tensor(u)).numpy()
            x, reward, terminated, _, info = plant.step(u)
            assert x == pytest.approx(wanted, abs=1e-7)
            assert info["x"] == pytest.approx(x)
            assert reward < 0
            assert not terminated


@pytest.mark.filterwarnings("ignore:.*recommend using a symmetric and normalized space")
@pytest.mark.filterwarnings("ignore:.*Box observation space m..imum value is .?infinity")
def test_gymnasium_contract() -> None:
    plant = pendulum(state=lambda o: np.array([np.arctan2(o[1], o[0]) + np.pi, o[2]]))
    check_env(plant, skip_render_check=True)


def test_angles_go_on_where_the_observation_jumps() -> None:
    with pendulum(state=lambda o: np.array([np.arctan2(o[1], o[0]) + np.pi, o[2]])) as plant:
        x, _ = plant.reset(options={"state": [0.0, 7.0]})
        angles = [x[0]]
        for _ in range(40):
            angles.append(plant.step(np.array([2.0]))[0][0])
        assert angles[-1] > 3 * np.pi
        assert np.diff(angles).max() < 8 * 0.05 + 1e-3


@pytest.mark.parametrize("family", ["sampling", "gradient"])
def test_planned_on_and_swung_up(family: str) -> None:
    cost = hm.Quadratic(
        SYSTEM,
        state={"angle": 1.0, "rate": 0.1},
        input={"torque": 0.001},
        target={"angle": np.pi},
    )
    problem = hm.OptimalControlProblem(model(), cost, horizon=30)
    planner = (
        hm.CEM(problem, samples=200, elites=20, iterations=3, knots=10)
        if family == "sampling"
        else hm.SQP(problem, iterations=20)
    )
    with pendulum() as plant:
        log = hm.collect(plant, hm.receding_horizon(planner), steps=100, seed=0, state=[0.0, 0.0])
    turns = (log.x[-20:, 0] - np.pi) / (2 * np.pi)
    assert np.abs(turns - np.round(turns)).max() < 0.05
    assert np.abs(log.u).max() <= 2.0


def test_rows_of_the_observation_and_bounds_on_bounds() -> None:
    class Cart(gymnasium.Env[np.ndarray, np.ndarray]):
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (1, 1), dtype=np.float32)
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), dtype=np.float64)

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return np.array([1.0, 9.0, 2.0]), {"told": options}

        def step(self, action: np.ndarray) -> Any:
            assert self.action_space.contains(action)
            return np.array([float(action[0, 0]), 9.0, 2.0]), 0.0, False, False, {}

    system = Linear(
        A=((0.0, 1.0), (0.0, 0.0)),
        B=((0.0,), (1.0,)),
        inputs=(Signal("force", "N", -20.0, 60.0),),
    )
    plant = GymnasiumPlant(Cart(), system, dt=0.1, state=(0, 2))
    x, info = plant.reset(options={"wind": 3.0})
    assert x.tolist() == [1.0, 2.0]
    assert info["told"] == {"wind": 3.0}
    for u, action in ((-20.0, -1.0), (20.0, 0.0), (60.0, 1.0)):
        assert plant.step(np.array([u]))[0][0] == pytest.approx(action)
    with pytest.raises(ValueError, match=r"action .* exceeds the bounds"):
        plant.step(np.array([61.0]))
    with pytest.raises(ValueError, match="action must be 1 finite numbers"):
        plant.step(np.array([np.nan]))
    with pytest.raises(ValueError, match="Cart chooses its own start; give place="):
        plant.reset(options={"state": [0.0, 0.0]})
    with pytest.raises(ValueError, match="dt must be seconds > 0"):
        GymnasiumPlant(Cart(), system, state=(0, 2))
    with pytest.raises(ValueError, match=r"state must give 2 numbers .* got shape \(3,\)"):
        GymnasiumPlant(Cart(), system, dt=0.1).reset()
    free = Linear(A=system.A, B=system.B)
    with pytest.raises(ValueError, match=r"bounds of 'u0' and of Cart cannot be matched"):
        GymnasiumPlant(Cart(), free, dt=0.1, state=(0, 2))
    two = Linear(A=system.A, B=((0.0, 1.0), (1.0, 0.0)))
    with pytest.raises(ValueError, match="Cart takes 1 numbers and Linear has 2 inputs"):
        GymnasiumPlant(Cart(), two, dt=0.1, state=(0, 2))


def test_discrete_actions_are_refused_by_name() -> None:
    with gymnasium.make("CartPole-v1") as env, pytest.raises(ValueError, match="CartPole-v1 takes"):
        GymnasiumPlant(env, SYSTEM)
    with pytest.raises(ValueError, match=r"env must be a gymnasium\.Env, got str"):
        GymnasiumPlant("Pendulum-v1", SYSTEM)  # type: ignore[arg-type]
