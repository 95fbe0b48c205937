"""A plant seen through a camera: grey images instead of measured outputs.

    yₖ = the last n frames, oldest first,  each (size, size) of uint8, 0 black … 255 white

What the plant hides acts as before; its true state stays in `info["x"]`, for evaluation only.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
import numpy as np

from hybridmodel.envs.environment import Environment

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, section 2.5.1


class Pixels(gymnasium.Env[np.ndarray, np.ndarray]):
    """A plant whose observation is what its own `render` shows.

    plant   made with render_mode="rgb_array", as PyBullet's plants can be; of its frame the square
            in the middle is averaged to `size`, and rendering a frame of that very size is fastest
    size    height and width of the image
    stack   how many frames an observation holds: (size, size) of one, (stack, size, size) of more;
            an episode begins with copies of its first frame

    Raises ValueError naming the argument, also for a frame that is smaller than `size`.
    """

    def __init__(self, plant: Environment, *, size: int = 64, stack: int = 1) -> None:
        if not isinstance(plant, Environment):
            raise ValueError(f"plant must be an Environment, got {type(plant).__name__}")
        if plant.render_mode != "rgb_array":
            raise ValueError(
                f"plant must be made with render_mode='rgb_array', got {plant.render_mode!r}"
            )
        for name, count in (("size", size), ("stack", stack)):
            whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
            if not whole or count < 1:
                raise ValueError(f"{name} must be an integer ≥ 1, got {count!r}")
        size, stack = int(size), int(stack)
        self.plant, self.size, self.stack = plant, size, stack
        self.dt, self.render_mode, self.metadata = plant.dt, plant.render_mode, plant.metadata
        self.action_space = plant.action_space
        picture = plant.render()
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] < 3:
            raise ValueError(f"plant must render (height, width, 3) images, got {type(picture)}")
        height, width = picture.shape[:2]
        side = min(height, width)
        if side < size:
            raise ValueError(
                f"plant renders {width} × {height} pixels, which must be at least size = {size}"
            )
        top, left = (height - side) // 2, (width - side) // 2
        self._square = slice(top, top + side), slice(left, left + side)
        self._average = _averaging(self.size, side)
        shape = (size, size) if stack == 1 else (stack, size, size)
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, dtype=np.uint8)
        self._frames: deque[np.ndarray] = deque(maxlen=stack)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """As `Environment.reset`; the observation is the first image."""
        super().reset(seed=seed)
        _, info = self.plant.reset(seed=seed, options=options)
        self._frames.extend([self._seen()] * self.stack)
        return self._observed(), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """As `Environment.step`; the observation is the image at its end."""
        _, reward, terminated, truncated, info = self.plant.step(action)
        self._frames.append(self._seen())
        return self._observed(), reward, terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """The plant's own picture, in colour."""
        picture = self.plant.render()
        return picture if isinstance(picture, np.ndarray) else None

    def close(self) -> None:
        """Close the plant."""
        self.plant.close()

    def _observed(self) -> np.ndarray:
        return self._frames[-1].copy() if self.stack == 1 else np.stack(self._frames)

    def _seen(self) -> np.ndarray:
        picture = self.render()
        assert picture is not None  # the plant renders, see above
        fine = picture[self._square][..., :3].astype(np.float64) @ _LUMA
        return (self._average @ fine @ self._average.T).round().astype(np.uint8)


def _averaging(size: int, side: int) -> np.ndarray:
    """(size, side) shares of each fine row in each coarse one; the identity where they are one."""
    ends = np.arange(size + 1)[:, None] * side / size
    fine = np.arange(side)
    shared = np.minimum(ends[1:], fine + 1) - np.maximum(ends[:-1], fine)
    return np.clip(shared, 0, None) * size / side
