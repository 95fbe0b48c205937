"""Laws of `predict`: what it gives is what the policy gives, one environment at a time."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

import hybridmodel as hm
from hybridmodel.closed_loop.prediction import Predictor
from hybridmodel.estimators import EKF
from physics import Pendulum, integrators

SYSTEM = Pendulum(mass=1.0, length=0.5, inertia=1 / 12, damping=1e-9, gravity=10.0)
COST = hm.Quadratic(
    SYSTEM, state={"angle": 1.0, "rate": 0.1}, input={"torque": 0.001}, target={"angle": np.pi}
)
MODEL = hm.HybridModel(SYSTEM, dt=0.05, integrator=integrators.semi_implicit_euler)
PLANNER = hm.CEM(
    hm.OptimalControlProblem(MODEL, COST, horizon=30), samples=150, elites=15, iterations=2, knots=8
)


def measure(observation: np.ndarray) -> np.ndarray:
    c, s, rate = observation.astype(float)
    return np.array([np.arctan2(s, c) + np.pi, rate])


def predictor(**options: Any) -> Predictor:
    return Predictor(hm.receding_horizon(PLANNER, **options), measure=measure)


def evaluated(policy: Any, env: Any, episodes: int) -> list[float]:
    """Returns of episodes, in the way of Stable-Baselines3's `evaluate_policy`."""
    n = env.num_envs
    most = np.array([(episodes + i) // n for i in range(n)])
    counts, returns, found = np.zeros(n, int), np.zeros(n), []
    observations, _ = env.reset(seed=3)
    states, starts = None, np.ones(n, bool)
    while (counts < most).any():
        actions, states = policy.predict(
            observations, state=states, episode_start=starts, deterministic=True
        )
        observations, rewards, terminated, truncated, _ = env.step(actions)
        starts = terminated | truncated
        returns += rewards
        for i in np.flatnonzero(starts & (counts < most)):
            found.append(float(returns[i]))
            counts[i] += 1
        returns[starts] = 0
    return found


def pendulums(n: int) -> gymnasium.vector.SyncVectorEnv:
    return gymnasium.vector.SyncVectorEnv(
        [lambda: gymnasium.make("Pendulum-v1", max_episode_steps=70)] * n,
        autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
    )


def test_a_planner_is_evaluated_like_a_learned_policy() -> None:
    returns = evaluated(predictor(), pendulums(2), 4)
    assert len(returns) == 4
    assert min(returns) > -700  # from hanging, and below −450 on the whole without a torque


def test_many_environments_are_each_one_alone() -> None:
    draw = np.random.default_rng(0)
    angles, rates = draw.uniform(-3, 3, (6, 3)), draw.uniform(-1, 1, (6, 3))
    seen = np.stack([np.cos(angles), np.sin(angles), rates], -1)  # (steps, n, 3)
    starts = np.zeros((6, 3), bool)
    starts[3, 1] = True
    together, state = predictor(), None
    alone = [Predictor(predictor().policy, measure=measure, seed=i) for i in range(3)]
    states: list[Any] = [None] * 3
    for observations, begins in zip(seen, starts, strict=True):
        actions, state = together.predict(observations, state, begins)
        assert actions.shape == (3, 1)
        for i in range(3):
            action, states[i] = alone[i].predict(observations[i], states[i], begins[i])
            assert np.array_equal(action, actions[i])


def test_it_is_the_policy_itself_and_leaves_it_alone() -> None:
    policy = hm.receding_horizon(PLANNER)
    wrapped, state = Predictor(policy, measure=measure, seed=5), None
    own = hm.receding_horizon(PLANNER)
    own.reset(5)
    angle = np.array([2.9, 3.1, 3.3, 3.5])  # over Gymnasium's ±π
    for k, theta in enumerate(angle):
        observation = np.array([np.cos(theta), np.sin(theta), 4.0])
        action, state = wrapped.predict(observation, state)
        wanted = own(0.05 * k, np.array([theta + np.pi, 4.0]))
        assert action == pytest.approx(wanted, abs=1e-6)
    assert policy.plans == []


def test_without_a_state_nothing_is_remembered() -> None:
    wrapped, observation = predictor(), np.array([1.0, 0.0, 0.5])
    first, state = wrapped.predict(observation)
    assert np.array_equal(first, wrapped.predict(observation)[0])
    assert state[0].steps == 1
    again, _ = wrapped.predict(observation, state, np.array([True]))
    assert np.array_equal(first, again)


def test_estimators_are_not_shared() -> None:
    watcher = EKF(MODEL, measurement_noise=(0.01, 0.01), process_noise=0.02)
    wrapped = predictor(estimator=watcher)
    observations = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -2.0]])
    _, state = wrapped.predict(observations)
    _, state = wrapped.predict(observations, state)
    estimators = [episode.policy.estimator for episode in state]
    assert len({id(e) for e in (watcher, *estimators)}) == 3
    assert all(e.model is MODEL for e in estimators)
    assert estimators[0].x[1] > 0 > estimators[1].x[1]


def test_actions_are_what_the_environment_takes() -> None:
    wrapped = Predictor(hm.receding_horizon(PLANNER), measure, lambda u: (u / 2).astype("float32"))
    actions, _ = wrapped.predict(np.array([[1.0, 0.0, 0.5]]))
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= 1


def test_what_does_not_fit_is_refused() -> None:
    wrapped = predictor()
    _, state = wrapped.predict(np.zeros((2, 3)) + 0.1)
    with pytest.raises(ValueError, match=r"observation must have shape \(m,\) or \(n, m\)"):
        wrapped.predict(np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="state must be that of 3 environments"):
        wrapped.predict(np.zeros((3, 3)), state)
    with pytest.raises(ValueError, match=r"episode_start must have shape \(2,\)"):
        wrapped.predict(np.zeros((2, 3)) + 0.1, state, np.array([True]))
    with pytest.raises(
        ValueError, match=r"policy must be what hybridmodel\.receding_horizon makes"
    ):
        Predictor(lambda t, y: y)  # type: ignore[arg-type]
