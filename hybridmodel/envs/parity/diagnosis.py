"""What makes a PyBullet plant differ from a System: the engine itself is asked.

Each switch is set alone on a clean plant, and left out of the full one. Behaviour decides: a
setting that differs and does nothing is not named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from hybridmodel.envs.parity import measure, steps
from hybridmodel.envs.parity.gaps import measured_accelerations, modelled_accelerations
from hybridmodel.envs.parity.matching import match
from hybridmodel.envs.parity.measure import Reference
from hybridmodel.envs.parity.probes import PROBES, SHORT, Samples, rubs, sliding
from hybridmodel.envs.parity.remedies import told
from hybridmodel.envs.parity.report import Finding, Match
from hybridmodel.envs.parity.setup import Setup
from hybridmodel.envs.parity.steps import Stepping
from hybridmodel.envs.parity.switches import Switch, engaged, switches
from physics import Mechanical

_LEAST = 0.1  # of the bar: smaller gaps let the pair hold, and are not named
_NOISE = 10.0  # × what the clean pair differs by
_STATES = 100  # for the clean pair where there is dry friction


@dataclass(frozen=True)
class Diagnosis:
    """Culprits, rows that differ with all of them removed, by how much at most, and a match."""

    findings: tuple[Finding, ...]
    unexplained: tuple[tuple[str, float], ...]
    clean: float
    match: Match | None


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
    names, bar = measure.rows(system), bars[0]
    # a System of another type than the plant builds is compared with the plant's own
    alike = system if type(system) is type(subject.system) else subject.system
    clean, found = subject.clean(alike), switches(alike, subject)
    left = _clean_gap(system, clean, seed)
    threshold = min(bar, max(_LEAST * bar, _NOISE * float(left.max())))
    probes = {name: draw(system, subject.settings, seed) for name, draw in PROBES.items()}
    named: list[tuple[Switch, np.ndarray]] = []
    for switch in found:
        progress(f"switching {switch.name}")
        beside = [other for other in found if other.name in switch.culprit.beside]
        gap = _alone(clean, beside, switch, probes[switch.culprit.probe])
        if gap.max(initial=0.0) > threshold:
            named.append((switch, gap))
    named.sort(key=lambda pair: -pair[1].max())
    on = [switch for switch, _ in named]
    totals: dict[str, float] = defaultdict(float)
    for switch, gap in named:
        totals[switch.culprit.probe] += float(gap.max())
    modelled = modelled_accelerations(system, *probes["moving"])
    findings = []
    for switch, gap in named:
        progress(f"all but {switch.name}")
        others = engaged(clean, [other for other in on if other is not switch])
        sentence, remedy = told(switch, alike, subject)
        order = [int(i) for i in np.argsort(-gap) if gap[i] > threshold]
        finding = Finding(
            name=switch.name,
            sentence=sentence,
            remedy=remedy,
            alone=float(gap.max()),
            without=float(_gap(modelled, others, probes["moving"]).max()),
            share=float(gap.max()) / totals[switch.culprit.probe],
            where=switch.culprit.probe,
            joints=tuple(names[i] for i in order),
        )
        findings.append(finding)
    stepping = Stepping([], subject.substeps, None, [])
    if left.max() <= bar:  # what a step costs cannot be told from another difference
        progress("engine steps")
        if alike is not system:
            reference = Reference.of(alike, clean.dt, reference.starts, reference.inputs)
        stepping = steps.examine(alike, clean, reference, bars[1])
    findings += stepping.findings
    unexplained = [*_above(names, left, bar, "{}")]
    beyond = _beyond(engaged(clean, found), subject, probes["moving"])
    unexplained += _above(names, beyond, bar, "{}, by something in the plant itself,")
    unexplained += [(f"{name} in rollouts", value) for name, value in stepping.unexplained]
    agreed = None
    if findings:
        progress("a match")
        agreed = match(alike, subject, on, stepping, reference, bars=bars, seed=seed)
    return Diagnosis(tuple(findings), tuple(unexplained), float(left.max()), agreed)


def _clean_gap(system: Mechanical, clean: Setup, seed: int) -> np.ndarray:
    """What is left between the System and the engine told to be it."""
    samples = PROBES["moving"](system, clean.settings, seed)
    if rubs(system):
        clean, samples = clean.stepping(SHORT, 1), sliding(system, _STATES, seed)
    return _gap(modelled_accelerations(system, *samples), clean, samples)


def _gap(modelled: np.ndarray, setup: Setup, samples: Samples) -> np.ndarray:
    """Largest relative gap of each row between modelled accelerations and a plant's."""
    with closing(setup.plant()) as plant:
        return measure.changes(modelled, measured_accelerations(plant, *samples))


def _alone(clean: Setup, beside: Sequence[Switch], switch: Switch, samples: Samples) -> np.ndarray:
    """What this culprit changes in each row, between two engines."""
    with closing(engaged(clean, beside).plant()) as off:
        before = measured_accelerations(off, *samples)
    with closing(engaged(clean, [*beside, switch]).plant()) as on:
        return measure.changes(before, measured_accelerations(on, *samples))


def _beyond(known: Setup, subject: Setup, samples: Samples) -> np.ndarray:
    """What the plant does that all switches together do not."""
    with closing(known.plant()) as a, closing(subject.plant()) as b:
        before = measured_accelerations(a, *samples)
        return measure.changes(before, measured_accelerations(b, *samples))


def _above(
    names: Sequence[str], gaps: np.ndarray, bar: float, words: str
) -> list[tuple[str, float]]:
    pairs = zip(names, gaps.tolist(), strict=True)
    return [(words.format(name), value) for name, value in pairs if value > bar]
