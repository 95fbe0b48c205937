"""The one recipe from measured logs to a hybrid, the same for every set.

1. Identification: the declared parameters by output error over the protocol's horizon, best of
   the set's starts on all fitting logs: all go some steps, the two best to the end.
2. Candidates: each form of the residual is fitted together with the parameters to all parts but
   one, under weaker and weaker priors while the left-out part gains by it; a part is a log, some
   logs, a block where there are few, or a value of a context that differs (gain, payload). One
   record run from its beginning is fitted up to a time and left out from there to a next one.
3. The form and prior of least left-out error (geometric mean) are taken of those that are, by
   more than one standard error over the parts, `GAIN` below the parameters alone; else none.
4. The residual is the mean over the parts (of one record over as many fits to all of it), which
   shrinks what does not repeat, and fades to zero where there were no data; the parameters are
   identified again with it held. It is dropped where it does not mend the fitting logs either.

Held-out logs are seen by `MeasuredSet.score` alone, at the end.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.hardware.families import Form, Perceptron, Polynomial, Scales
from benchmarks.hardware.free_runs import Found, FreeRuns, Runs, runs, settled, solve
from benchmarks.hardware.measured import MeasuredSet
from hybridmodel import Dataset, HybridModel, Trajectory, placement
from hybridmodel.batches import batch
from hybridmodel.features import default_features
from hybridmodel.placement import Placement
from physics import System
from residuals import Residual, Supported

FOLDS = 4
GAIN = 0.02
RIDGE, TERM_GAIN, MOST_TERMS = 0.01, 0.01, 12  # of the selection of terms
SAMPLES_EACH = 5  # logged samples that a weight of a perceptron needs
WIDTHS = (4, 24)  # of a perceptron
STEPS = 4  # for each prior
SAMPLES = 14_000  # samples that free runs are fitted to
PARAMETER_PRIOR, SPREAD = 1e-6, 0.3  # on ϑ; deviation of random starts
Tell = Callable[[str], None]


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


def _silent(_: str) -> None:
    pass


def bare_model(measured: MeasuredSet, system: System) -> HybridModel:
    """The physics alone."""
    return HybridModel(
        system,
        dt=measured.train.dt,
        substeps=measured.substeps,
        fit_parameters=measured.fit_parameters,
    )


def with_residual(
    measured: MeasuredSet, system: System, residual: Residual, features: tuple[str, ...]
) -> HybridModel:
    """The physics with a residual where the set is uncertain."""
    return HybridModel(
        system,
        residual,
        dt=measured.train.dt,
        substeps=measured.substeps,
        fit_parameters=measured.fit_parameters,
        placement=corrected(measured),
        features=features,
        hold=True,
    )


def corrected(measured: MeasuredSet) -> Placement:
    """Where the residual acts."""
    if measured.corrected is not None:
        return measured.corrected
    return placement.force if measured.system.takes_force else placement.derivative


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


def pieces(measured: MeasuredSet) -> Dataset:
    """The fitting logs; fewer than three are cut into `FOLDS` blocks."""
    logs = (*measured.train, *measured.validation)
    if measured.whole and len(measured.train) == 1:
        return measured.train
    if measured.whole or len(logs) >= 3:
        return Dataset(logs)
    total = sum(log.steps for log in logs)
    cut: list[Trajectory] = []
    for log in logs:
        parts = max(1, round(FOLDS * log.steps / total))
        edges = np.linspace(0, log.steps, parts + 1).round().astype(int)
        cut += [log[a:b] for a, b in itertools.pairwise(edges)]
    return Dataset(cut)


def divided(logs: Dataset, found: Runs, log: np.ndarray) -> list[np.ndarray]:
    """Weights (N, H) of disjoint parts: by a context that differs, by log, or by block.

    Of one record run from its beginning the first part is its first half.
    """
    shape = found.weight.shape
    if len(logs) == 1:
        block = np.maximum(np.arange(shape[1]) * 2 * FOLDS // shape[1] - FOLDS + 1, 0)
        return [np.broadcast_to(block == k, shape).astype(float) for k in range(FOLDS + 1)]
    label = np.arange(len(logs)) % (len(logs) if len(logs) <= 2 * FOLDS else FOLDS)
    for name in logs[0].context:
        values = sorted({one.context[name] for one in logs})
        if 1 < len(values) < len(logs):
            label = np.array([values.index(one.context[name]) for one in logs])
            break
    return [
        np.broadcast_to((label[log] == k)[:, None], shape).astype(float)
        for k in range(label.max() + 1)
    ]


def folds(parts: Sequence[np.ndarray], *, onward: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (N, H) of what is fitted and of what is left out; onward, all parts before it.

    A free run goes on from where its record ends, and what it meets once in a record (a vessel
    that spills) would be left out of the fit for good if a part in the middle were.
    """
    if onward:
        return [(np.sum(parts[:k], 0), parts[k]) for k in range(1, len(parts))]
    return [(1 - part, part) for part in parts]


def prepared(
    measured: MeasuredSet, model: HybridModel, samples: int = SAMPLES
) -> tuple[Dataset, Runs, np.ndarray]:
    """Logs, windows of the protocol's horizon, and the log that each is from."""
    logs = pieces(measured)
    past = model.memory_steps
    horizon = min(measured.horizon, min(log.steps for log in logs) - past)
    if measured.whole:
        horizon = min(log.steps for log in logs) - past
    usable = sum(log.steps - past - horizon + 1 for log in logs)
    stride = max(1, round(usable * horizon / samples))
    if measured.whole:
        stride = max(log.steps for log in logs)
    return logs, *runs(model, logs, horizon, stride, measured.initial)


def scale_of(found: Runs) -> np.ndarray:
    """s (ny,), root mean square of how far outputs move over a window."""
    moved = found.y[:, -1] - found.y[:, 0]
    if len(moved) < 8:
        moved = (found.y - found.y.mean((0, 1))).reshape(-1, found.y.shape[2])
    size = np.sqrt(np.mean(moved**2, 0))
    return np.where(size > 1e-9, size, 1.0)


def left_by(identified: HybridModel, found: Runs) -> np.ndarray:
    """s (ny,), deviation of what the physics leaves, by its mean size: likelihood's weights."""
    moved = scale_of(found)
    e = FreeRuns(identified, moved, None).errors(found, np.zeros(len(identified.fit_parameters)))
    return moved * (1.25 * np.mean(np.abs(e), (0, 1)) + 1e-6)


def identify(measured: MeasuredSet, *, seed: int = 0, tell: Tell = _silent) -> HybridModel:
    """The declared parameters alone, best of the set's starts on all fitting logs."""
    model = bare_model(measured, measured.system)
    _, found, _ = prepared(measured, model)
    problem = FreeRuns(model, scale_of(found), None)
    g = np.random.default_rng(seed)
    count = len(measured.fit_parameters)
    prior, centre = np.full(count, PARAMETER_PRIOR), np.zeros(count)
    several: list[Found] = []
    for start in range(measured.starts):
        t = SPREAD * g.standard_normal(count) if start else centre
        several.append(solve(problem, found, t, prior, centre=centre, iterations=8))
    several.sort(key=lambda one: one.train)
    last = [
        solve(problem, found, one.t, prior, centre=centre, iterations=20) for one in several[:2]
    ]
    best = min(last, key=lambda one: one.train)
    tell(f"  starts {[round(one.train**0.5, 5) for one in several]}, best {best.train**0.5:.5f}")
    return bare_model(measured, settled(model, problem, best.t))


def again(measured: MeasuredSet, model: HybridModel) -> MeasuredSet:
    """The same set with the states that this model sees, where a set has hidden ones."""
    return measured.seen_by(model, measured) if measured.seen_by else measured


def scales(probe: HybridModel, logs: Dataset, found: Runs, scale: np.ndarray) -> Scales:
    """Of the features over the logs; of r so that it could, held constant, explain the error."""
    z = _features(probe, logs).numpy()
    spread = z.std(0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    low, high = np.quantile(z, 0.1, 0), np.quantile(z, 0.9, 0)
    signed = np.flatnonzero((low < -0.1 * spread) & (high > 0.1 * spread))
    nr = len(probe.placement.signals(probe.system))
    unit = Scales(z.mean(0), spread, np.ones(nr), tuple(signed.tolist()))
    form = Perceptron(unit, 1, 1.0)
    problem = FreeRuns(probe, scale, form)
    error, _, A = problem.normal(found, np.concatenate([np.zeros(problem.count), form.start(0)]))
    output = np.sqrt(error / np.maximum(np.diag(A)[-nr:], 1e-12))
    return Scales(unit.mean, spread, output, unit.signed)


def identified(measured: MeasuredSet, *, seed: int = 0, tell: Tell = _silent) -> HybridModel:
    """The bar: `identify`, and where states are hidden twice more with those that it sees."""
    model = identify(measured, seed=seed, tell=tell)
    for _ in range(2 if measured.seen_by else 0):
        warm = replace(again(measured, model), system=model.system, starts=1)
        model = identify(warm, seed=seed, tell=tell)
    return model


def bare(measured: MeasuredSet, *, seed: int = 0, tell: Tell = _silent) -> HybridModel:
    """The set's `bare` model identified; where states are seen otherwise, on outputs alone.

    Raises ValueError where the set has none.
    """
    if measured.bare is None:
        raise ValueError(f"measured: {measured.name} has no bare model")

    def measured_only(logs: Dataset) -> Dataset:
        return Dataset(Trajectory(t=one.t, u=one.u, y=one.y, d=one.d) for one in logs)

    without = replace(
        measured,
        system=measured.bare,
        fit_parameters=tuple(n for n in measured.fit_parameters if hasattr(measured.bare, n)),
    )
    if measured.seen_by:
        train, validation = measured_only(measured.train), measured_only(measured.validation)
        without = replace(without, train=train, validation=validation)
    return identify(without, seed=seed, tell=tell)


def transfer(measured: MeasuredSet, hybrid: HybridModel, own: HybridModel) -> HybridModel:
    """The residual of another machine on this one: the parameters again, from its identified."""
    model, seen = hybrid.rebuilt(own.system), own
    for _ in range(3 if measured.seen_by else 1):
        measured = again(measured, seen)
        _, found, _ = prepared(measured, own)
        theta = np.zeros(len(measured.fit_parameters))
        model = seen = reidentified(measured, model, found, left_by(own, found), theta)
    return model


def fit(
    measured: MeasuredSet, *, seed: int = 0, quick: bool = False, tell: Tell = _silent
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
    left_out = {"none": _typical(missed)}
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
                parted[name], left_out[name] = each, _typical(each)
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
        told = FreeRuns(hybrid, scale, _Held(hybrid)).error(found, np.zeros(count))
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
        _cover(model, logs)
        return reidentified(measured, model, found, scale, theta)
    model = reidentified(measured, model, found, scale, theta)
    _cover_runs(model, found)
    return model


def _repeats(each: Sequence[float], alone: Sequence[float]) -> bool:
    """Whether the error falls by more than `GAIN`, and by more than the parts differ in that."""
    fall = np.log(np.maximum(each, 1e-12)) - np.log(np.maximum(alone, 1e-12))
    return bool(fall.mean() + fall.std(ddof=1) / np.sqrt(len(fall)) < 2 * np.log(1 - GAIN))


def _typical(errors: Sequence[float] | np.ndarray) -> float:
    """Geometric mean: a part that all miss must not outvote the others."""
    return float(np.exp(np.mean(np.log(np.maximum(errors, 1e-12)))))


def selected(
    probe: HybridModel,
    scale: np.ndarray,
    found: Runs,
    log: np.ndarray,
    parts: Sequence[np.ndarray],
    known: Scales,
    tell: Tell,
    *,
    onward: bool,
) -> Polynomial | None:
    """Terms of the signed polynomial, one after the other, while the left-out error falls.

        E_k(δ) = e_k + 2 gₖᵀδ + δᵀA_k δ,   δ = argmin Σ_{j≠k} E_j(δ) + λ ‖δ‖²

    linearised about the identified parameters, which move with every choice; each log is left out
    in turn where there are enough, else each part.
    """
    form = Polynomial(known)
    problem = FreeRuns(probe, scale, form)
    count, t = problem.count, np.zeros(problem.count + len(form.start(0)))
    t[problem.count :] = form.start(0)
    several = log.max() + 1
    if FOLDS < several <= 4 * FOLDS:
        shape = found.weight.shape
        parts = [np.broadcast_to((log == k)[:, None], shape).astype(float) for k in range(several)]
    pieces = [problem.normal(found.weighed(part), t) for part in parts]
    share = np.array([part.sum() for part in parts]) / sum(part.sum() for part in parts)
    A = np.array([piece[2] for piece in pieces]) * share[:, None, None]
    g = np.array([piece[1] for piece in pieces]) * share[:, None]
    e = np.array([piece[0] for piece in pieces]) * share
    rest_A, rest_g = A.sum(0) - A, g.sum(0) - g
    tried = range(len(parts))
    if onward:
        rest_A, rest_g = A.cumsum(0) - A, g.cumsum(0) - g
        tried = tried[1:]

    def left_out(index: list[int]) -> float:
        at = np.ix_(index, index)
        ridge = np.diag([PARAMETER_PRIOR if i < count else RIDGE * e.sum() for i in index])
        missed: list[float] = []
        for k in tried:
            delta = -np.linalg.solve(
                rest_A[k][at] + ridge + 1e-12 * np.eye(len(index)), rest_g[k][index]
            )
            missed.append(e[k] + 2 * g[k][index] @ delta + delta @ A[k][at] @ delta)
        return _typical(np.array(missed) / share[tried])

    index = list(range(count))
    best = left_out(index)
    while len(index) - count < MOST_TERMS:
        trials = {i: left_out([*index, i]) for i in range(count, len(t)) if i not in index}
        term = min(trials, key=trials.__getitem__)
        if trials[term] > (1 - TERM_GAIN) * best:
            break
        index, best = [*index, term], trials[term]
        tell(f"    term {divmod(term - count, form.size)}: {best:.4f}")
    return Polynomial(known, np.array(index[count:]) - count) if len(index) > count else None


def _features(model: HybridModel, logs: Dataset) -> torch.Tensor:
    """z (N, nz) at every logged sample."""
    windows = batch(model, logs, 1)
    with torch.no_grad():
        return model.residual_features(windows.x0(model), windows.u[:, 0], windows.d[:, 0])


def _cover(model: HybridModel, logs: Dataset) -> None:
    """Where there were data the residual acts in full."""
    _reach(model, _features(model, logs))


def _reach(model: HybridModel, z: torch.Tensor) -> None:
    """Take the features z (N, nz) as where the data were."""
    supported = model.residual
    if isinstance(supported, Supported):
        deviation = z.std(0)
        supported.support.standardize(z.mean(0), torch.where(deviation > 1e-9, deviation, 1.0))
        supported.cover(z)


def _cover_runs(model: HybridModel, found: Runs) -> None:
    """The same for states that only the model itself knows: where its own free runs went."""
    x0, u, d = (torch.as_tensor(v) for v in (found.x0, found.u, found.d))
    if found.initial:
        names = [model.fit_parameters[i] for i in found.initial]
        x0 = torch.tensor([[float(getattr(model.system, name)) for name in names]]).to(u)
    with torch.no_grad():
        x = model.rollout(x0.expand(len(u), -1), u, d)[:, :-1]
        z = model.residual_features(x, u, d).flatten(0, 1)
    _reach(model, z)


def reidentified(
    measured: MeasuredSet, model: HybridModel, found: Runs, scale: np.ndarray, theta: np.ndarray
) -> HybridModel:
    """The parameters once more, the residual held."""
    form = _Held(model)
    problem = FreeRuns(model, scale, form)
    count = problem.count
    one = solve(problem, found, theta, np.full(count, PARAMETER_PRIOR), iterations=6)
    return model.rebuilt(settled(model, problem, one.t))


class _Held(Form):
    """The model's own residual, with nothing to fit."""

    def __init__(self, model: HybridModel) -> None:
        if model.residual is None:
            raise ValueError("model has no residual to hold")
        self.held, self.nr = model.residual, len(model.placement.signals(model.system))

    def start(self, seed: int) -> np.ndarray:
        return np.zeros(0)

    def value(self, w: np.ndarray, z: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.held(torch.as_tensor(z)).numpy()

    def slopes(self, w: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n, nz = z.shape
        at = torch.as_tensor(z)
        r, tangents = torch.func.jvp(  # type: ignore[assignment]
            self.held,
            (at.expand(nz, n, nz).contiguous(),),
            (torch.eye(nz, dtype=at.dtype)[:, None, :].expand(-1, n, -1).contiguous(),),
        )
        rz = tangents.detach().numpy().transpose(1, 2, 0)
        return r[0].detach().numpy(), rz, np.zeros((n, self.nr, 0))

    def residual(self, several: Sequence[np.ndarray]) -> Residual:
        return self.held
