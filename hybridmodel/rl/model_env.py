"""Models and plants as Gymnasium environments in the coordinates of a policy.

o = φ(x),    u = m + h ∘ a,  a ∈ [−1, 1],    all in float32
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from hybridmodel.costs import Cost
from hybridmodel.model import HybridModel
from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.imagination import Ended, Imagination, Members, RewardOf
from hybridmodel.rl.reward import Reward
from hybridmodel.whole import whole
from physics import System

Starts = Tensor | Callable[[np.random.Generator, int], Tensor]
_LARGEST = float(np.finfo(np.float32).max)


class ModelVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """n episodes of a model at once, one call of the model a step.

    model, member, noise, stop, penalty, ended   as of `Imagination`; an episode is truncated by a
                   step that is not trusted
    reward         a `Cost`, whose negative is the reward; or r (…) of x (…, nx) and u (…, nu)
    starts         states (N, nx) that episodes start from, or (generator, n) ↦ x (n, nx)
    episode_steps  after which an episode is truncated

    An episode that ends starts anew in the same step: its last o is in info["final_obs"], where
    info["_final_obs"] says so. info["x"] (n, nx) are the states. Raises ValueError naming the
    argument.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        model: HybridModel,
        reward: Cost | RewardOf,
        n: int,
        *,
        starts: Starts,
        episode_steps: int,
        member: Members = "random",
        noise: bool = False,
        stop: float | None = None,
        penalty: float = 0.0,
        ended: Ended | None = None,
    ) -> None:
        self.num_envs, self.episode_steps = whole("n", n), whole("episode_steps", episode_steps)
        self.imagined = Imagination(
            model,
            Reward(model.system, reward) if isinstance(reward, Cost) else reward,
            member=member,
            noise=noise,
            stop=stop,
            penalty=penalty,
            ended=ended,
        )
        self.coordinates = Coordinates(model.system)
        if isinstance(starts, Tensor):
            shape = tuple(starts.shape)
            if len(shape) != 2 or shape[1] != model.nx or not shape[0]:
                raise ValueError(f"starts must have shape (N, {model.nx}), got {shape}")
            if not bool(torch.isfinite(starts).all()):
                raise ValueError("starts must be finite")
            starts = starts.detach().double().clone()
        elif not callable(starts):
            kind = type(starts).__name__
            raise ValueError(f"starts must be a tensor of states or a function, got {kind}")
        self._starts = starts
        self._x: Tensor | None = None
        self.single_observation_space, self.single_action_space = boxes(self.coordinates)
        batched = gymnasium.vector.utils.batch_space
        self.observation_space = batched(self.single_observation_space, self.num_envs)
        self.action_space = batched(self.single_action_space, self.num_envs)
        self._generator = torch.Generator()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """All n anew; options["state"] (n, nx) or (nx,) places them."""
        super().reset(seed=seed)
        self._generator.manual_seed(int(self.np_random.integers(2**31)))
        if unknown := (options or {}).keys() - {"state"}:
            raise ValueError(f"options: the only one is 'state', got {sorted(unknown)}")
        given = (options or {}).get("state")
        if given is None:
            self._x = self._begun(self.num_envs)
        else:
            nx = self.imagined.model.nx
            x = torch.as_tensor(np.array(given, dtype=float))
            if x.shape not in ((nx,), (self.num_envs, nx)) or not bool(torch.isfinite(x).all()):
                raise ValueError(
                    f"state must be finite, of shape ({nx},) or ({self.num_envs}, {nx}), "
                    f"got {tuple(x.shape)}"
                )
            self._x = x.expand(self.num_envs, nx).clone()
        self._k = torch.zeros(self.num_envs, dtype=torch.long)
        self._member = self.imagined.drawn(self.num_envs, self._generator)
        return self._observed(self._x), {"x": self._x.numpy().copy()}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """(o, r, terminated, truncated, info) of actions (n, nu)."""
        if self._x is None:
            raise RuntimeError("there is no state yet: call reset() first")
        a = torch.as_tensor(np.asarray(actions, dtype=np.float64))
        if a.shape != self.action_space.shape or not bool(torch.isfinite(a).all()):
            raise ValueError(f"actions must be finite, of shape {self.action_space.shape}")
        with torch.no_grad():
            u = self.coordinates.inputs(a)
            found = self.imagined.step(self._x, u, self._member, self._generator)
        finite = torch.isfinite(found.after).all(-1, keepdim=True)
        after = torch.where(finite, found.after, self._x)
        # a step whose numbers are not finite is not trusted, and pays nothing
        reward = torch.nan_to_num(found.reward, nan=0.0, posinf=0.0, neginf=0.0)
        self._k = self._k + 1
        terminated = found.ended & found.trusted
        truncated = ~terminated & (~found.trusted | (self._k >= self.episode_steps))
        over = terminated | truncated
        info: dict[str, Any] = {}
        if bool(over.any()):
            last = self._observed(after)
            final = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(over.numpy()):
                final[i] = last[i]
            info |= {"final_obs": final, "_final_obs": over.numpy().copy()}
            info |= {"final_info": {"x": after.numpy().copy()}, "_final_info": over.numpy().copy()}
            count = int(over.sum())
            after = after.clone()
            after[over] = self._begun(count)
            self._k[over] = 0
            self._member = self._member.clone()
            self._member[over] = self.imagined.drawn(count, self._generator)
        self._x = after
        info["x"] = after.numpy().copy()
        ends = terminated.numpy(), truncated.numpy()
        return self._observed(after), reward.numpy(), *ends, info

    def _begun(self, count: int) -> Tensor:
        nx, start = self.imagined.model.nx, self._starts
        if isinstance(start, Tensor):
            return start[torch.as_tensor(self.np_random.integers(len(start), size=count))].clone()
        x = torch.as_tensor(start(self.np_random, count)).double()
        if x.shape != (count, nx) or not bool(torch.isfinite(x).all()):
            raise ValueError(f"starts must give finite x {(count, nx)}, got {tuple(x.shape)}: {x}")
        return x.clone()

    def _observed(self, x: Tensor) -> np.ndarray:
        return self.coordinates.observed(x).float().numpy()


class ModelEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One episode of a model at a time; the arguments are those of `ModelVectorEnv`.

    options["state"] (nx,) of `reset` places it; info["x"] (nx,) is the state.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(
        self,
        model: HybridModel,
        reward: Cost | RewardOf,
        *,
        starts: Starts,
        episode_steps: int,
        member: Members = "random",
        noise: bool = False,
        stop: float | None = None,
        penalty: float = 0.0,
        ended: Ended | None = None,
    ) -> None:
        self._one = ModelVectorEnv(
            model,
            reward,
            1,
            starts=starts,
            episode_steps=episode_steps,
            member=member,
            noise=noise,
            stop=stop,
            penalty=penalty,
            ended=ended,
        )
        self.observation_space = self._one.single_observation_space
        self.action_space = self._one.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        o, info = self._one.reset(seed=seed, options=options)
        return o[0], {"x": info["x"][0]}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        o, reward, terminated, truncated, info = self._one.step(np.asarray(action)[None])
        over = bool(terminated[0] or truncated[0])
        seen = info["final_obs"][0] if over else o[0]
        x = info["final_info"]["x"][0] if over else info["x"][0]
        return seen, float(reward[0]), bool(terminated[0]), bool(truncated[0]), {"x": x}


class Scaled(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """A plant that measures its states, in the coordinates of a policy.

    Rewards, ends and infos are the plant's. Raises ValueError for actions that are no Box, and a
    plant whose System measures something else than its states.
    """

    def __init__(self, plant: gymnasium.Env[np.ndarray, np.ndarray]) -> None:
        kind = type(plant).__name__
        if not isinstance(plant, gymnasium.Env):
            raise ValueError(f"plant must be a gymnasium.Env, got {kind}")
        if not isinstance(plant.action_space, spaces.Box):
            raise ValueError(
                f"plant: {kind} takes actions from {plant.action_space}, and a policy over the "
                "inputs of a System has continuous ones: wanted a Box"
            )
        system = getattr(plant, "system", None)
        if not isinstance(system, System) or system.outputs != system.states:
            raise ValueError(f"plant: {kind} must be that of a System, and measure its states")
        super().__init__(plant)
        self.coordinates = Coordinates(system)
        self.observation_space, self.action_space = boxes(self.coordinates)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        y, info = self.env.reset(seed=seed, options=options)
        return self._observed(y), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        u = self.coordinates.inputs(torch.as_tensor(np.asarray(action, dtype=np.float64)))
        y, reward, terminated, truncated, info = self.env.step(u.numpy())
        return self._observed(y), float(reward), terminated, truncated, info

    def _observed(self, y: np.ndarray) -> np.ndarray:
        return self.coordinates.observed(torch.as_tensor(y)).float().numpy()


def boxes(coordinates: Coordinates) -> tuple[spaces.Box, spaces.Box]:
    """The spaces of o (no,) and a (nu,), in float32."""
    o = spaces.Box(-_LARGEST, _LARGEST, (coordinates.no,), np.float32)
    return o, spaces.Box(-1.0, 1.0, (coordinates.system.nu,), np.float32)
