"""Plants of other engines: the System's constants are switched to the plant's, one by one."""

from __future__ import annotations

import dataclasses
from contextlib import closing, nullcontext

import numpy as np

from hybridmodel.envs.environment import Environment
from hybridmodel.envs.hidden import HiddenEffects
from hybridmodel.envs.ode import OdePlant
from hybridmodel.envs.parity import culprits, measure
from hybridmodel.envs.parity.advice import for_system
from hybridmodel.envs.parity.constants import Constants, constants_of, with_constants
from hybridmodel.envs.parity.diagnosis import LEAST, Diagnosis, above
from hybridmodel.envs.parity.gaps import measured_accelerations, modelled_accelerations
from hybridmodel.envs.parity.measure import Reference
from hybridmodel.envs.parity.probes import Samples
from hybridmodel.envs.parity.remedies import constant_told, hidden_told
from hybridmodel.envs.parity.report import Finding, Match
from hybridmodel.envs.parity.switches import differ
from physics import Mechanical


def explain(
    system: Mechanical,
    environment: Environment,
    reference: Reference,
    samples: Samples,
    measured: np.ndarray,
    *,
    bars: tuple[float, float],
) -> Diagnosis:
    """Constants that differ and hidden effects, as far as they do anything; the rest is unknown."""
    names = measure.rows(system)
    twin = _unhidden(environment)
    with nullcontext(environment) if twin is None else closing(twin) as plain:
        bare = measured if twin is None else measured_accelerations(plain, *samples)
        modelled = modelled_accelerations(system, *samples)
        found: list[tuple[Finding, Constants]] = []
        theirs = _differing(system, environment)
        for name, value in theirs.items():
            one = {name: value}
            switched = modelled_accelerations(with_constants(system, one), *samples)
            gap = measure.changes(modelled, switched)
            if gap.max() > LEAST * bars[0]:
                sentence, remedy = constant_told(name, value, constants_of(system)[name])
                left = measure.changes(switched, measured)
                rows = tuple(names[i] for i in np.argsort(-gap) if gap[i] > LEAST * bars[0])
                finding = Finding(
                    name=name,
                    sentence=sentence,
                    remedy=remedy,
                    alone=float(gap.max()),
                    without=float(left.max()),
                    share=1.0,
                    where="moving",
                    joints=rows,
                )
                found.append((finding, one))
        taken = {k: v for _, one in found for k, v in one.items()}
        adjusted = with_constants(system, taken)
        left = measure.changes(modelled_accelerations(adjusted, *samples), bare)
        if left.max() > measure.changes(modelled, bare).max():  # they explain nothing
            found, adjusted, left = [], system, measure.changes(modelled, bare)
        total = sum(f.alone for f, _ in found)
        findings = [dataclasses.replace(f, share=f.alone / total) for f, _ in found]
        findings.sort(key=lambda f: -f.alone)
        again = reference
        if adjusted is not system:
            again = Reference.of(adjusted, environment.dt, reference.starts, reference.inputs)
        rolled = again.rolled(plain)
        if twin is not None:
            rest = float(measure.changes(modelled, bare).max())
            findings += _hidden(environment, measured, bare, again, rolled, names, bars, rest)
        apart = again.gap(rolled)
    unexplained = above(names, left, bars[0], "{}") + above(names, apart, bars[1], "{} in rollouts")
    agreed = None
    if findings:
        hidden = () if twin is None else ("hidden=HiddenEffects()",)
        agreed = Match(
            settings=None,
            substeps=environment.substeps,
            system=adjusted,
            changes=(*hidden, *for_system(system, adjusted)),
            accelerations=float(left.max()),
            rollouts=float(apart.max()),
            holds=not unexplained,
        )
    return Diagnosis(tuple(findings), tuple(unexplained), float(left.max()), agreed)


def _unhidden(environment: Environment) -> Environment | None:
    """The same plant without hidden effects; None where it has none, or is of unknown making."""
    if environment.hidden == HiddenEffects():
        return None
    steps = {"dt": environment.dt, "substeps": environment.substeps}
    if type(environment) is OdePlant:
        smoothing = float(environment.truth.smoothing)
        return OdePlant(
            environment.system, integrator=environment._integrator, smoothing=smoothing, **steps
        )
    settings = getattr(environment, "engine_settings", None)
    if settings is None:
        return None
    return type(environment)(environment.system, settings=settings, **steps)  # type: ignore[call-arg]


def _differing(system: Mechanical, environment: Environment) -> Constants:
    """Constants of the plant's System that are other than the System's."""
    ours = constants_of(system)
    theirs = constants_of(environment.system)
    return {k: v for k, v in theirs.items() if k in ours and differ(v, ours[k])}


def _hidden(
    environment: Environment,
    measured: np.ndarray,
    bare: np.ndarray,
    reference: Reference,
    rolled: np.ndarray,
    names: tuple[str, ...],
    bars: tuple[float, float],
    left: float,
) -> list[Finding]:
    """Whether the plant does something else without them; `left` is what then differs."""
    gap, where, bar = measure.changes(bare, measured), "moving", bars[0]
    if gap.max() <= LEAST * bar:
        gap, where, bar = (
            reference.between(rolled, reference.rolled(environment)),
            "rollouts",
            bars[1],
        )
    if gap.max() <= LEAST * bar:
        return []
    culprit = culprits.HIDDEN
    sentence = culprit.sentence.format_map({"hidden": hidden_told(environment.hidden)})
    finding = Finding(
        name=culprit.name,
        sentence=sentence,
        remedy=culprit.remedy,
        alone=float(gap.max()),
        without=left,
        share=1.0,
        where=where,
        joints=tuple(names[i] for i in np.argsort(-gap) if gap[i] > LEAST * bar),
    )
    return [finding]
