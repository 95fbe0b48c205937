"""One PyBullet client: a world of its own, with nothing left to the engine's choice."""

from __future__ import annotations

import math
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.envs.bullet.quiet import pybullet, quiet
from hybridmodel.envs.bullet.settings import BulletSettings

_VIEW = 30.0  # vertical angle of the camera [deg]
_FINER = 2  # pictures are drawn so much finer and averaged, for smooth edges


class World:
    """A client with steps of h [s] and gravity along −z [m/s²]."""

    def __init__(self, settings: BulletSettings, h: float, gravity: float) -> None:
        self.settings, self.h = settings, h
        self.gravity = gravity if settings.gravity is None else settings.gravity
        self.client = pybullet.connect(pybullet.DIRECT)
        self.close = weakref.finalize(self, pybullet.disconnect, self.client)
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=h,
            numSubSteps=0,
            numSolverIterations=settings.solver_iterations,
            solverResidualThreshold=settings.residual_threshold,
            globalCFM=settings.global_cfm,
            enableFileCaching=0,
            deterministicOverlappingPairs=1,
            physicsClientId=self.client,
        )
        pybullet.setGravity(0.0, 0.0, -self.gravity, physicsClientId=self.client)

    def load(self, urdf: str | Path, *, fixed: bool) -> int:
        """The body of a URDF file (a Path) or text, its base at the origin.

        Raises ValueError where the engine refuses it.
        """
        flags = 0 if self.settings.inertia == "shapes" else pybullet.URDF_USE_INERTIA_FROM_FILE
        if self.settings.self_collision:
            flags |= pybullet.URDF_USE_SELF_COLLISION
        with tempfile.TemporaryDirectory() as folder:
            path = urdf
            if isinstance(urdf, str):
                path = Path(folder, "plant.urdf")
                path.write_text(urdf, encoding="utf-8")
            try:
                with quiet():  # it remarks on links without inertia, which are meant so
                    return pybullet.loadURDF(
                        str(path), useFixedBase=fixed, flags=flags, physicsClientId=self.client
                    )
            except pybullet.error as error:
                name = "the URDF text it is given" if isinstance(urdf, str) else path
                raise ValueError(f"PyBullet does not load {name}: {error}") from None

    def step(self) -> None:
        pybullet.stepSimulation(physicsClientId=self.client)

    def picture(
        self,
        size: tuple[int, int],
        *,
        target: tuple[float, float, float],
        reach: tuple[float, float],
        direction: tuple[float, float, float] = (0.0, -1.0, 0.15),
    ) -> np.ndarray:
        """(height, width, 3) uint8 by the software renderer, showing `reach` around `target`.

        The camera stands along `direction` from the target, far enough to show all.
        """
        width, height = size
        wide, tall = reach
        d = max(wide * height / width, tall) / math.tan(math.radians(_VIEW / 2))
        eye = tuple(t + d * s for t, s in zip(target, direction, strict=True))
        image = pybullet.getCameraImage(
            _FINER * width,
            _FINER * height,
            viewMatrix=pybullet.computeViewMatrix(eye, target, (0, 0, 1)),
            projectionMatrix=pybullet.computeProjectionMatrixFOV(
                _VIEW, width / height, 0.1 * d, 3 * d
            ),
            lightDirection=(-d, -2 * d, 3 * d),
            lightAmbientCoeff=0.7,
            lightDiffuseCoeff=0.4,
            lightSpecularCoeff=0.0,
            shadow=0,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=self.client,
        )[2]
        fine = np.asarray(image, dtype=np.uint8).reshape(height, _FINER, width, _FINER, 4)
        return fine[..., :3].mean(axis=(1, 3)).round().astype(np.uint8)

    def record(self) -> dict[str, Any]:
        """The engine, its version and what the world was set to."""
        return {
            "engine": "pybullet",
            "version": pybullet.getAPIVersion(physicsClientId=self.client),
            "gravity": self.gravity,
        }
