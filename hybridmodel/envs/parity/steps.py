"""What the engine's step costs: its first-order error, and explicit joint damping.

semi-implicit Euler errs by O(h);  a damped mode v̇ = −λ v becomes v⁺ = (1 − h λ) v,
λ = eig(M⁻¹D): beyond h λ = 1 it changes sign each step, beyond 2 it grows
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from contextlib import closing
from dataclasses import dataclass

import casadi as ca
import numpy as np

from hybridmodel.envs.parity import culprits, measure
from hybridmodel.envs.parity.constants import constants_of, with_constants
from hybridmodel.envs.parity.culprits import Culprit
from hybridmodel.envs.parity.measure import Reference
from hybridmodel.envs.parity.report import Finding
from hybridmodel.envs.parity.setup import Setup
from physics import Mechanical

_STIFF = 1.0  # h λ from which damping is a culprit of its own
_WORSE = 3.0  # how much more than without damping the rollouts then err
_MOST = 4096  # engine steps a control step that are tried
_TINY = 1e-9  # a damping or friction that must be positive, switched off


@dataclass(frozen=True)
class Stepping:
    """What was found, and under what rollouts hold.

    substeps   engine steps a control step
    smoothing  ε of the System's dry friction, None where its own will do
    """

    findings: list[Finding]
    substeps: int
    smoothing: float | None
    unexplained: list[tuple[str, float]]


def examine(system: Mechanical, clean: Setup, reference: Reference, bar: float) -> Stepping:
    """Rollouts of the clean plant: without dry friction what h costs, with it what ε costs."""
    names = measure.rows(system)

    def above(gaps: np.ndarray) -> list[tuple[str, float]]:
        return [(n, g) for n, g in zip(names, gaps.tolist(), strict=True) if g > bar]

    smooth = without(system, "friction")
    rubs = smooth is not system
    bare, own = clean, reference
    if rubs:
        bare = dataclasses.replace(clean, system=smooth)
        own = Reference.of(smooth, clean.dt, reference.starts, reference.inputs)
    substeps, findings = clean.substeps, []
    gap = _gap(bare, own)
    if gap.max() > bar:
        needed, left = _needed(bare, own, float(gap.max()), bar)
        if needed is None:
            return Stepping([], substeps, None, above(left))
        findings = _steps(smooth, bare, own, gap, left, needed, bar, names)
        substeps = needed
    if not rubs:
        return Stepping(findings, substeps, None, [])
    stuck = _gap(clean.stepping(clean.dt, substeps), reference)
    if stuck.max() <= bar:
        return Stepping(findings, substeps, None, [])
    epsilon = float(system.parameters["smoothing"]) if "smoothing" in system.parameters else 0.0
    for finer, more in itertools.product((1.0, 0.1, 0.01), (1, 4)):
        if finer == more == 1 or epsilon == 0:
            continue
        sharp = with_constants(system, {"smoothing": finer * epsilon})
        other = Reference.of(sharp, clean.dt, reference.starts, reference.inputs)
        left = _gap(clean.stepping(clean.dt, more * substeps), other)
        if left.max() > bar:
            continue
        words = {"smoothing": f"{epsilon:g}", "finer": f"{finer * epsilon:g}"}
        words |= {"own_h": f"{clean.h:.4g}", "h": f"{clean.dt / more / substeps:.4g}"}
        words["substeps"] = str(more * substeps)
        if finer < 1:
            findings.append(_finding(culprits.SMOOTHING, words, stuck, left, names, bar))
        elif not findings:
            findings.append(_finding(culprits.SUBSTEPS, words, stuck, left, names, bar))
        return Stepping(findings, more * substeps, finer * epsilon if finer < 1 else None, [])
    return Stepping(findings, substeps, None, above(stuck))


def _steps(
    system: Mechanical,
    clean: Setup,
    reference: Reference,
    gap: np.ndarray,
    left: np.ndarray,
    needed: int,
    bar: float,
    names: tuple[str, ...],
) -> list[Finding]:
    """Whether damping alone makes h too large, or motion itself, or both."""
    free = without(system, "damping")
    stiffness, undamped = 0.0, gap
    if free is not system:
        stiffness = clean.h * _fastest(system, reference.starts)
        if stiffness > _STIFF:
            other = Reference.of(free, clean.dt, reference.starts, reference.inputs)
            undamped = _gap(dataclasses.replace(clean, system=free), other)
    words = {
        "stiffness": f"{stiffness:.2g}",
        "own_h": f"{clean.h:.4g}",
        "h": f"{clean.dt / needed:.4g}",
        "substeps": str(needed),
    }
    findings = []
    if stiffness > _STIFF and gap.max() > _WORSE * undamped.max():
        findings.append(_finding(culprits.EXPLICIT_DAMPING, words, gap, left, names, bar))
    if not findings or undamped.max() > bar:
        findings.append(_finding(culprits.SUBSTEPS, words, undamped, left, names, bar))
    return findings


def _finding(
    culprit: Culprit,
    words: dict[str, str],
    gap: np.ndarray,
    left: np.ndarray,
    names: tuple[str, ...],
    bar: float,
) -> Finding:
    return Finding(
        name=culprit.name,
        sentence=culprit.sentence.format_map(words),
        remedy=culprit.remedy.format_map(words),
        alone=float(gap.max()),
        without=float(left.max()),
        share=1.0,
        where="rollouts",
        joints=tuple(names[i] for i in np.argsort(-gap) if gap[i] > bar),
    )


def without(system: Mechanical, ending: str) -> Mechanical:
    """A copy whose constants of this ending are 0, or next to it where they must be positive."""
    some = {name: 0.0 for name, v in constants_of(system).items() if name.endswith(ending) and v}
    if not some:
        return system
    try:
        return with_constants(system, some)
    except ValueError:
        return with_constants(system, dict.fromkeys(some, _TINY))


def _gap(setup: Setup, reference: Reference) -> np.ndarray:
    with closing(setup.plant()) as plant:
        return reference.against(plant)


def _needed(
    clean: Setup, reference: Reference, gap: float, bar: float
) -> tuple[int | None, np.ndarray]:
    """Engine steps a control step that bring the gap under the bar, and the gap then."""
    n, gaps = clean.substeps, np.array([gap])
    while True:
        grown = 1.1 * n * gap / bar if math.isfinite(gap) else math.inf
        n = min(_round(max(2 * n, grown if grown < 64 * n else 4 * n)), _MOST)
        gaps = _gap(clean.stepping(clean.dt, n), reference)
        gap = float(gaps.max())
        if gap <= bar:
            return n, gaps
        if n >= _MOST:
            return None, gaps


def _round(n: float) -> int:
    """Two digits, upwards."""
    unit = 10 ** max(0, math.floor(math.log10(n)) - 1)
    return math.ceil(n / unit) * unit


def _fastest(system: Mechanical, states: np.ndarray) -> float:
    """Largest −Re eig(∂v̇/∂v) at rest at these states [1/s], where only damping acts on v."""
    x, u = ca.SX.sym("x", system.nx), ca.SX.sym("u", system.nu)
    rate = system.dynamics(x, u, system.namespace(), ca.SX(0, 1))
    rows = list(system.velocity_rows)
    jacobian = ca.Function("J", [x, u], [ca.densify(ca.jacobian(rate[rows], x[rows]))])
    found = 0.0
    for state in states:
        still = state.copy()
        still[rows] = 0.0
        J = np.asarray(jacobian(still, 0))
        if np.isfinite(J).all():
            found = max(found, float(np.max(-np.linalg.eigvals(J).real)))
    return found
