"""What makes a PyBullet plant differ from a System: the engine itself is asked.

Each switch is set alone on a clean plant, and left out of the full one. Behaviour decides: a
setting that differs and does nothing is not named. Hidden effects that act over time, and
whatever the switches do not know, are looked for in rollouts too.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from hybridmodel.envs.parity import culprits, measure, steps
from hybridmodel.envs.parity.apart import set_apart
from hybridmodel.envs.parity.axes import from_file, with_unit_axes
from hybridmodel.envs.parity.gaps import measured_accelerations, modelled_accelerations
from hybridmodel.envs.parity.matching import match
from hybridmodel.envs.parity.measure import Reference
from hybridmodel.envs.parity.probes import PROBES, SHORT, Samples, bounded, rubs, sliding
from hybridmodel.envs.parity.remedies import told
from hybridmodel.envs.parity.report import Finding, Match
from hybridmodel.envs.parity.setup import Setup
from hybridmodel.envs.parity.steps import Stepping
from hybridmodel.envs.parity.switches import Switch, engaged, of_axes, switches
from physics import Mechanical

LEAST = 0.1  # of the bar: smaller gaps let the pair hold, and are not named
_NOISE = 10.0  # × what the clean pair differs by
_STATES = 100  # for the clean pair where there is dry friction
_TAME = 10.0  # × the range: rollouts that err more say nothing about what else there is


@dataclass(frozen=True)
class Diagnosis:
    """Culprits, rows that differ with all of them removed, by how much at most, and a match."""

    findings: tuple[Finding, ...]
    unexplained: tuple[tuple[str, float], ...]
    clean: float
    match: Match | None


@dataclass(frozen=True)
class _Effect:
    """What one culprit changes in each row, at which states, and whether only out of bounds."""

    gap: np.ndarray
    where: str
    threshold: float
    beyond: bool = False

    @property
    def seen(self) -> bool:
        return bool(self.gap.max(initial=0.0) > self.threshold)


def diagnose(
    system: Mechanical,
    subject: Setup,
    reference: Reference,
    *,
    bars: tuple[float, float],
    seed: int,
    progress: Callable[[str], None],
) -> Diagnosis:
    """Culprits of the plant `subject`, what stays unexplained, and what makes both agree."""
    with with_unit_axes(system, subject) as (same, straight):
        return _diagnosed(
            same, straight, subject, reference, bars=bars, seed=seed, progress=progress
        )


def _diagnosed(
    system: Mechanical,
    subject: Setup,
    raw: Setup,
    reference: Reference,
    *,
    bars: tuple[float, float],
    seed: int,
    progress: Callable[[str], None],
) -> Diagnosis:
    """The same, where `raw` is the plant and `subject` that of a file with axes of unit length."""
    names, bar = measure.rows(system), bars[0]
    probes = _drawn(system, subject, seed)
    like = set_apart(system, subject, probes["moving"])
    clean, found = subject.clean(like.alike), switches(like.alike, subject)
    if subject is not raw:
        found = (*found, of_axes(raw))
    left = _clean_gap(like.nearest, clean, seed)
    threshold = min(bar, max(LEAST * bar, _NOISE * float(left.max())))
    if like.alike is not system:
        reference = Reference.of(like.alike, clean.dt, reference.starts, reference.inputs)
    engine = _Engine(clean, found, probes, reference, system)
    named: list[tuple[Switch, _Effect]] = []
    for switch in found:
        progress(f"switching {switch.name}")
        effect = engine.alone(switch, threshold)
        if not effect.seen and switch.culprit is culprits.HIDDEN:
            effect = engine.alone_over_time(switch, LEAST * bars[1])
        if effect.seen:
            named.append((switch, effect))
    on = [switch for switch, _ in named]
    findings = []
    for switch, effect in named:
        progress(f"all but {switch.name}")
        sentence, remedy = told(switch, like.alike, subject)
        rest = engine.all_but(switch, on, effect.where)
        findings.append(_finding(switch.name, sentence, remedy, effect, rest, names))
    for item in like.apart:
        effect = _Effect(item.gap, "moving", LEAST * bar)
        if effect.seen:
            rest, culprit = engine.all_but(None, on, "moving"), item.culprit
            one = _finding(culprit.name, item.sentence, culprit.remedy, effect, rest, names)
            findings.append(one)
    stepping = Stepping([], subject.substeps, None, [])
    if left.max() <= bar:  # what a step costs cannot be told from another difference
        progress("engine steps")
        stepping = steps.examine(like.alike, clean, reference, bars[1])
    unexplained = above(names, left, bar, "{}")
    beyond, rolled = engine.unknown(raw)
    unexplained += above(names, beyond, bar, "{}, by something in the plant itself,")
    unexplained += above(names, rolled, bars[1], "{} in rollouts, by something in the plant,")
    unexplained += [(f"{name} in rollouts", value) for name, value in stepping.unexplained]
    findings = _sorted([*findings, *stepping.findings])
    agreed = None
    if findings:
        progress("a match")
        own, given = like.alike, system
        if subject is not raw:  # the other file is soon gone
            own, given = (from_file(s, raw.system.description.source) for s in (own, system))
        agreed = match(own, raw, on, stepping, reference, given=given, bars=bars, seed=seed)
    return Diagnosis(findings, tuple(unexplained), float(left.max()), agreed)


@dataclass(frozen=True)
class _Engine:
    """A clean plant, and what is `found` to differ from it."""

    clean: Setup
    found: Sequence[Switch]
    probes: dict[str, Samples]
    reference: Reference
    bounds: Mechanical

    def alone(self, switch: Switch, threshold: float) -> _Effect:
        """What this culprit changes in accelerations, between two engines."""
        where = switch.culprit.probe
        samples = self.probes[where]
        beside = self._beside([switch])
        before = self._accelerations(beside, where)
        after = self._accelerations([*beside, switch], where)
        gap = measure.changes(before, after)
        inside = bounded(self.bounds, samples[0])
        within = measure.changes(before[inside], after[inside])
        beyond = where != "moving" and not within.max(initial=0.0) > threshold
        return _Effect(gap, where, threshold, beyond)

    def alone_over_time(self, switch: Switch, threshold: float) -> _Effect:
        """What it changes in rollouts."""
        gap = self.reference.between(self._rolled([]), self._rolled([switch]))
        return _Effect(gap, "rollouts", threshold)

    def all_but(self, switch: Switch | None, on: Sequence[Switch], where: str) -> float:
        """What the others change together, where this one is seen.

        What the engine cannot have without this one is left out as well.
        """
        held = () if switch is None else switch.culprit.holds
        others = [other for other in on if other is not switch and other.name not in held]
        beside = [b for b in self._beside(others) if b not in others and b is not switch]
        others = [*others, *beside]
        if where == "rollouts":
            return float(self.reference.between(self._rolled([]), self._rolled(others)).max())
        before, after = self._accelerations([], where), self._accelerations(others, where)
        return float(measure.changes(before, after).max())

    def unknown(self, subject: Setup) -> tuple[np.ndarray, np.ndarray]:
        """What the plant does that all switches together do not: accelerations, rollouts."""
        samples = self.probes["moving"]
        before = self._accelerations(self.found, "moving")
        with closing(subject.plant()) as plant:
            gap = measure.changes(before, measured_accelerations(plant, *samples))
            over = self.reference.rolled(plant)
        known = self._rolled(self.found)
        rolled = self.reference.between(known, over)
        if not self.reference.gap(known).max() < _TAME:
            rolled = np.zeros_like(rolled)
        return gap, rolled

    def _beside(self, some: Sequence[Switch]) -> list[Switch]:
        wanted = {name for switch in some for name in switch.culprit.beside}
        return [other for other in self.found if other.name in wanted]

    def _accelerations(self, some: Sequence[Switch], where: str) -> np.ndarray:
        with closing(engaged(self.clean, some).plant()) as plant:
            return measured_accelerations(plant, *self.probes[where])

    def _rolled(self, some: Sequence[Switch]) -> np.ndarray:
        with closing(engaged(self.clean, some).plant()) as plant:
            return self.reference.rolled(plant)


def _drawn(system: Mechanical, subject: Setup, seed: int) -> dict[str, Samples]:
    """All probes; limits are the plant's own."""
    found = {}
    for name, draw in PROBES.items():
        of = subject.system if name == "beyond" else system
        found[name] = draw(of, subject.settings, seed)
    return found


def _finding(
    name: str,
    sentence: str,
    remedy: str,
    effect: _Effect,
    without: float,
    rows: tuple[str, ...],
) -> Finding:
    gap = effect.gap
    return Finding(
        name=name,
        sentence=sentence,
        remedy=remedy,
        alone=float(gap.max()),
        without=without,
        share=1.0,
        where=effect.where,
        joints=tuple(rows[i] for i in np.argsort(-gap) if gap[i] > effect.threshold),
        beyond=effect.beyond,
    )


def _sorted(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Those of accelerations by size, of rollouts, and beyond the bounds; with their shares."""
    totals: dict[str, float] = defaultdict(float)
    for one in findings:
        totals[one.where] += one.alone
    found = [
        one
        if one.where == "rollouts"
        else dataclasses.replace(one, share=one.alone / totals[one.where])
        for one in findings
    ]
    return tuple(sorted(found, key=lambda one: (one.beyond, one.where == "rollouts", -one.alone)))


def _clean_gap(system: Mechanical, clean: Setup, seed: int) -> np.ndarray:
    """What is left between the System and the engine told to be it."""
    samples = PROBES["moving"](system, clean.settings, seed)
    if rubs(system):
        clean, samples = clean.stepping(SHORT, 1), sliding(system, _STATES, seed)
    modelled = modelled_accelerations(system, *samples)
    with closing(clean.plant()) as plant:
        return measure.changes(modelled, measured_accelerations(plant, *samples))


def above(
    names: Sequence[str], gaps: np.ndarray, bar: float, words: str
) -> list[tuple[str, float]]:
    """Rows whose gap exceeds the bar."""
    pairs = zip(names, gaps.tolist(), strict=True)
    return [(words.format(name), value) for name, value in pairs if value > bar]
