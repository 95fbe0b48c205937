"""Pictures of a swing-up: angles and inputs over time, and moments of the way up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from hybridmodel.demo.pipeline import Run
from hybridmodel.demo.record import Record
from hybridmodel.report.drawing import (
    COLOURS,
    INK,
    MUTED,
    PLANNER_NAMES,
    Picture,
    canvas,
    grid,
    label_ends,
    listed,
    ordered,
    quantity,
    svg,
    ticks_of_pi,
)
from hybridmodel.report.goal import Goal
from hybridmodel.report.loops import planners_of
from hybridmodel.tasks.swing_up import SwingUp
from hybridmodel.tasks.task import Task

PLANS_SHOWN = 6
PLANNED = "planned"
EVERY = 2  # control steps from frame to frame


@dataclass(frozen=True)
class SwingUpPictures(Goal):
    """States and inputs over time; whole turns are taken out of the angles."""

    control: SwingUp

    def turned(self, task: Task, states: np.ndarray) -> np.ndarray:
        """(nx,) whole turns to add to the angles so that a run ends nearest to its target."""
        shift = np.zeros(task.system.nx)
        for i in task.system.angle_rows:
            shift[i] = (
                2
                * np.pi
                * np.round(
                    (self.control.target_state(task.system)[i] - states[-1, i]) / (2 * np.pi)
                )
            )
        return shift

    def plans(self, record: Record) -> Picture:
        """States and inputs over time: what the hybrid planned and what the plant did."""
        task = record.task
        system, planners = task.system, planners_of(record)
        count = system.nx + system.nu
        with canvas(1.28 * count + 0.9) as figure:
            panels = figure.subplots(count, len(planners), sharex=True, sharey="row", squeeze=False)
            for column, planner in enumerate(planners):
                axes = list(panels[:, column])
                axes[0].set_title(PLANNER_NAMES.get(planner, planner), fontweight="bold", pad=10)
                runs = {row: record.runs[planner, row] for row in ordered(record.models)}
                for row in ordered(runs):
                    self._executed(axes, task, row, runs[row])
                axes[-1].set_xlabel("time [s]")
                axes[-1].set_xlim(0, self.control.seconds)
            seen = [ax.get_ylim() for ax in panels[:, 0]]  # a plan may promise anything
            for column, planner in enumerate(planners):
                self._planned(list(panels[:, column]), task, record.runs[planner, "hybrid"])
            for i, signal in enumerate((*system.states, *system.inputs)):
                panels[i, 0].set_ylim(seen[i])
                panels[i, 0].set_ylabel(quantity(signal))
                for ax in panels[i]:
                    self._references(ax, task, i)
                    grid(ax)
            for i in system.angle_rows:
                ticks_of_pi(panels[i, 0])
            figure.align_ylabels(panels[:, 0])
            image = svg(figure)
        reading = (
            "Black: some of the hybrid's plans, from the measured state (dot) to their horizon; "
            f"each is followed for {self.control.every} steps "
            f"({1e3 * self.control.every * task.dt:g} ms) until the next. Dashed: the target. "
            "Grey bands: beyond the limits. Whole turns are added to a run's angles so that it "
            "ends nearest to the target."
        )
        key = [(row, f"{row}, executed") for row in ordered(record.models)]
        return Picture(
            image, self._faithful(record, planners), reading, (*key, (PLANNED, "hybrid, planned"))
        )

    def interval(self, task: Task) -> int:
        return EVERY

    def size(self, task: Task) -> tuple[int, int]:
        slides = any(s.rate_of is None and not s.angle for s in task.system.states)
        return (320, 170) if slides else (200, 200)

    def caption(self, record: Record, run: Run, t: float) -> str:
        if t >= self.control.seconds - self.control.hold_seconds:
            return "✓ holds" if run.score.success else "✗ not held"
        return f"{t:.1f} s"

    def moved(self, record: Record, planner: str) -> str:
        rows = ordered(record.models)
        won = [row for row in rows if record.runs[planner, row].score.success]
        return (
            f"With {PLANNER_NAMES.get(planner, planner)}, {listed(won) or 'no row'} "
            f"swing{'s' if len(won) < 2 else ''} up and hold{'s' if len(won) < 2 else ''}."
        )

    def moments(self, task: Task, x: np.ndarray, count: int = 6) -> Sequence[int]:
        """Evenly from the start until the angles stay near the target."""
        angles = list(task.system.angle_rows)
        error = (x + self.turned(task, x) - self.control.target_state(task.system))[:, angles]
        away = np.flatnonzero((np.abs(error) > 0.5 * self.control.tolerance).any(axis=1))
        last = min(len(x) - 1, int(away[-1]) + 1 if len(away) else 0)
        last = max(last, min(count, len(x) - 1))
        return np.round(np.linspace(0, last, count)).astype(int).tolist()

    def still(self, figure: SubFigure, record: Record, planner: str, shown: Sequence[int]) -> None:
        task, ax = record.task, figure.subplots()
        angle = task.system.angle_rows[0]
        target = float(self.control.target_state(task.system)[angle])
        ends = {}
        for row in ordered(record.models):
            run = record.runs[planner, row].trajectory
            assert run.x is not None
            values = (run.x + self.turned(task, run.x))[:, angle]
            ax.plot(run.t, values, color=COLOURS[row], lw=2.6 if row == "hybrid" else 1.3)
            ends[row] = float(values[-1])
            if row == "hybrid" and len(shown):
                ax.plot(run.t[shown], values[shown], "o", color=COLOURS[row], ms=6)
        ax.axhline(target, color=MUTED, lw=0.8, ls=(0, (5, 4)), zorder=1)
        ax.annotate(
            "target",
            (0, target),
            xycoords=("axes fraction", "data"),
            xytext=(4, 3),
            textcoords="offset points",
            color=MUTED,
        )
        ax.set_title(f"closed loop of {PLANNER_NAMES.get(planner, planner)}", color=MUTED)
        ax.set_xlim(0, self.control.seconds)
        ax.set_xlabel("time [s]")
        ax.set_ylabel(quantity(task.system.states[angle]))
        ticks_of_pi(ax)
        grid(ax)
        label_ends(ax, ends)

    def _executed(self, axes: Sequence[Axes], task: Task, row: str, run: Run) -> None:
        log = run.trajectory
        assert log.x is not None
        width = 2.4 if row == "hybrid" else 0.8
        x = log.x + self.turned(task, log.x)
        for ax, values in zip(axes, x.T, strict=False):
            ax.plot(log.t, values, color=COLOURS[row], lw=width)
        for ax, values in zip(axes[task.system.nx :], log.u.T, strict=True):
            ax.stairs(values, log.t, baseline=None, color=COLOURS[row], lw=0.75 * width)

    def _planned(self, axes: Sequence[Axes], task: Task, run: Run) -> None:
        assert run.trajectory.x is not None
        shift = self.turned(task, run.trajectory.x)
        for t, plan in run.plans[:: max(1, -(-len(run.plans) // PLANS_SHOWN))]:
            times = t + task.dt * np.arange(len(plan.x))
            inside = times <= self.control.seconds + 1e-9
            for ax, values in zip(axes, (plan.x + shift).T, strict=False):
                ax.plot(times[inside], values[inside], color=INK, lw=0.9)
                ax.plot(times[0], values[0], "o", color=INK, ms=3)
            for ax, values in zip(axes[task.system.nx :], plan.u.T, strict=True):
                n = int(inside.sum()) - 1
                if n > 0:
                    ax.stairs(values[:n], times[: n + 1], baseline=None, color=INK, lw=0.9)

    def _references(self, ax: Axes, task: Task, i: int) -> None:
        """Target and limits of the i-th signal (states, then inputs)."""
        system = task.system
        if i < system.nx:
            ax.axhline(
                self.control.target_state(task.system)[i],
                color=MUTED,
                lw=0.8,
                ls=(0, (5, 4)),
                zorder=1,
            )
            low, high = (bound[i] for bound in self.control.state_bounds)
        else:
            low, high = system.inputs[i - system.nx].low, system.inputs[i - system.nx].high
        if np.isfinite(low) and np.isfinite(high):
            room = 0.12 * (high - low)
            ax.set_ylim(low - room, high + room)
            ax.axhspan(low - room, low, color=MUTED, alpha=0.15, lw=0)
            ax.axhspan(high, high + room, color=MUTED, alpha=0.15, lw=0)

    def replan_gap(self, task: Task, run: Run) -> float:
        """RMS difference of the angles between plan and plant when the next plan is due [rad]."""
        assert run.trajectory.x is not None
        every, angles, gaps = self.control.every, list(task.system.angle_rows), []
        for t, plan in run.plans:
            k = round((t - run.trajectory.t[0]) / task.dt) + every
            if k < len(run.trajectory.x) and every < len(plan.x) and plan.usable:
                gaps.append(plan.x[every, angles] - run.trajectory.x[k, angles])
        return float(np.sqrt(np.mean(np.square(gaps)))) if gaps else float("nan")

    def _faithful(self, record: Record, planners: Sequence[str]) -> str:
        task = record.task
        ahead = 1e3 * self.control.every * task.dt
        parts = []
        for planner in planners:
            gaps = {row: self.replan_gap(task, record.runs[planner, row]) for row in record.models}
            others = ", ".join(f"{row} {gaps[row]:.2g}" for row in ordered(gaps) if row != "hybrid")
            name = PLANNER_NAMES.get(planner, planner)
            parts.append(f"{gaps['hybrid']:.2g} rad rms with {name} ({others})")
        return (
            f"When the next plan is due, after {ahead:g} ms, the plant has left the hybrid's plan "
            "by " + listed(parts) + "."
        )
