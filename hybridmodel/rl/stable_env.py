"""A model's environments as Stable-Baselines3 wants them: many episodes in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from hybridmodel.rl.model_env import ModelVectorEnv


class StableVectorEnv(VecEnv):
    """`ModelVectorEnv` behind the interface of Stable-Baselines3's VecEnv.

    The last o of an episode is infos[i]["terminal_observation"], and
    infos[i]["TimeLimit.truncated"] says that it was cut and did not end, so that values are taken
    on from there. Seeds are given by `seed`, and one state for all by `set_options`, for the next
    `reset`.

    Raises ValueError where env is no ModelVectorEnv.
    """

    def __init__(self, env: ModelVectorEnv) -> None:
        if not isinstance(env, ModelVectorEnv):
            raise ValueError(f"env must be a ModelVectorEnv, got {type(env).__name__}")
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> np.ndarray:
        """o (n, no)."""
        seed = self._seeds[0]
        observed, info = self.env.reset(
            seed=None if seed is None else int(seed), options=self._options[0] or None
        )
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{"x": x} for x in info["x"]]
        return observed

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:  # type: ignore[override]
        """o (n, no), r (n,), whether an episode is over (n,), and what is known of each."""
        observed, reward, terminated, truncated, info = self.env.step(self._actions)
        over = terminated | truncated
        infos: list[dict[str, Any]] = [{"x": x} for x in info["x"]]
        for i in np.flatnonzero(over):
            infos[i]["terminal_observation"] = info["final_obs"][i]
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return observed, reward.astype(np.float32), over, infos

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute, the same for each episode."""
        return [getattr(self.env, attr_name)] * len(self._chosen(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refused: episodes share one model."""
        raise AttributeError(f"{attr_name} of one episode cannot be set: all share one model")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **given: Any) -> list:
        """Refused, as `set_attr`."""
        raise AttributeError(f"{method_name} of one episode cannot be called: all share one model")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * len(self._chosen(indices))

    def _chosen(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))
