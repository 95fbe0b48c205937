"""What a camera sees: averages over areas of the middle square, whatever the plant renders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hybridmodel import envs, physics

DT = 0.05


def plant(width: int = 640, height: int = 400) -> envs.Environment:
    return envs.BulletPendulum(
        physics.Pendulum(), dt=DT, render_mode="rgb_array", size=(width, height)
    )


def seen(rendered: int, size: int) -> np.ndarray:
    with envs.Pixels(plant(rendered, rendered), size=size) as pixels:
        return pixels.reset(seed=0, options={"state": [0.7, 0.0]})[0]


def test_a_finer_frame_is_averaged_over_blocks() -> None:
    fine = seen(96, 96).astype(float)
    blocks = fine.reshape(24, 4, 24, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(seen(96, 24), blocks, atol=1.0)


def test_a_side_that_is_no_multiple_keeps_the_mean_brightness() -> None:
    fine, coarse = seen(50, 50), seen(50, 32)
    assert coarse.shape == (32, 32)
    assert coarse.mean() == pytest.approx(fine.mean(), abs=0.5)


def test_of_a_wide_frame_the_middle_square_is_taken() -> None:
    made = envs.make(physics.Pendulum(), dt=DT, render_mode="rgb_array")  # 640 × 400
    with envs.Pixels(made, size=40) as pixels:
        image, _ = pixels.reset(seed=0, options={"state": [0.7, 0.0]})
        picture = pixels.render()
    assert picture is not None
    square = picture[:, 120:520] @ np.array([0.299, 0.587, 0.114])
    blocks = square.reshape(40, 10, 40, 10).mean(axis=(1, 3))
    np.testing.assert_allclose(image, blocks, atol=0.51)


def test_what_cannot_be_seen_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="plant renders 24 × 30"):
        envs.Pixels(plant(24, 30), size=32)
    with pytest.raises(ValueError, match="stack"):
        envs.Pixels(plant(), stack=True)
    with pytest.raises(ValueError, match="size"):
        envs.Pixels(plant(), size=0)
    with pytest.raises(ValueError, match="render_mode"):
        envs.Pixels(envs.make(physics.Pendulum(), engine="ode", dt=DT))
    counted: Any = np.int64(2)
    assert envs.Pixels(plant(), size=16, stack=counted).observation_space.shape == (2, 16, 16)
