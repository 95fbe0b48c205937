"""Pictures of a point that follows a reference: its path, magnified where it errs, and how far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator

from hybridmodel.demo.pipeline import Run
from hybridmodel.demo.record import Record, shown
from hybridmodel.report.drawing import (
    COLOURS,
    INK,
    MUTED,
    RULE,
    Picture,
    canvas,
    grid,
    label_ends,
    ordered,
    plain,
    svg,
)
from hybridmodel.report.goal import Goal
from hybridmodel.report.loops import planners_of
from hybridmodel.tasks.following import Following
from hybridmodel.tasks.task import Task

MAGNIFIED = (1, 2, 5, 10, 20, 50, 100)
LARGEST = 0.2  # of a drawn deviation, over the size of the reference
FRAME = 0.1  # s


@dataclass(frozen=True)
class FollowingPictures(Goal):
    """The path in the plane of the reference, and the distance from it over time."""

    control: Following

    def plans(self, record: Record) -> Picture:
        rows, planner = ordered(record.models), planners_of(record)[0]
        with canvas(5.6) as figure:
            above, below = figure.subfigures(2, 1, height_ratios=[0.62, 1], squeeze=False)[:, 0]
            self._paths(above, record, planner)
            left, right = below.subplots(1, 2, width_ratios=[1.5, 1], squeeze=False)[0]
            self._distances(left, record, planner, rows)
            self._inputs(right, record, planner, rows)
            image = svg(figure)
        factor = self._factor(record, planner)
        magnified = (
            f"Deviations from the reference (grey) are drawn {factor} times as large. "
            if factor > 1
            else ""
        )
        reading = (
            f"Above: the {self.control.what} of the plant and its rms distance from the reference, "
            f"seen perpendicular to its plane, after the first {self.control.settle:g} s. "
            f"{magnified}"
            f"Below left: its distance from where it should be at that time; the grey part does "
            "not count. Below right: how much of the way to their limits the inputs go."
        )
        key = [(row, f"{row}, executed") for row in rows]
        return Picture(image, self._finding(record, planner), reading, tuple(key))

    def interval(self, task: Task) -> int:
        return max(1, round(FRAME / task.dt))

    def size(self, task: Task) -> tuple[int, int]:
        return 300, 220

    def caption(self, record: Record, run: Run, t: float) -> str:
        if t > run.trajectory.seconds:
            return f"ended at {run.trajectory.seconds:.1f} s"
        distance = self._distance(run)[round(t / record.task.dt)]
        return f"{t:.1f} s  {1e3 * distance:.0f} mm off"

    def moved(self, record: Record, planner: str) -> str:
        miss = {row: record.runs[planner, row].score.figures["worst"] for row in record.models}
        figure = self.control.figures[1]
        worst = ", ".join(
            f"{row} {figure.says} {shown(figure, miss[row])}" for row in ordered(miss)
        )
        return f"{worst[0].upper()}{worst[1:]}."

    def moments(self, task: Task, x: np.ndarray, count: int = 6) -> Sequence[int]:
        """Evenly over one round of the reference, once it counts."""
        first = min(round(self.control.settle / task.dt), len(x) - 1)
        last = min(first + round(self.control.reference.period / task.dt), len(x) - 1)
        return np.round(np.linspace(first, last, count)).astype(int).tolist()

    def still(self, figure: SubFigure, record: Record, planner: str, shown: Sequence[int]) -> None:
        ax = figure.subplots()
        self._distances(ax, record, planner, ordered(record.models))
        t = record.task.dt * np.asarray(shown, dtype=float)
        ax.plot(t, [0.02] * len(t), "|", color=MUTED, transform=ax.get_xaxis_transform())

    # -- parts ---------------------------------------------------------------------------------

    def _plane(self) -> np.ndarray:
        """Two unit vectors (2, 3) in the plane of the reference."""
        long, wide = (np.array(getattr(self.control.reference, n)) for n in ("long", "wide"))
        first = long / np.linalg.norm(long)
        second = wide - (wide @ first) * first
        return np.array([first, second / np.linalg.norm(second)])

    def _distance(self, run: Run) -> np.ndarray:
        """(T,) [m]."""
        return np.linalg.norm(self.control.errors(run.trajectory), axis=1)

    def _factor(self, record: Record, planner: str) -> int:
        """How much deviations are magnified, so that physics and hybrid can be told apart."""
        t = record.runs[planner, "hybrid"].trajectory.t
        reference = self.control.reference(t) @ self._plane().T
        size = float(np.ptp(reference, axis=0).max())
        worst = max(
            float(
                self._distance(record.runs[planner, row])[self._counts(record, planner, row)].max()
            )
            for row in ("physics", "hybrid")
        )
        return max((k for k in MAGNIFIED if k * worst <= LARGEST * size), default=1)

    def _counts(self, record: Record, planner: str, row: str) -> slice:
        """The samples that count; all of a run that ended before."""
        run = record.runs[planner, row].trajectory
        first = round(self.control.settle / record.task.dt)
        return slice(first if first < len(run.t) else 0, None)

    def _paths(self, figure: SubFigure, record: Record, planner: str) -> None:
        rows, plane, factor = ordered(record.models), self._plane(), self._factor(record, planner)
        whole = self.control.reference
        times = whole.rise + np.linspace(0, whole.period, 300)
        reference = whole(times) @ plane.T
        middle = reference.mean(axis=0)
        room = 0.75 * np.ptp(reference, axis=0) + LARGEST * np.ptp(reference, axis=0).max()
        names = _directions(plane)
        panels = figure.subplots(1, len(rows), sharex=True, sharey=True, squeeze=False)[0]
        for ax, row in zip(panels, rows, strict=True):
            ax.plot(*(reference - middle).T, color=RULE, lw=4)
            run = record.runs[planner, row]
            counts = self._counts(record, planner, row)
            error = self.control.errors(run.trajectory)[counts] @ plane.T
            follow = whole(run.trajectory.t[counts] - run.trajectory.t[0]) @ plane.T
            ax.plot(*(follow + factor * error - middle).T, color=COLOURS[row], lw=1.3)
            value = run.score.figures["error"]
            title = f"{row}: {shown(self.control.figures[0], value)}"
            ax.set_title(title, color=COLOURS[row], fontweight="bold" if row == "hybrid" else None)
            ax.set_aspect("equal")
            ax.set_xlim(-0.7 * room[0], 0.7 * room[0])
            ax.set_ylim(-0.7 * room[1], 0.7 * room[1])
            grid(ax, "both")
            ax.set_xlabel(f"{names[0]} [m]")
        panels[0].set_ylabel(f"{names[1]} [m]")

    def _distances(self, ax: Axes, record: Record, planner: str, rows: Sequence[str]) -> None:
        ends, seen = {}, []
        for row in rows:
            run = record.runs[planner, row]
            distance = np.maximum(1e3 * self._distance(run), 1e-3)
            t = run.trajectory.t - run.trajectory.t[0]
            ax.plot(t, distance, color=COLOURS[row], lw=2.0 if row == "hybrid" else 1.2)
            ends[row] = float(np.median(distance[-len(distance) // 3 :]))
            seen.append(distance[self._counts(record, planner, row)])
        low = 0.5 * min(float(np.quantile(d, 0.05)) for d in seen)
        high = 2.0 * max(
            float(d.max()) for d in (seen[rows.index(r)] for r in ("physics", "hybrid"))
        )
        high = max(high, 2e3 * self.control.tolerance)
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        ax.set_xlim(0, self.control.seconds)
        ax.axvspan(0, self.control.settle, color=MUTED, alpha=0.12, lw=0)
        ax.axhline(1e3 * self.control.tolerance, color=MUTED, lw=0.8, ls=(0, (5, 4)))
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_minor_locator(LogLocator(subs=()))
        ax.yaxis.set_major_formatter(FuncFormatter(plain))
        ax.set_xlabel("time [s]")
        ax.set_title(f"distance of the {self.control.what} from the reference [mm]")
        grid(ax)
        label_ends(ax, {row: min(end, high) for row, end in ends.items()})

    def _inputs(self, ax: Axes, record: Record, planner: str, rows: Sequence[str]) -> None:
        inputs = record.task.system.inputs
        middle = np.array([(s.low + s.high) / 2 for s in inputs])
        half = np.array([(s.high - s.low) / 2 for s in inputs])
        for height, row in enumerate(rows):
            share = 100 * np.abs((record.runs[planner, row].trajectory.u - middle) / half)
            spread = np.quantile(share, (0.05, 0.5, 0.95, 1.0), axis=0)  # (4, nu)
            for j in range(len(inputs)):
                y = height + 0.6 * (j / max(1, len(inputs) - 1) - 0.5)
                ax.plot(spread[[0, 2], j], [y, y], color=COLOURS[row], lw=1.6)
                ax.plot(spread[3, j], y, "|", color=COLOURS[row], ms=4)
                ax.plot(spread[1, j], y, "o", color=INK, ms=2.2)
        ax.set_yticks(range(len(rows)), rows)
        for label, row in zip(ax.get_yticklabels(), rows, strict=True):
            label.set_color(COLOURS[row])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set_xlim(0, 103)
        ax.axvline(100, color=MUTED, lw=0.8, ls=(0, (5, 4)))
        ax.set_xlabel("distance from the middle of their range [%]")
        ax.set_title("inputs: 5 … 95 % of the time, median, most", pad=6)
        grid(ax, "x")

    def _finding(self, record: Record, planner: str) -> str:
        figure = self.control.figures[0]
        miss = {row: record.runs[planner, row].score.figures["error"] for row in record.models}
        others = ", ".join(
            f"{row} {shown(figure, miss[row])}" for row in ordered(miss) if row != "hybrid"
        )
        ratio = miss["physics"] / miss["hybrid"]
        better = f"{ratio:.2g} times less than" if ratio > 1 else f"{1 / ratio:.2g} times more than"
        return (
            f"Planned with the hybrid, the {self.control.what} misses the reference by "
            f"{shown(figure, miss['hybrid'])} rms, {better} with physics alone ({others})."
        )


def _directions(plane: np.ndarray) -> list[str]:
    """What the axes of the plane are called: those of the world where they lie along one."""
    names = []
    for direction in plane:
        along = [(w, n) for w, n in zip(direction, "xyz", strict=True) if abs(w) > 1e-6]
        if len(along) == 1:
            names.append(along[0][1])
        else:
            names.append(" + ".join(f"{w:.2g} {n}" for w, n in along).replace("+ -", "− "))
    return names
