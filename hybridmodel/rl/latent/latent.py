"""An encoder and the model it belongs to: states from images, and policies that see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from hybridmodel.closed_loop import RecedingHorizon
from hybridmodel.data.trajectory import Array
from hybridmodel.estimators import EKF
from hybridmodel.model import HybridModel
from hybridmodel.rl.latent.encoder import Encoder
from hybridmodel.rl.latent.frames import Frames
from hybridmodel.rl.latent.smoothing import Gated

_FASTEST = 2.0  # deviation of an unknown first rate [unit/s]


@dataclass(frozen=True, eq=False)
class Latent:
    """The hybrid model as a latent state space: its states are the latent ones.

    encoder, model
    measurement_noise  (nq,) deviation of encoded coordinates, from images the encoder had not seen
    process_noise      (nx,) what one step leaves in each state
    history            a row for each round of the fit
    """

    encoder: Encoder
    model: HybridModel
    measurement_noise: np.ndarray
    process_noise: np.ndarray
    history: tuple[Mapping[str, float], ...] = ()

    def measured(self, images: np.ndarray) -> Array:
        """y (…, nx) of images (…, h, w): coordinates, and NaN for the rates."""
        with torch.no_grad():
            return padded(self.encoder(images).double().numpy(), self.model.system.nx)

    def estimator(self) -> Gated:
        """A filter of such measurements, at its beginning."""
        return estimator(self.model, self.measurement_noise, self.process_noise)

    def estimate(self, frames: Frames) -> Array:
        """x̂ (T+1, nx), each from the images up to its own."""
        gated, y = self.estimator(), self.measured(frames.images)
        before = [None, *frames.u]
        return np.array([gated.update(*pair) for pair in zip(y, before, strict=True)])


class Seeing:
    """A receding-horizon policy on images; its estimator must be one of `Latent.estimator`.

    `states` holds x̂ of every step since the reset.
    """

    def __init__(self, latent: Latent, policy: RecedingHorizon) -> None:
        if not isinstance(policy.estimator, Gated):
            raise ValueError(
                "policy must be made with estimator=latent.estimator(), got "
                f"{type(policy.estimator).__name__}"
            )
        self.latent, self.policy, self.gated = latent, policy, policy.estimator
        self.states: list[Array] = []

    def reset(self, seed: int | None) -> None:
        self.policy.reset(seed)
        self.states = []

    def __call__(self, t: float, y: np.ndarray) -> Array:
        """u (nu,) at t [s] from an image y (h, w)."""
        u = self.policy(t, self.latent.measured(y))
        known = self.gated.ekf.x
        nx = self.latent.model.nx
        self.states.append(np.full(nx, np.nan) if known is None else known.copy())
        return u


def padded(q: np.ndarray, nx: int) -> Array:
    """q (…, nq) with NaN for what is not seen (…, nx)."""
    return np.concatenate([q, np.full((*q.shape[:-1], nx - q.shape[-1]), np.nan)], -1)


def estimator(model: HybridModel, measured: np.ndarray, process: np.ndarray) -> Gated:
    """The gated filter under these deviations of coordinates (nq,) and of one step (nx,)."""
    rates = model.system.nx - len(measured)
    ekf = EKF(
        model,
        measurement_noise=np.concatenate([measured, np.ones(rates)]),  # of rates: never used
        process_noise=process,
        initial_deviation=np.concatenate([3 * measured, np.full(rates, _FASTEST)]),
    )
    return Gated(ekf)
