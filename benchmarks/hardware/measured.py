"""What a measured set hands to the one recipe: model, logs, protocol and bars.

A module of this package reads its logs from a folder that the caller names, never from the
project, and gives them as one `MeasuredSet`. Everything after that is the same for all sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hybridmodel import Dataset, HybridModel
from hybridmodel.placement import Placement
from physics import System


@dataclass(frozen=True, kw_only=True)
class MeasuredSet:
    """One machine's logs under its own protocol.

    name            of the set
    system          the nominal analytic model, with published or textbook values
    fit_parameters  those that its logs can identify
    train           logs for fitting: y measured, u commanded, x where the state is estimated
    validation      logs, or blocks of one, for early stopping; none of them is in `train`
    horizon         steps over which the protocol scores, and over which the recipe fits
    substeps        of the integrator in one step
    starts          of the identification that sets the bar
    score           the protocol's figures of a model on held-out data, each name with its unit
    published       the system with the parameters of its makers, where they gave any
    corrected       the balance that is uncertain; default: the forces of a mechanical system, of
                    another the derivatives of all states
    features        signals that what is missing may depend on; default: see `recipe`
    whole           runs begin at the first sample of a log alone, since the states in between are
                    not known; validation is then the end of the one training log, run on
    initial         declared parameters that are x at the first sample, one a state, where no log
                    holds it; they are fitted with all others
    seen_by         the set again with the hidden states that this model sees in its logs
    bare            the analytic model without what `system` adds to it, hidden states or physics:
                    the parameters that it has are declared of it too
    bars            by name of a figure, what it is measured by ("published", "identified", "bare"
                    for the identified `bare`, or "<set> identified") and the largest share of that
    """

    name: str
    system: System
    fit_parameters: tuple[str, ...]
    train: Dataset
    validation: Dataset
    horizon: int
    substeps: int
    starts: int
    score: Callable[[HybridModel], Mapping[str, float]]
    published: System | None = None
    corrected: Placement | None = None
    features: tuple[str, ...] | None = None
    whole: bool = False
    initial: tuple[str, ...] = ()
    seen_by: Callable[[HybridModel, MeasuredSet], MeasuredSet] | None = None
    bare: System | None = None
    bars: Mapping[str, tuple[tuple[str, float], ...]] = field(default_factory=dict)
