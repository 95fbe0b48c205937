"""What a study asks: a grid of closed loops, and the jobs that it takes.

    system × hidden effect × model × placement × seconds of data × planner × plant × seed

Logs are made once for each system, effect and seed, a model is fitted once for all planners and
plants that it is tried with.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hybridmodel import placement as placements
from hybridmodel.data import Dataset, save_npz
from hybridmodel.study import cells
from hybridmodel.study.attribution import PREFIX, parts
from hybridmodel.study.fingerprint import fingerprint
from hybridmodel.study.jobs import Job
from hybridmodel.study.models import MODELS, kind_of
from hybridmodel.study.plants import LOGGED, MEASURED, plant_of
from hybridmodel.tasks.study_tasks import STUDY_TASKS
from hybridmodel.tasks.task import Task

_NAME = re.compile(r"\w[\w.-]*")
_BEYOND = 3.0  # bounds of a signal, where what was measured is of another unit
DRAWN = "randomised"  # the folder of logs of drawn plants, beside those of effects
OWN = "own"  # the placement that the task's recipe names
AXES = ("system", "effect", "model", "placement", "data", "planner", "plant", "seed")


@dataclass(frozen=True, kw_only=True, order=True)
class Cell:
    """One closed loop.

    system, effect   the plant that was logged
    model            a name of `MODELS`
    placement        of its residual, "own" is the task's, "" where it has none
    data             seconds of logs that it was fitted to, 0 where it was not
    planner          a key of the task's control
    plant            where the loop is closed: "logged", an engine, or another effect
    seed             of logs, fit and loop
    """

    system: str
    effect: str
    model: str
    placement: str
    data: float
    planner: str
    plant: str
    seed: int

    @property
    def log_name(self) -> str:
        return f"cells/{self.system}/{self.effect}/seed {self.seed}"

    @property
    def drawn_name(self) -> str:
        return f"cells/{self.system}/{DRAWN}/seed {self.seed}"

    @property
    def fit_name(self) -> str:
        parts = (self.model, self.placement, f"{self.data:g} s" if self.data else "")
        return f"{self.log_name}/{', '.join(filter(None, parts))}"

    @property
    def name(self) -> str:
        return f"{self.fit_name}/{', '.join(filter(None, (self.planner, self.plant)))}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A grid, as data. Models that are not fitted have no data, others no placement.

    systems     names in `tasks`
    effects     names in their `Task.effects`
    models      names in `MODELS`; physics and oracle are the floor and the ceiling
    planners    keys of the tasks' controls
    data        seconds of logs; models that only identify get the most
    placements  of the residuals, names in `hybridmodel.placement.ALL` or "own"
    plants      where loops are closed, see `Cell`
    attribution physics that knows one part of the effects, for each of them
    quick       short fits and loops
    measured    logs of real machines, by system, that models foretell
    tasks       tasks by name, of which others can be given

    Raises ValueError naming the field.
    """

    systems: tuple[str, ...]
    effects: tuple[str, ...]
    models: tuple[str, ...] = ("physics", "identified", "network", "hybrid", "oracle")
    planners: tuple[str, ...] = ("cem", "sqp")
    data: tuple[float, ...] = (60.0,)
    seeds: tuple[int, ...] = (0, 1, 2)
    placements: tuple[str, ...] = (OWN,)
    plants: tuple[str, ...] = (LOGGED,)
    attribution: bool = False
    quick: bool = False
    measured: Mapping[str, Dataset] = field(default_factory=dict, repr=False, compare=False)
    tasks: Mapping[str, Callable[[], Task]] = field(
        default_factory=lambda: dict(STUDY_TASKS), repr=False, compare=False
    )

    def __post_init__(self) -> None:
        _check_names("systems", self.systems, tuple(self.tasks))
        if bad := [name for name in self.systems if not _NAME.fullmatch(name)]:
            raise ValueError(f"systems: {bad[0]!r} must be of letters, digits, _, . and -")
        _check_names("models", self.models, tuple(MODELS))
        if unknown := [name for name in self.measured if name not in self.systems]:
            raise ValueError(f"measured: {unknown[0]!r} is none of systems {list(self.systems)}")
        _check_names("placements", self.placements, (OWN, *(p.name for p in placements.ALL)))
        for system in self.systems:
            task = self.tasks[system]()
            _check_names(f"effects ({system})", self.effects, tuple(task.effects))
            if bad := [e for e in self.effects if not _NAME.fullmatch(e) or e == DRAWN]:
                raise ValueError(
                    f"effects: {bad[0]!r} must be of letters, digits, _, . and -, and not {DRAWN!r}"
                )
            _check_names("planners", self.planners, task.control.KNOWN)
            for plant in self.plants:
                plant_of(task, self.effects[0], plant)
            if system in self.measured:
                _check_measured(f"measured.{system}", self.measured[system], task)
        seconds = isinstance(self.data, tuple) and all(
            isinstance(s, float | int) and not isinstance(s, bool) and 0 < s < math.inf
            for s in self.data
        )
        apart = seconds and _distinct(tuple(f"{s:g}" for s in self.data))  # as folders name them
        _require(apart, "data", self.data, "distinct seconds > 0")
        whole = isinstance(self.seeds, tuple) and all(
            isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in self.seeds
        )
        _require(whole and _distinct(self.seeds), "seeds", self.seeds, "distinct integers ≥ 0")
        _check_names("plants", self.plants, None)
        for name in ("attribution", "quick"):
            value = getattr(self, name)
            _require(isinstance(value, bool), name, value, "true or false")

    def task(self, system: str) -> Task:
        """A system's task, a short one where the study is quick."""
        task = self.tasks[system]()
        return task.quick() if self.quick else task

    def cells(self) -> tuple[Cell, ...]:
        """All that is tried, seeds outermost, so that an early look is at whole seeds."""
        tasks = {system: self.task(system) for system in self.systems}
        return tuple(
            Cell(
                system=system,
                effect=effect,
                model=model,
                placement=placement,
                data=data,
                planner=planner,
                plant=plant,
                seed=seed,
            )
            for seed, system, effect in itertools.product(self.seeds, self.systems, self.effects)
            for model, placement, data in self._fits(tasks[system].under(effect))
            for plant, planner in self._loops(system)
        )

    def _fits(self, task: Task) -> Iterator[tuple[str, str, float]]:
        """(model, placement, seconds of data) of every model that is made."""
        known = [PREFIX + part for part in parts(task)] if self.attribution else []
        for name in (*self.models, *known):
            kind = kind_of(name)
            seconds = {"none": (0.0,), "most": (max(self.data),), "all": self.data}[kind.data]
            for placement in self.placements if kind.placed else ("",):
                for data in seconds:
                    yield name, placement, float(data)

    def _loops(self, system: str) -> Iterator[tuple[str, str]]:
        """(plant, planner), without planner where a measured log is the plant."""
        yield from itertools.product(self.plants, self.planners)
        if system in self.measured:
            yield MEASURED, ""

    def settings(self) -> dict[str, str]:
        """Digests of what numbers depend on beside the grid: tasks and measured logs, by name."""
        tasks = {system: fingerprint(self.task(system)) for system in self.systems}
        logs = {system: fingerprint(_packed(data)) for system, data in self.measured.items()}
        return {**tasks, **{f"measured.{system}": log for system, log in logs.items()}}

    def jobs(self) -> tuple[Job, ...]:
        """What is to be run, each after what it needs."""
        tasks = {system: self.task(system) for system in self.systems}
        measured = {system: _packed(data) for system, data in self.measured.items()}
        found: dict[str, Job] = {}
        for cell in self.cells():
            task = tasks[cell.system]
            known, seed, kind = task.under(cell.effect), cell.seed, kind_of(cell.model)
            if cell.log_name not in found:
                found[cell.log_name] = Job(cell.log_name, cells.log, (known, seed))
            if cell.fit_name not in found:
                arguments = (known, cell.model, cell.placement, cell.data, seed)
                logs = {part: (cell.log_name, f"{part}.npz") for part in cells.PARTS}
                if kind.drawn:
                    if cell.drawn_name not in found:
                        found[cell.drawn_name] = Job(cell.drawn_name, cells.log_drawn, (task, seed))
                    logs |= {part: (cell.drawn_name, f"{part}.npz") for part in cells.PARTS[:2]}
                found[cell.fit_name] = Job(cell.fit_name, cells.fit_model, arguments, logs)
            model = {} if kind.data == "none" else {"model": (cell.fit_name, cells.MODEL)}
            if cell.plant == MEASURED:
                arguments = (known, cell.model, measured[cell.system])
                found[cell.name] = Job(cell.name, cells.predict, arguments, model)
            else:
                plant = plant_of(task, cell.effect, cell.plant)
                arguments = (known, cell.model, cell.planner, plant, seed)
                found[cell.name] = Job(cell.name, cells.close_loop, arguments, model)
        return tuple(found.values())

    def description(self) -> dict[str, Any]:
        """The grid as JSON data."""
        names = ("systems", "effects", "models", "planners", "data", "seeds", "placements")
        grid = {name: list(getattr(self, name)) for name in (*names, "plants")}
        states = {s: self.tasks[s]().system.states for s in self.systems}
        told = {s: [(signal.name, signal.unit) for signal in each] for s, each in states.items()}
        remembering = [e for e in self.effects if any(_remembers(self, s, e) for s in self.systems)]
        return {
            **grid,
            "effects with memory": remembering,
            "attribution": self.attribution,
            "quick": self.quick,
            "states": told,
        }


def _remembers(study: Study, system: str, effect: str) -> bool:
    """Whether what is hidden has a state of its own, which no residual of (x, u) can represent."""
    hidden = study.tasks[system]().effects[effect]
    return hidden.input_lag > 0 or hidden.input_delay > 0


def _packed(data: Dataset) -> bytes:
    return cells.packed(lambda file: save_npz(data, file))


def _check_measured(name: str, data: Dataset, task: Task) -> None:
    """ValueError, before anything runs, where logs are not of the task's system."""
    if not isinstance(data, Dataset):
        raise ValueError(f"{name} must be a Dataset, got {type(data).__name__}")
    system = task.system
    widths = (data[0].u.shape[1], data[0].y.shape[1])
    if widths != (system.nu, system.ny):
        raise ValueError(
            f"{name} has {widths[0]} inputs and {widths[1]} outputs, wanted {system.nu} "
            f"and {system.ny}: those of {type(system).__name__}"
        )
    if not math.isclose(data.dt, task.dt, rel_tol=1e-6):
        raise ValueError(
            f"{name} has a step of {data.dt:g} s, the task one of {task.dt:g} s: resample "
            "it (`read_log(resample=True)`)"
        )
    u, y = (np.concatenate([getattr(log, part) for log in data]) for part in "uy")
    columns = zip((*system.inputs, *system.outputs), (*u.T, *y.T), strict=True)
    for signal, values in columns:
        bound, most = max(-signal.low, signal.high), float(np.abs(values).max())
        if most > _BEYOND * bound:
            raise ValueError(
                f"{name}: {signal.name} reaches {most:.3g} and is bounded by {bound:.3g} "
                f"{signal.unit}: say by `units` in what it was measured"
            )


def _check_names(name: str, given: tuple[str, ...], known: tuple[str, ...] | None) -> None:
    fine = (
        isinstance(given, tuple)
        and bool(given)
        and all(isinstance(g, str) and g for g in given)
        and _distinct(given)
    )
    _require(fine, name, given, "one or more distinct names")
    if known is not None and (unknown := [g for g in given if g not in known]):
        raise ValueError(f"{name}: {unknown[0]!r} is none of {list(known)}")


def _distinct(values: tuple[Any, ...]) -> bool:
    return len(set(values)) == len(values) > 0


def _require(condition: bool, name: str, value: object, wanted: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
