"""Soft actor-critic on the plant alone, Stable-Baselines3's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.rl.dyna.tasks import Trial, judged
from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.model_env import Scaled

Progress = Callable[[Mapping[str, float]], None]

# of the agent, here and with the model
HIDDEN = (64, 64)
RATE, BATCH, DISCOUNT, TARGET_RATE = 1e-3, 256, 0.98, 0.01
ENTROPY = "auto_0.1"  # α starts where rewards of about 1 are worth more than entropy


class _Started(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """A plant whose episodes start where the task says, and last as long as those of `dyna`."""

    def __init__(self, env: Any, task: Trial) -> None:
        super().__init__(env)
        self._task, self._k = task, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, Any]:
        if seed is not None:
            self._generator = np.random.default_rng(seed)
        self._k, start = 0, self._task.start
        options = None if start is None else {"state": start(self._generator)}
        return self.env.reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Any]:
        o, reward, terminated, truncated, info = self.env.step(action)
        self._k += 1
        late = self._k >= self._task.training_steps
        return o, float(reward), terminated, truncated or late, info


class _Alone:
    """The mean policy of SAC as a policy of `collect`."""

    def __init__(self, sac: SAC, coordinates: Coordinates) -> None:
        self._sac, self._coordinates = sac, coordinates

    def reset(self, seed: int | None) -> None:
        return None

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        o = self._coordinates.observed(torch.as_tensor(y)).float().numpy()
        a, _ = self._sac.predict(o, deterministic=True)
        return self._coordinates.inputs(torch.as_tensor(a, dtype=torch.float64)).numpy()


class _Watched(BaseCallback):
    """Evaluations every so many steps, until three in a row are good."""

    def __init__(self, task: Trial, judge: Any, seed: int, progress: Progress | None) -> None:
        super().__init__()
        self.task, self.judge, self.seed, self.progress = task, judge, seed, progress
        self.curve: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.task.every_alone:
            return True
        policy = _Alone(cast(SAC, self.model), Coordinates(self.task.system))
        value = judged(self.task, self.judge, policy, self.seed)
        self.curve.append((self.num_timesteps, value))
        if self.progress is not None:
            self.progress({"steps": self.num_timesteps, "evaluation": value})
        last = [value for _, value in self.curve[-3:]]
        return len(last) < 3 or min(last) < self.task.threshold


def alone(task: Trial, seed: int, progress: Progress | None) -> list[tuple[int, float]]:
    with task.plant() as plant, task.plant() as judge:
        sac = SAC(
            "MlpPolicy",
            _Started(Scaled(plant), task),
            learning_rate=RATE,
            batch_size=BATCH,
            gamma=DISCOUNT,
            tau=TARGET_RATE,
            ent_coef=ENTROPY,
            learning_starts=task.warmup_steps,
            policy_kwargs={"net_arch": list(HIDDEN), "optimizer_kwargs": {"fused": True}},
            seed=seed,
            device="cpu",
        )
        watched = _Watched(task, judge, seed, progress)
        sac.learn(task.budget_alone, callback=watched)
    return watched.curve
