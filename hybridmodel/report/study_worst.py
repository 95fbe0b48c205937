"""The closed loops that went worst, beside those of physics and oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.data import Trajectory, load_npz
from hybridmodel.report.drawing import INK, Picture, canvas, grid, quantity, svg
from hybridmodel.report.study_drawing import colour, nothing, shown
from hybridmodel.report.study_errors import column, horizons
from hybridmodel.report.study_findings import Findings, called
from hybridmodel.study.cells import LOOP
from hybridmodel.study.grid import AXES, Cell
from hybridmodel.study.measures import CEILING, FLOOR
from physics import Signal

COUNT, SIGNALS, SAMPLES = 10, 3, 160  # cells, signals of each, samples of each line


@dataclass(frozen=True)
class Worst:
    """One closed loop: what it was, how it did, and its picture."""

    title: str
    numbers: list[tuple[str, str]]
    picture: Picture


def worst_cells(found: Findings, model: str | None = None, count: int = COUNT) -> list[Worst]:
    """The lowest fractions of one seed, of a model or of all, the lowest first; of what has run."""
    all_of_them = [
        (fraction, row)
        for kind in found.compared
        if model in (None, kind[0])
        for each in found.of(kind)
        for row in found.cells.get((each.place, kind), ())
        if (fraction := each.fractions.get(int(row["seed"]))) is not None
    ]
    lowest = sorted(all_of_them, key=lambda item: item[0])[:count]
    return [_told(found, fraction, row) for fraction, row in lowest]


def _told(found: Findings, fraction: float, row: Mapping[str, Any]) -> Worst:
    kind = row["model"], row["placement"], float(row["data"])
    ends = {model: _other(found, row, model) for model in (FLOOR, CEILING)}
    numbers = [("recovered", shown(fraction)), ("cost", f"{row['cost']:.4g}")]
    for model, other in ends.items():
        if other is not None:
            numbers.append(
                (
                    f"{model}’ cost" if model[-1] == "s" else f"{model}’s cost",
                    f"{other['cost']:.4g}",
                )
            )
    if "success" in row:
        numbers.append(("success", "yes" if row["success"] else "no"))
    errors = {k: row[column(k)] for k in horizons(found) if column(k) in row}
    if errors:
        after = f"error after {' / '.join(map(str, errors))} steps"
        numbers.append((after, f"{' / '.join(f'{100 * e:.3g}' for e in errors.values())} %"))
    axes = (row["system"], row["effect"], row["planner"], called(kind), f"{kind[2]:g} s of data")
    title = ", ".join([*filter(None, axes), f"seed {row['seed']}"])
    loops = {
        name: loop
        for name, each in {CEILING: ends[CEILING], FLOOR: ends[FLOOR], row["model"]: row}.items()
        if each is not None and (loop := _loop(found, each)) is not None
    }
    if row["model"] not in loops:
        return Worst(title, numbers, nothing("Its closed loop is not in the folder."))
    return Worst(title, numbers, _drawn(loops, row["model"], _signals(found, row["system"])))


def _other(found: Findings, row: Mapping[str, Any], model: str) -> Mapping[str, Any] | None:
    """The same closed loop with another model."""
    axes = ("system", "effect", "planner", "plant", "seed")
    kind = found.best(model)
    place = row["system"], row["effect"], row["planner"], row["plant"]
    there = found.cells.get((place, kind), ()) if kind else ()
    return next((r for r in there if all(r[a] == row[a] for a in axes)), None)


def _loop(found: Findings, row: Mapping[str, Any]) -> Trajectory | None:
    """None where the file is not there or cannot be read."""
    cell = Cell(**{axis: row[axis] for axis in AXES})
    try:
        return next(iter(load_npz(found.folder / cell.name / LOOP)), None)
    except (OSError, ValueError):
        return None


def _signals(found: Findings, system: str) -> tuple[Signal, ...]:
    """Names and units of a system's states, where the study tells them."""
    told = found.told.get("states", {}).get(system, [])
    return tuple(Signal(name, unit) for name, unit in told)


def _drawn(loops: Mapping[str, Trajectory], model: str, names: tuple[Signal, ...]) -> Picture:
    """States over time: those in which the loop differs most from the oracle's."""
    states = {name: _states(loop) for name, loop in loops.items()}
    own = states[model]
    beside = next((states[name] for name in (CEILING, FLOOR) if name in states), own)
    length = min(len(own), len(beside))
    span = np.maximum(np.ptp(beside, axis=0), 1e-9)
    apart = np.sqrt(np.mean(((own[:length] - beside[:length]) / span) ** 2, axis=0))  # (nx,)
    picked = sorted(np.argsort(-apart, kind="stable")[:SIGNALS].tolist())
    with canvas(1.55) as figure:
        for ax, i in zip(figure.subplots(1, len(picked), squeeze=False)[0], picked, strict=True):
            for name, loop in loops.items():
                step = max(1, len(loop.t) // SAMPLES)
                line = {"color": colour((name, "", 0.0)), "lw": 1.7 if name == model else 1.1}
                dashes = (0, (4, 2)) if name == CEILING else "-"
                ax.plot(loop.t[::step], states[name][::step, i], ls=dashes, **line)
            ax.set_title(quantity(names[i]) if i < len(names) else f"state {i + 1}")
            ax.set_xlabel("time [s]")
            ax.tick_params(colors=INK)
            ax.set_xlim(0, max(loop.t[-1] for loop in loops.values()))
            grid(ax)
        image = svg(figure)
    others = [name for name in loops if name != model]
    missing = [name for name in (FLOOR, CEILING) if name not in loops]
    reading = f"The loop of {' and '.join(missing)} is not in the folder." if missing else ""
    return Picture(image, "", reading, tuple((name, name) for name in (model, *others)))


def _states(loop: Trajectory) -> np.ndarray:
    return loop.y if loop.x is None else loop.x
