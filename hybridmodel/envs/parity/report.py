"""What a check of parity found, as data and as a table."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from hybridmodel.envs.bullet.settings import BulletSettings
from physics import System

_PLACES = {
    "moving": "accelerations",
    "fast": "beyond the clamp",
    "beyond": "beyond the limits",
    "rollouts": "rollouts",
}


@dataclass(frozen=True, kw_only=True)
class JointGap:
    """How far the plant is from the System in one velocity and its coordinate.

    acceleration  largest |Δv̇| / max(1, |v̇|) over the states, v̇ the System's [–]
    absolute      largest |Δv̇| [rad/s², m/s²]
    force         largest |M Δv̇| of this row [N·m, N], what would have to be added to the plant
    at            index of the state with the largest relative one
    rollout       largest |Δx| in rollouts, over the range of the coordinate or of its rate [–]
    """

    name: str
    acceleration: float
    absolute: float
    force: float
    at: int
    rollout: float


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A culprit that, all others clean, alone makes plant and System differ.

    alone    largest relative gap that it makes [–], of accelerations or of rollouts
    without  the largest that is left when it alone is removed [–]
    share    of the sum over all that are seen at the same kind of states
    where    at which states it is seen: "moving", "fast", "beyond" limits, "rollouts"
    joints   rows in which it is seen, the most affected first
    """

    name: str
    sentence: str
    remedy: str
    alone: float
    without: float
    share: float
    where: str
    joints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Match:
    """Settings, engine steps and System under which both agree.

    settings       of the plant, None where the plant is none of PyBullet's
    substeps       engine steps a control step
    system         the System with the constants of the plant where they differed
    accelerations, rollouts  largest relative gaps, measured again
    """

    settings: BulletSettings | None
    substeps: int
    system: System
    accelerations: float
    rollouts: float
    holds: bool


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """Plant against System: figures by joint, what differs, and what makes them agree.

    joints        gaps of each row of v
    worst_state, worst_input  x (nx,) and u (nu,) of the largest relative gap of accelerations
    findings      culprits, those of accelerations by size first
    unexplained   (row, largest relative gap) with all known culprits removed, above the bar
    clean         largest relative gap of accelerations with all known culprits removed
    count, rollouts, dt, substeps  how many states and rollouts, control step [s] and engine steps
    acceleration_bar, rollout_bar  below which gaps hold
    """

    system: str
    plant: str
    joints: tuple[JointGap, ...]
    worst_state: tuple[float, ...]
    worst_input: tuple[float, ...]
    findings: tuple[Finding, ...]
    unexplained: tuple[tuple[str, float], ...]
    clean: float
    match: Match | None
    count: int
    rollouts: int
    dt: float
    substeps: int
    acceleration_bar: float
    rollout_bar: float

    @property
    def accelerations(self) -> float:
        """Largest relative gap of accelerations."""
        return max(joint.acceleration for joint in self.joints)

    @property
    def trajectories(self) -> float:
        """Largest relative gap of rollouts."""
        return max(joint.rollout for joint in self.joints)

    @property
    def holds(self) -> bool:
        """Whether both gaps lie within their bars and nothing is known or left to differ."""
        within = self.accelerations <= self.acceleration_bar and self._rolls_alike
        return within and not self.findings and not self.unexplained

    @property
    def _rolls_alike(self) -> bool:
        return self.trajectories <= self.rollout_bar

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the culprits."""
        return tuple(finding.name for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain data for JSON; infinite ones are None."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        found |= {
            "holds": self.holds,
            "joints": [dataclasses.asdict(joint) for joint in self.joints],
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "match": None if self.match is None else _match(self.match),
        }
        return _plain(found)

    def __str__(self) -> str:
        lines = [self._headline(), "", *self._table(), ""]
        lines += self._diagnosis()
        if self.match is not None:
            lines += ["", *_matched(self.match)]
        return "\n".join(lines)

    def _headline(self) -> str:
        verdict = "agree" if self.holds else "DIFFER"
        return (
            f"{self.system} and {self.plant} {verdict}: accelerations at {self.count} states "
            f"{self.accelerations:.2g} (bar {self.acceleration_bar:.0e}), {self.rollouts} rollouts "
            f"{self.trajectories:.2g} (bar {self.rollout_bar:g}) of h = "
            f"{self.dt / self.substeps:.4g} s"
        )

    def _table(self) -> list[str]:
        width = max(8, *(len(joint.name) for joint in self.joints))
        title = f"{'':{width}}  {'Δv̇/v̇':>9}  {'Δv̇':>9}  {'M Δv̇':>9}  {'rollout':>9}"
        return [title] + [
            f"{j.name:{width}}  {j.acceleration:9.2e}  {j.absolute:9.2e}  {j.force:9.2e}"
            f"  {j.rollout:9.2e}"
            for j in self.joints
        ]

    def _diagnosis(self) -> list[str]:
        lines = []
        for finding in self.findings:
            where = ", ".join(finding.joints[:4]) + (" …" if len(finding.joints) > 4 else "")
            lines += [
                f"{finding.name}: {finding.sentence}",
                f"    alone {finding.alone:.2g} ({_PLACES[finding.where]}, "
                f"{_percent(finding.share)}), without it {finding.without:.2g}; in {where}",
                f"    remove: {finding.remedy}",
            ]
        for name, gap in self.unexplained:
            above = " with all of the above removed" if self.findings else ""
            lines.append(f"unexplained: {name} differs by {gap:.2g}{above}")
        if not lines:
            lines.append("nothing differs that is known to")
        return lines


def _percent(share: float) -> str:
    return "< 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _match(match: Match) -> dict[str, Any]:
    settings = None if match.settings is None else dataclasses.asdict(match.settings)
    return {
        "settings": settings,
        "substeps": match.substeps,
        "system": {name: float(p) for name, p in match.system.parameters.items()},
        "accelerations": match.accelerations,
        "rollouts": match.rollouts,
        "holds": match.holds,
    }


def _matched(match: Match) -> list[str]:
    changes = []
    if match.settings is not None:
        clean = BulletSettings()
        for f in dataclasses.fields(match.settings):
            value = getattr(match.settings, f.name)
            if value != getattr(clean, f.name):
                changes.append(f"{f.name}={value!r}")
    verdict = "agree" if match.holds else "STILL DIFFER"
    return [
        f"match: BulletSettings({', '.join(changes)}), substeps={match.substeps}",
        f"    measured again they {verdict}: accelerations {match.accelerations:.2g}, rollouts "
        f"{match.rollouts:.2g}",
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
