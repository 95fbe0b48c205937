"""The declared parameters of a set by output error: alone, and again with a residual held.

Best of several starts of free runs over the protocol's horizon (`free_runs`). Where states are
hidden, the set tells those that a model sees, and the parameters are identified again with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.hardware.cross_validation import prepared
from benchmarks.hardware.families import Form
from benchmarks.hardware.free_runs import Found, FreeRuns, Runs, settled, solve
from benchmarks.hardware.measured import MeasuredSet
from hybridmodel import Dataset, HybridModel, Trajectory
from physics import System
from residuals import Residual

PARAMETER_PRIOR, SPREAD = 1e-6, 0.3  # on ϑ; deviation of random starts
Tell = Callable[[str], None]


def silent(_: str) -> None:
    pass


def bare_model(measured: MeasuredSet, system: System) -> HybridModel:
    """The physics alone."""
    return HybridModel(
        system,
        dt=measured.train.dt,
        substeps=measured.substeps,
        fit_parameters=measured.fit_parameters,
    )


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


def identify(measured: MeasuredSet, *, seed: int = 0, tell: Tell = silent) -> HybridModel:
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


def identified(measured: MeasuredSet, *, seed: int = 0, tell: Tell = silent) -> HybridModel:
    """The bar: `identify`, and where states are hidden twice more with those that it sees."""
    model = identify(measured, seed=seed, tell=tell)
    for _ in range(2 if measured.seen_by else 0):
        warm = replace(again(measured, model), system=model.system, starts=1)
        model = identify(warm, seed=seed, tell=tell)
    return model


def bare(measured: MeasuredSet, *, seed: int = 0, tell: Tell = silent) -> HybridModel:
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


def reidentified(
    measured: MeasuredSet, model: HybridModel, found: Runs, scale: np.ndarray, theta: np.ndarray
) -> HybridModel:
    """The parameters once more, the residual held."""
    form = Held(model)
    problem = FreeRuns(model, scale, form)
    count = problem.count
    one = solve(problem, found, theta, np.full(count, PARAMETER_PRIOR), iterations=6)
    return model.rebuilt(settled(model, problem, one.t))


class Held(Form):
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
