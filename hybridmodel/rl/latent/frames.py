"""One episode as a camera saw it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from hybridmodel.data.trajectory import Array
from hybridmodel.envs.pixels import Pixels


@dataclass(frozen=True, eq=False)
class Frames:
    """T steps of one episode; u[k] acts between images[k] and images[k + 1].

        images (T+1, h, w)   grey, uint8
        u (T, nu)            commanded inputs
        x (T+1, nx)          true states, for evaluation alone: no fit looks at them
        reward (T,)          of each step; only a pure latent model needs them

    Raises ValueError for shapes that do not fit.
    """

    images: np.ndarray
    u: Array
    x: Array | None = None
    reward: Array | None = None

    def __post_init__(self) -> None:
        images, u = np.asarray(self.images), np.asarray(self.u, dtype=np.float64)
        if images.ndim != 3 or images.dtype != np.uint8 or len(images) < 2:
            raise ValueError(
                f"images must be (T+1, h, w) of uint8, T ≥ 1, got {images.shape} {images.dtype}"
            )
        if u.ndim != 2 or len(u) != len(images) - 1 or not np.isfinite(u).all():
            raise ValueError(f"u must be ({len(images) - 1}, nu) finite numbers, got {u.shape}")
        rows = {"x": (self.x, len(images)), "reward": (self.reward, len(u))}
        for name, (value, count) in rows.items():
            if value is not None and len(value) != count:
                raise ValueError(f"{name} must have {count} rows, got {len(value)}")
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "u", u)

    @property
    def steps(self) -> int:
        """T."""
        return len(self.u)


class PixelPolicy(Protocol):
    """What commands a plant that it sees."""

    def reset(self, seed: int | None) -> None:
        """Forget the past; all randomness of the coming episode follows from the seed."""
        ...

    def __call__(self, t: float, image: np.ndarray, /) -> Array:
        """u (nu,) to be held from time t [s], when the camera saw `image`."""
        ...


def watch(
    pixels: Pixels,
    policy: PixelPolicy,
    *,
    steps: int,
    seed: int | None = None,
    state: ArrayLike | None = None,
    reward: Callable[[np.ndarray, np.ndarray], float] | None = None,
) -> Frames:
    """`collect` for a plant seen through a camera: run `policy` for `steps` steps at most.

    `seed` goes to both; `state` (nx,) starts the plant there. `reward(x, u)` labels each step,
    from the true state at its beginning; without it the plant's own reward is kept.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if pixels.stack != 1:
        raise ValueError(f"pixels must show single frames, got stack={pixels.stack}")
    options = None if state is None else {"state": np.array(state, dtype=np.float64)}
    image, info = pixels.reset(seed=seed, options=options)
    policy.reset(seed)
    images, inputs, states, rewards = [image], [], [info["x"]], []
    for k in range(steps):
        u = np.array(policy(k * pixels.dt, images[-1].copy()), dtype=np.float64)
        image, paid, terminated, truncated, info = pixels.step(u.copy())
        rewards.append(paid if reward is None else float(reward(states[-1], u)))
        images.append(image)
        inputs.append(u)
        states.append(info["x"])
        if terminated or truncated:
            break
    return Frames(np.array(images), np.array(inputs), np.array(states), np.array(rewards))
