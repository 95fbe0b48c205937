"""Soft actor-critic of Stable-Baselines3, fed with steps of a plant and of a model.

    Q ← r + γ (1 − ended) (min_i Q'_i(o⁺, a⁺) − α ln π(a⁺|o⁺)),   π ← argmax min_i Q_i − α ln π

Haarnoja et al., Soft Actor-Critic Algorithms and Applications, arXiv 1812.05905, eq. 5-7 and 18.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from safetensors import safe_open
from safetensors.torch import save
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor

from hybridmodel.files import write_atomically
from hybridmodel.rl.coordinates import Coordinates
from hybridmodel.rl.replay import Replay
from hybridmodel.rl.value import Value, fit_value
from hybridmodel.whole import whole

Controller = Callable[[Tensor], Tensor]
_SMALLEST, _LARGEST = -20.0, 2.0  # of ln σ


class Agent:
    """A policy and a critic over the `Coordinates` of a System.

    real, imagined   `Replay`s: `agent.real.add(transitions)`
    hidden           widths of both networks
    discount         γ
    rate             Adam's step
    batch_size       steps an update is made from; `share` of them are imagined ones, where both
                     replays hold some
    entropy          α, or "auto" where it is learned (from 1; "auto_0.1": from 0.1)
    target_entropy   what α aims at [nats], default −nu
    target_rate      τ of the target critic
    reward_unit      the critic learns multiples of it; its size should be that of a step's reward
    seed             same seed, same bits. Torch's, numpy's and Python's global random states are
                     left as they were

    Called, it is the mean policy: x (…, nx) ↦ u (…, nu), float64, as `Sampling(policy=)` wants it.
    Raises ValueError naming the argument.
    """

    def __init__(
        self,
        coordinates: Coordinates,
        *,
        hidden: Sequence[int] = (64, 64),
        discount: float = 0.99,
        rate: float = 1e-3,
        batch_size: int = 256,
        share: float = 0.95,
        capacity: int = 100_000,
        imagined_capacity: int = 100_000,
        entropy: float | str = "auto",
        target_entropy: float | None = None,
        target_rate: float = 0.005,
        reward_unit: float = 1.0,
        seed: int = 0,
    ) -> None:
        for name, value, low, high in (
            ("discount", discount, 0.0, 1.0),
            ("share", share, 0.0, 1.0),
            ("target_rate", target_rate, 0.0, 1.0),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {value}")
        for name, value in (("rate", rate), ("reward_unit", reward_unit)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive, got {value}")
        batch_size, seed = whole("batch_size", batch_size), whole("seed", seed, 0)
        capacity = whole("capacity", capacity)
        imagined_capacity = whole("imagined_capacity", imagined_capacity)
        hidden = [whole("hidden", width) for width in hidden]
        if target_entropy is not None and not math.isfinite(target_entropy):
            raise ValueError(f"target_entropy must be finite, got {target_entropy}")
        known = isinstance(entropy, int | float) and 0 <= entropy < math.inf
        if not known and not str(entropy).startswith("auto"):
            raise ValueError(f"entropy must be at least 0, 'auto' or 'auto_0.1', got {entropy!r}")
        nu = coordinates.system.nu
        self.coordinates, self.discount, self.reward_unit = coordinates, discount, reward_unit
        self.batch_size, self.share = batch_size, share
        self.config = {
            "hidden": hidden,
            "discount": discount,
            "rate": rate,
            "batch_size": batch_size,
            "share": share,
            "capacity": capacity,
            "imagined_capacity": imagined_capacity,
            "entropy": entropy,
            "target_entropy": target_entropy,
            "target_rate": target_rate,
            "reward_unit": reward_unit,
            "seed": seed,
        }
        self.real = Replay(coordinates, capacity, scale=reward_unit)
        self.imagined = Replay(coordinates, imagined_capacity, scale=reward_unit)
        self.updates = 0
        self._generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sac = SAC(
                "MlpPolicy",
                cast(Any, None),
                learning_rate=rate,
                batch_size=batch_size,
                tau=target_rate,
                gamma=discount,
                ent_coef=entropy,
                target_entropy=-float(nu) if target_entropy is None else target_entropy,
                policy_kwargs={"net_arch": hidden, "optimizer_kwargs": {"fused": True}},
                device="cpu",
                _init_setup_model=False,
            )
            sac.observation_space = spaces.Box(-np.inf, np.inf, (coordinates.no,), np.float32)
            sac.action_space = spaces.Box(-1.0, 1.0, (nu,), np.float32)
            sac.n_envs = 1
            cast(Any, sac).replay_buffer = self  # it asks for `sample`
            sac._setup_model()
            sac.set_logger(Logger(None, []))
            self._random = torch.get_rng_state()
        self.sac = sac

    # -- learning -----------------------------------------------------------------------------

    def learn(self, updates: int) -> None:
        """So many updates of critic, policy and α.

        Raises ValueError where there are no steps to learn from.
        """
        if not len(self.real) and not len(self.imagined):
            raise ValueError("there are no steps yet: agent.real.add(…) or agent.imagined.add(…)")
        updates = whole("updates", updates, 0)
        if not updates:
            return
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._random)
            self.sac.train(updates, self.batch_size)
            self._random = torch.get_rng_state()
        self.updates += updates

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """A batch, of both replays as `share` says."""
        share = self.share if len(self.real) else 1.0
        imagined = round(share * batch_size) if len(self.imagined) else 0
        counts = (self.real, batch_size - imagined), (self.imagined, imagined)
        parts = [replay.drawn(n, self._generator) for replay, n in counts if n]
        o, a, r, after, ended = (torch.cat(rows) for rows in zip(*parts, strict=True))
        return ReplayBufferSamples(o, a, after, ended, r)

    # -- acting -------------------------------------------------------------------------------

    def __call__(self, x: Tensor) -> Tensor:
        return self._acted(x, None)

    def exploring(self, generator: torch.Generator) -> Controller:
        """x (…, nx) ↦ u (…, nu) drawn from the policy."""
        return lambda x: self._acted(x, generator)

    def policy(self, *, deterministic: bool = True) -> AgentPolicy:
        """It as a policy of `collect`, for plants that measure their states."""
        return AgentPolicy(self, deterministic)

    def _acted(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        with torch.no_grad():
            o = self.coordinates.observed(x).float()
            rows = o.reshape(-1, o.shape[-1])
            mean, log_deviation, _ = self.sac.actor.get_action_dist_params(rows)
            if generator is not None:
                noise = torch.randn(mean.shape, generator=generator)
                mean = mean + log_deviation.clamp(_SMALLEST, _LARGEST).exp() * noise
            a = torch.tanh(mean).reshape(*o.shape[:-1], -1)
            return self.coordinates.inputs(a.to(x.dtype))

    # -- what the critic says -----------------------------------------------------------------

    def critic(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        """min_i Q_i(o, a) (…) in the unit of reward, a the mean policy's unless u is given."""
        with torch.no_grad():
            u = self(x) if u is None else u
            o = self.coordinates.observed(x).float()
            a = self.coordinates.actions(u).float().expand(*o.shape[:-1], -1)
            rows = o.reshape(-1, o.shape[-1]), a.reshape(-1, a.shape[-1])
            both = torch.cat(self.sac.critic(*rows), -1)
            return self.reward_unit * both.min(-1).values.to(x.dtype).reshape(x.shape[:-1])

    def value(self, states: Tensor, *, hidden: Sequence[int] = (64, 64), seed: int = 0) -> Value:
        """V_ψ(o) ≈ min_i Q_i(o, π(o)), a small float64 network fitted at states (N, nx).

        For `WithValue`; SAC's Q counts the entropy to come as reward, α nats a step. Give states
        that plans reach: beyond them it is a guess.
        """
        if states.dim() != 2 or len(states) < 20:
            raise ValueError(f"states must be (N, nx) with N ≥ 20, got {tuple(states.shape)}")
        if not bool(torch.isfinite(states).all()):
            raise ValueError("states must be finite")
        o = self.coordinates.observed(states)
        return fit_value(o, self.critic(states), hidden=tuple(hidden), seed=seed)

    # -- files --------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Weights and settings, without replays and the optimizers' state (safetensors)."""
        tensors = {k: v.contiguous() for k, v in self._tensors().items()}
        about = {"agent": json.dumps(self.config), "coordinates": self.coordinates.about}
        write_atomically(path, save(tensors, about))

    @classmethod
    def load(cls, path: str | os.PathLike[str], coordinates: Coordinates) -> Agent:
        """What `save` wrote; ValueError where it is of other coordinates."""
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if "agent" not in about:
                raise ValueError(f"path: {os.fspath(path)!r} holds no agent")
            agent = cls(coordinates, **json.loads(about["agent"]))
            if about.get("coordinates") != coordinates.about:
                raise ValueError(
                    f"path: the agent in {os.fspath(path)!r} knows other states or inputs, or "
                    f"other bounds of inputs: {about.get('coordinates')}"
                )
            own = agent._tensors()
            names = set(file.keys())
            found = {name: file.get_tensor(name) for name in names}
        for name, tensor in own.items():
            if name not in found or found[name].shape != tensor.shape:
                raise ValueError(
                    f"path: {name} of {os.fspath(path)!r} does not fit an agent with "
                    f"{coordinates.no} observations and {coordinates.system.nu} inputs"
                )
            with torch.no_grad():
                tensor.copy_(found[name])
        return agent

    def _tensors(self) -> dict[str, Tensor]:
        own = {f"policy.{k}": v for k, v in self.sac.policy.state_dict().items()}
        if self.sac.log_ent_coef is not None:
            own["log_entropy_weight"] = self.sac.log_ent_coef.detach()
        return own


class AgentPolicy:
    """u = π(y), its mean or a draw that follows from the seed of `reset`."""

    def __init__(self, agent: Agent, deterministic: bool) -> None:
        self._agent = agent
        self._generator = None if deterministic else torch.Generator()

    def reset(self, seed: int | None) -> None:
        if self._generator is not None:
            self._generator.manual_seed(0 if seed is None else seed)

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        return self._agent._acted(torch.as_tensor(y), self._generator).numpy()
