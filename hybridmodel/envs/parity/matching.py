"""Settings, steps and constants under which a plant and a System agree, measured again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing

from hybridmodel.envs.bullet.settings import BulletSettings
from hybridmodel.envs.hidden import HiddenEffects
from hybridmodel.envs.parity import culprits, measure
from hybridmodel.envs.parity.advice import for_plant, for_system
from hybridmodel.envs.parity.constants import constants_of, with_constants
from hybridmodel.envs.parity.gaps import (
    measured_accelerations,
    modelled_accelerations,
    random_states,
)
from hybridmodel.envs.parity.measure import Reference
from hybridmodel.envs.parity.probes import SHORT, rubs, sliding
from hybridmodel.envs.parity.report import Match
from hybridmodel.envs.parity.setup import Setup
from hybridmodel.envs.parity.steps import Stepping
from hybridmodel.envs.parity.switches import Switch
from physics import Mechanical

_STATES = 300


def match(
    system: Mechanical,
    subject: Setup,
    named: Sequence[Switch],
    stepping: Stepping,
    reference: Reference,
    *,
    given: Mechanical,
    bars: tuple[float, float],
    seed: int,
) -> Match:
    """The plant with its culprits' settings clean, the System with the plant's constants.

    `system` is of the plant's type; changes are told as of the `given` one.
    """
    setup, adjusted = _agreed(system, subject, named)
    setup = setup.stepping(setup.dt, stepping.substeps)
    if stepping.smoothing is not None:
        adjusted = with_constants(adjusted, {"smoothing": stepping.smoothing})
    changes = (*for_plant(subject, setup), *for_system(given, adjusted))
    samples, asked = random_states(adjusted, _STATES, seed=seed), setup
    if rubs(adjusted) or rubs(setup.system):
        samples, asked = sliding(adjusted, _STATES, seed), setup.stepping(SHORT, 1)
    modelled = modelled_accelerations(adjusted, *samples)
    with closing(asked.plant()) as plant:
        gap = measure.changes(modelled, measured_accelerations(plant, *samples))
    again = Reference.of(adjusted, setup.dt, reference.starts, reference.inputs)
    with closing(setup.plant()) as plant:
        rolled = again.against(plant)
    return Match(
        settings=setup.settings,
        substeps=setup.substeps,
        system=adjusted,
        changes=changes,
        accelerations=float(gap.max()),
        rollouts=float(rolled.max()),
        holds=bool(gap.max() <= bars[0] and rolled.max() <= bars[1]),
    )


def _agreed(
    system: Mechanical, subject: Setup, named: Sequence[Switch]
) -> tuple[Setup, Mechanical]:
    """What an engine does of its own is switched off; constants are taken over from the plant."""
    clean = BulletSettings()
    fields = {name: getattr(clean, name) for switch in named for name in switch.settings}
    kinds = [switch.culprit for switch in named]
    if fields.get("dry_friction") == "system":  # which the engine's motors are used for
        fields["motors"] = False
    if culprits.INVENTED in kinds:
        fields["inertia"] = "system"
    theirs, taken, kept = constants_of(subject.system), {}, {}
    for switch in named:
        if switch.culprit is culprits.INVENTED:
            continue
        if switch.settings and switch.culprit is not culprits.ZEROED:
            kept |= switch.ours
        else:
            taken |= {name: theirs[name] for name in switch.theirs}
    if "gravity" in fields:
        fields["gravity"] = None
        kept["gravity"] = constants_of(system)["gravity"]
    hidden = HiddenEffects() if culprits.HIDDEN in kinds else subject.hidden
    setup = dataclasses.replace(subject, hidden=hidden).changed(
        constants={k: v for k, v in kept.items() if k in theirs}, **fields
    )
    return setup, with_constants(system, taken)
