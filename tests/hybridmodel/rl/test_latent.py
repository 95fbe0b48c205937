"""Encoders that physics trains: they find the angle, do not collapse, and repeat to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import physics
from hybridmodel import HybridModel, envs
from hybridmodel.envs.pixels import Pixels
from hybridmodel.excitation import RandomSteps
from hybridmodel.rl.latent import Encoder, Frames, Latent, fit_encoder, fit_latent, watch
from hybridmodel.rl.latent.alignment import _losses, _windows, aligned
from hybridmodel.rl.latent.encoder import coordinates_of

SIZE, DT = 24, 0.05
SYSTEM = physics.Pendulum(inputs=(physics.Signal("torque", "N·m", -3.0, 3.0),))


def picture(angle: float) -> np.ndarray:
    """A dark disc on a thin rod, (24, 24) of uint8, θ = 0 hangs."""
    Y, X = np.meshgrid(*2 * [np.linspace(-1.3, 1.3, SIZE)], indexing="ij")
    tip = np.array([np.sin(angle), np.cos(angle)])
    along = np.clip(X * tip[0] + Y * tip[1], 0, 1)
    rod = np.hypot(X - along * tip[0], Y - along * tip[1])
    disc = np.hypot(X - tip[0], Y - tip[1])
    shade = 0.4 * np.clip(1.2 - rod / 0.08, 0, 1) + 0.9 * np.clip(3.0 - disc / 0.1, 0, 1)
    return np.round(255 * (1 - np.clip(shade, 0, 0.95))).astype(np.uint8)


def episodes(count: int = 10, steps: int = 40, seed: int = 0) -> list[Frames]:
    """Drawn with true damping and gain that the model does not have."""
    true = HybridModel(SYSTEM.with_parameters(damping=0.05, motor_gain=0.8), dt=DT)
    draw, found = np.random.default_rng(seed), []
    for k in range(count):
        excitation = RandomSteps(SYSTEM.inputs, amplitude=1.0)
        excitation.reset(k)
        u = np.array([excitation(DT * i, np.zeros(2)) for i in range(steps)])
        x0 = torch.from_numpy(draw.uniform(-1, 1, 2) * [np.pi, 1.0])
        with torch.no_grad():
            x = true.rollout(x0, torch.from_numpy(u)).numpy()
        found.append(Frames(np.array([picture(a) for a in x[:, 0]]), u, x))
    return found


def error(angles: np.ndarray, frames: list[Frames]) -> np.ndarray:
    x = np.concatenate([f.x for f in frames if f.x is not None])
    return np.abs((angles - x[:, 0] + np.pi) % (2 * np.pi) - np.pi)


@pytest.fixture(scope="module")
def frames() -> list[Frames]:
    return episodes()


def model() -> HybridModel:
    return HybridModel(SYSTEM, dt=DT, fit_parameters=("damping", "motor_gain"))


@pytest.fixture(scope="module")
def latent(frames: list[Frames]) -> Latent:
    blind = [Frames(f.images, f.u) for f in frames]
    effort: dict[str, Any] = {"starts": 6, "rounds": 8, "updates": 100}
    return fit_encoder(model(), blind, process_noise=(1e-3, 0.02), **effort)


@pytest.mark.slow
def test_the_angle_is_found_without_a_label(latent: Latent) -> None:
    unseen = episodes(4, seed=1)
    off = error(np.concatenate([latent.measured(f.images)[:, 0] for f in unseen]), unseen)
    assert np.median(off) < 0.05
    for f in unseen:  # and rates, that no image shows, with the model
        assert f.x is not None
        assert np.sqrt(((latent.estimate(f)[10:, 1] - f.x[10:, 1]) ** 2).mean()) < 0.5
    gain = latent.model.parameter_values()["motor_gain"]
    assert abs(gain - 0.8) < 0.1  # the model was given 1


def test_constant_encodings_are_no_minimum(frames: list[Frames]) -> None:
    images = np.concatenate([f.images for f in frames])
    encoder = Encoder(coordinates_of(SYSTEM), images)
    z = encoder.features(images)[:, :8].double()
    u = [f.u for f in frames]
    found = aligned(model(), encoder, z, u, starts=8, kept=2, iterations=(60, 80))
    rows, inputs = _windows(u, 14)
    W, theta = torch.zeros(1, 8, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    for angle in np.linspace(-np.pi, np.pi, 9):
        b = torch.tensor([[[np.cos(angle), np.sin(angle)]]])
        constant = _losses(model(), encoder, z, inputs, rows, 14, W, b, theta)
        assert float(constant) > 5 * float(found.losses[0])


def test_the_same_seed_gives_the_same_bits(frames: list[Frames], latent: Latent) -> None:
    images = np.concatenate([f.images for f in frames])
    encoder = Encoder(coordinates_of(SYSTEM), images)
    z, u = encoder.features(images), [f.u for f in frames]

    def once() -> tuple[np.ndarray, dict[str, float], torch.Tensor]:
        effort: dict[str, Any] = {"rounds": 1, "updates": 20, "folds": 2}
        fitted = fit_encoder(
            model(), frames[:4], process_noise=(1e-3, 0.02), warm=latent, seed=5, **effort
        )
        start = aligned(model(), encoder, z, u, starts=4, kept=2, iterations=(3, 3), seed=5)
        found = fitted.measured(frames[5].images)[:, 0]
        return found, fitted.model.parameter_values(), start.weight

    before = torch.random.get_rng_state()
    (first, values, start), (second, again, restart) = once(), once()
    assert np.array_equal(first, second)
    assert values == again
    assert torch.equal(start, restart)
    assert torch.equal(before, torch.random.get_rng_state())


def test_targets_and_read_are_inverse(frames: list[Frames]) -> None:
    signals = physics.CartPole().states[:2]
    encoder = Encoder(signals, frames[0].images)
    q = torch.tensor([[-2.0, 3.0], [0.1, -3.1], [2.4, 0.0]], dtype=torch.float64)
    assert torch.allclose(encoder.read(encoder.targets(q)), q)


def test_pixels_are_a_gymnasium_environment() -> None:
    from hybridmodel.envs import BulletPendulum

    plant = BulletPendulum(SYSTEM, dt=DT, render_mode="rgb_array", size=(48, 48))
    pixels = Pixels(plant, size=24, stack=2)
    with pytest.warns(UserWarning, match="action space"):  # SI units instead of ±1
        check_env(pixels, skip_render_check=True)
    image, info = pixels.reset(seed=1, options={"state": [0.0, 0.0]})
    assert image.shape == (2, 24, 24)
    assert np.array_equal(image[0], image[1])
    after, *_, info = pixels.step(np.array([3.0]))
    assert np.array_equal(after[0], image[1])
    assert info["x"][0] > 0
    with pytest.raises(ValueError, match="at least size"):
        Pixels(plant, size=64)
    pixels.close()
    with pytest.raises(ValueError, match="render_mode"):
        Pixels(envs.make(SYSTEM, engine="ode", dt=DT))


def test_watch_and_the_pure_latent_model() -> None:
    from hybridmodel.envs import BulletPendulum
    from hybridmodel.rl.latent import FreePolicy

    plant = BulletPendulum(SYSTEM, dt=DT, render_mode="rgb_array", size=(24, 24))
    pixels = Pixels(plant, size=24)
    excitation = RandomSteps(SYSTEM.inputs, amplitude=1.0)
    seen = watch(pixels, excitation, steps=30, seed=3, reward=lambda x, u: -float(x[0] ** 2))
    assert seen.x is not None
    assert seen.reward is not None
    assert np.allclose(seen.reward, -(seen.x[:-1, 0] ** 2))
    free = fit_latent([seen], SYSTEM.inputs, updates=5, batch=8)
    policy = FreePolicy(free, horizon=10, samples=20, elites=4, iterations=2, knots=4, last=10.0)
    again = watch(pixels, policy, steps=3, seed=3)
    assert (np.abs(again.u) <= 3.0).all()
    pixels.close()


def test_refusals(frames: list[Frames]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        Frames(np.zeros((3, 4, 4)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="folds"):
        fit_encoder(model(), frames[:1], process_noise=(1.0, 1.0))
    with pytest.raises(ValueError, match="process_noise"):
        fit_encoder(model(), frames, process_noise=(1.0,))
    with pytest.raises(ValueError, match="rewards"):
        fit_latent(frames, SYSTEM.inputs)
    with pytest.raises(ValueError, match="Mechanical"):
        coordinates_of(physics.KinematicBicycle())
