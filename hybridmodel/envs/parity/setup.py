"""A PyBullet plant as its choices, so that one of them can be changed and it be built anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.hidden import HiddenEffects
from hybridmodel.envs.parity.constants import with_constants
from physics import System

if TYPE_CHECKING:
    from hybridmodel.envs.bullet.plant import BulletPlant

_KEPT = ("package_roots",)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a plant is built from; dt control step [s] of so many engine steps.

    options   further arguments of a robot's plant: where its meshes are looked for
    """

    builds: type[BulletPlant]
    system: Any
    settings: BulletSettings
    hidden: HiddenEffects
    dt: float
    substeps: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, plant: BulletPlant) -> Self:
        return cls(
            builds=type(plant),
            system=plant.system,
            settings=plant.engine_settings,
            hidden=plant.hidden,
            dt=plant.dt,
            substeps=plant.substeps,
            options={k: v for k, v in vars(plant)["_arguments"].items() if k in _KEPT},
        )

    def clean(self, system: System) -> Self:
        """The same engine and steps, everything else as the System says."""
        return dataclasses.replace(
            self, system=system, settings=BulletSettings(), hidden=HiddenEffects()
        )

    def changed(self, *, constants: Mapping[str, Any] | None = None, **settings: Any) -> Self:
        """Other constants of the System that is built, other settings."""
        return dataclasses.replace(
            self,
            system=with_constants(self.system, constants or {}),
            settings=dataclasses.replace(self.settings, **settings),
        )

    def stepping(self, dt: float, substeps: int) -> Self:
        """Other steps."""
        return dataclasses.replace(self, dt=dt, substeps=substeps)

    @property
    def h(self) -> float:
        """Engine step [s]."""
        return self.dt / self.substeps

    def plant(self) -> BulletPlant:
        return self.builds(
            self.system,
            dt=self.dt,
            substeps=self.substeps,
            hidden=self.hidden,
            settings=self.settings,
            **self.options,
        )
