"""The one recipe from measured logs to a hybrid, the same for every set.

1. Identification (`identification`): the declared parameters by output error over the protocol's
   horizon, best of the set's starts on all fitting logs: all go some steps, the two best to the
   end. Initial states that no log holds are declared parameters, fitted with the rest here and in
   all that follows. Where the logs lack states, those are taken from the model so identified and
   its parameters are identified again, twice.
2. Candidates: each form of the residual is fitted together with the parameters to all parts of
   the logs but one, under weaker and weaker priors while the left-out part gains by it
   (`cross_validation`). A single record run from its beginning is judged onward in time: fitted
   up to a time, the first half at least, and left out from there to the next one. The forms are
   polynomials of chosen terms (`term_selection`) and perceptrons.
3. Choice: the form and prior of least left-out error (geometric mean) of those that are, by more
   than one standard error over the parts, `GAIN` below the parameters alone; else none.
4. The hybrid: the residual is the mean over the fits of the parts, or of a single record over as
   many fits to all of it, which shrinks what does not repeat; it fades to zero where there were no
   data (`correction`), and the parameters are identified again with it held.
5. The final guard: the residual is dropped unless it mends the fitting logs too, their mean
   square error by `GAIN` (the choice asks for that of the root).

Held-out logs are seen by `MeasuredSet.score` alone, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.hardware.correction import cover, cover_runs, scales, with_residual
from benchmarks.hardware.cross_validation import SAMPLES, divided, folds, prepared, typical
from benchmarks.hardware.families import Form, Perceptron, Scales
from benchmarks.hardware.free_runs import FreeRuns, Runs, solve
from benchmarks.hardware.identification import (
    PARAMETER_PRIOR,
    Held,
    Tell,
    again,
    bare,
    bare_model,
    identified,
    left_by,
    reidentified,
    silent,
    transfer,
)
from benchmarks.hardware.measured import MeasuredSet
from benchmarks.hardware.term_selection import RIDGE, selected
from hybridmodel import Dataset, HybridModel
from hybridmodel.features import default_features
from residuals import Supported

__all__ = [
    "CANDIDATES",
    "Candidate",
    "Fitted",
    "bare",
    "bare_model",
    "fit",
    "identified",
    "transfer",
]

GAIN = 0.02
SAMPLES_EACH = 5  # logged samples that a weight of a perceptron needs
WIDTHS = (4, 24)  # of a perceptron
STEPS = 4  # for each prior


@dataclass(frozen=True)
class Candidate:
    """A form of the residual for so many samples, None where they are too few for any.

    Priors on its weights are relative to the identified error.
    """

    name: str
    form: Callable[[Scales, int], Form | None]
    priors: tuple[float, ...]


def perceptron(known: Scales, samples: int) -> Perceptron | None:
    """As wide as `SAMPLES_EACH` allows, within `WIDTHS`."""
    nz, nr = len(known.mean), len(known.output)
    hidden = (samples // SAMPLES_EACH - nr) // (nz + 1 + nr)
    return Perceptron(known, min(hidden, WIDTHS[1]), 4.0) if hidden >= WIDTHS[0] else None


CANDIDATES = (Candidate("perceptron", perceptron, (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)),)


@dataclass(frozen=True)
class Fitted:
    """What the recipe gives: both models, the candidate's name, and left-out errors by name."""

    identified: HybridModel
    hybrid: HybridModel
    chosen: str
    left_out: dict[str, float]
    seconds: float


def views(measured: MeasuredSet) -> tuple[tuple[str, ...], ...]:
    """What the residual may see: of a mechanical system with and without its coordinates."""
    if measured.features is not None:
        return (measured.features,)
    system = measured.system
    moving = {s.rate_of for s in system.states}
    states = [s.name for s in system.states if (s.quaternion or s.name) not in moving]
    own = (*states, *(s.name for s in (*system.memory, *system.inputs, *system.exogenous)))
    every = (*default_features(system), *(s.name for s in system.memory))
    return (own,) if len(own) == len(every) else (own, every)


def fit(
    measured: MeasuredSet, *, seed: int = 0, quick: bool = False, tell: Tell = silent
) -> Fitted:
    """Identify, compare the candidates by left-out error, and bag the best."""
    begun = time.perf_counter()
    physics = identified(measured, seed=seed, tell=tell)
    measured = again(measured, physics)
    logs, found, log = prepared(measured, physics, SAMPLES // 4 if quick else SAMPLES)
    parts, onward = divided(logs, found, log), len(logs) == 1
    left = folds(parts, onward=onward)
    scale = left_by(physics, found)
    alone = FreeRuns(physics, scale, None)
    count, error = alone.count, alone.error(found, np.zeros(alone.count))
    flat = np.full(count, PARAMETER_PRIOR)
    baseline = [
        solve(alone, found.weighed(seen), np.zeros(count), flat, iterations=6) for seen, _ in left
    ]
    missed = [
        alone.error(found.weighed(part), one.t)
        for (_, part), one in zip(left, baseline, strict=True)
    ]
    left_out = {"none": typical(missed)}
    tell(f"  identified {error:.5g}, left out {left_out['none']:.5g} {np.round(missed, 4)}")
    bags: dict[str, Bag] = {}
    fewest = min(seen.mean() for seen, _ in left)
    samples = int(fewest * sum(piece.steps for piece in logs))
    parted: dict[str, list[float]] = {}
    for features in views(measured):
        probe = with_residual(measured, physics.system, Supported(Perceptron.blank()), features)
        known = scales(probe, logs, found, scale)
        tell(f"  features {features}, signed {known.signed}, r {known.output}")
        few = selected(probe, scale, found, log, parts, known, tell, onward=onward)
        chosen = [Candidate("chosen terms", lambda *_, form=few: form, (RIDGE,))] if few else []
        for candidate in (*chosen, *CANDIDATES):
            form = candidate.form(known, samples)
            if form is None:
                continue
            problem = FreeRuns(probe, scale, form)
            first = [
                np.concatenate([one.t, form.start(seed * len(left) + k)])
                for k, one in enumerate(baseline)
            ]
            last, before = first, np.inf
            for i, strength in enumerate(candidate.priors):
                name = f"{candidate.name} of {len(features)} signals, prior {strength:g}"
                prior = np.concatenate([flat, np.full(len(first[0]) - count, strength * error)])
                last = [
                    solve(problem, found.weighed(seen), t, prior, centre=c, iterations=STEPS).t
                    for (seen, _), t, c in zip(left, last, first, strict=True)
                ]
                each = [
                    problem.error(found.weighed(part), t)
                    for (_, part), t in zip(left, last, strict=True)
                ]
                parted[name], left_out[name] = each, typical(each)
                bags[name] = Bag(probe, form, candidate.priors[: i + 1], last)
                tell(f"  {name}: {left_out[name]:.5g} {np.round(each, 4)}")
                if left_out[name] > min(before, left_out["none"]):
                    break  # a weaker prior would fit still more of what does not repeat
                before = left_out[name]
            tell(f"  {time.perf_counter() - begun:.0f} s")
    sure = {name for name, each in parted.items() if _repeats(each, missed)}
    hybrid, chosen = physics, min(sure, key=left_out.__getitem__, default="none")
    if chosen != "none":
        bag = bags[chosen]
        if onward:  # the parts saw less than all, and the first of them half
            bag = replace(bag, found=bag.on(found, scale, error, seed * len(left)))
        hybrid = bagged(measured, bag, logs, found, scale)
        told = FreeRuns(hybrid, scale, Held(hybrid)).error(found, np.zeros(count))
        tell(f"  {chosen}: {told:.5g} of {error:.5g} identified, on the logs fitted to")
        if told > (1 - GAIN) * error:
            hybrid, chosen = physics, "none"
    return Fitted(physics, hybrid, chosen, left_out, time.perf_counter() - begun)


@dataclass(frozen=True)
class Bag:
    """A form in its place, the priors that it was fitted under in turn, and what was found."""

    probe: HybridModel
    form: Form
    priors: tuple[float, ...]
    found: list[np.ndarray]

    def on(self, data: Runs, scale: np.ndarray, error: float, seed: int) -> list[np.ndarray]:
        """The same on all data, from as many starts."""
        problem, several = FreeRuns(self.probe, scale, self.form), list[np.ndarray]()
        flat = np.full(problem.count, PARAMETER_PRIOR)
        for k in range(len(self.found)):
            first = np.concatenate([np.zeros(problem.count), self.form.start(seed + k)])
            t = first
            for strength in self.priors:
                weak = np.full(len(first) - problem.count, strength * error)
                prior = np.concatenate([flat, weak])
                t = solve(problem, data, t, prior, centre=first, iterations=STEPS).t
            several.append(t)
        return several


def bagged(
    measured: MeasuredSet, bag: Bag, logs: Dataset, found: Runs, scale: np.ndarray
) -> HybridModel:
    """The mean residual with the parameters again, which fades where no data were."""
    count = len(measured.fit_parameters)
    residual = Supported(bag.form.residual([t[count:] for t in bag.found]))
    features = bag.probe.features
    model = with_residual(measured, bag.probe.system, residual, features)
    theta = np.mean(bag.found, 0)[:count]
    if not measured.whole:
        cover(model, logs)
        return reidentified(measured, model, found, scale, theta)
    model = reidentified(measured, model, found, scale, theta)
    cover_runs(model, found)
    return model


def _repeats(each: Sequence[float], alone: Sequence[float]) -> bool:
    """Whether the error falls by more than `GAIN`, and by more than the parts differ in that."""
    fall = np.log(np.maximum(each, 1e-12)) - np.log(np.maximum(alone, 1e-12))
    return bool(fall.mean() + fall.std(ddof=1) / np.sqrt(len(fall)) < 2 * np.log(1 - GAIN))
