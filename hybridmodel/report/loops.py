"""Pictures of the closed loops: plans against what happened, and time for planning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator

from hybridmodel.demo.pipeline import Run
from hybridmodel.demo.record import Record
from hybridmodel.demo.tasks import Task
from hybridmodel.report.drawing import (
    COLOURS,
    INK,
    MUTED,
    PLANNER_NAMES,
    Picture,
    canvas,
    grid,
    listed,
    ordered,
    plain,
    quantity,
    svg,
    ticks_of_pi,
)

PLANS_SHOWN = 6
PLANNED = "planned"


def planners_of(record: Record) -> list[str]:
    return list(dict.fromkeys(planner for planner, _ in record.runs))


def turned(task: Task, states: np.ndarray) -> np.ndarray:
    """(nx,) whole turns to add to the angles so that a run ends nearest to its target."""
    shift = np.zeros(task.system.nx)
    for i in task.system.angle_rows:
        shift[i] = 2 * np.pi * np.round((task.target()[i] - states[-1, i]) / (2 * np.pi))
    return shift


def plans_and_execution(record: Record) -> Picture:
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
                _executed(axes, task, row, runs[row])
            axes[-1].set_xlabel("time [s]")
            axes[-1].set_xlim(0, task.control.seconds)
        seen = [ax.get_ylim() for ax in panels[:, 0]]  # a plan may promise anything
        for column, planner in enumerate(planners):
            _planned(list(panels[:, column]), task, record.runs[planner, "hybrid"])
        for i, signal in enumerate((*system.states, *system.inputs)):
            panels[i, 0].set_ylim(seen[i])
            panels[i, 0].set_ylabel(quantity(signal))
            for ax in panels[i]:
                _references(ax, task, i)
                grid(ax)
        for i in system.angle_rows:
            ticks_of_pi(panels[i, 0])
        figure.align_ylabels(panels[:, 0])
        image = svg(figure)
    reading = (
        "Black: some of the hybrid's plans, from the measured state (dot) to their horizon; each "
        f"is followed for {task.control.every} steps "
        f"({1e3 * task.control.every * task.dt:g} ms) until the next. Dashed: the target. Grey "
        "bands: beyond the limits. Whole turns are added to a run's angles so that it ends "
        "nearest to the target."
    )
    key = [(row, f"{row}, executed") for row in ordered(record.models)]
    return Picture(
        image, _faithful(record, planners), reading, (*key, (PLANNED, "hybrid, planned"))
    )


def planning_time(record: Record) -> Picture:
    """Every plan's time against the time until the next one is due."""
    task, planners = record.task, planners_of(record)
    deadline = 1e3 * task.control.every * task.dt
    rows = ordered(record.models)[::-1]
    with canvas(0.24 * len(rows) * len(planners) + 1.2) as figure:
        panels = figure.subplots(len(planners), 1, sharex=True, squeeze=False)[:, 0]
        for ax, planner in zip(panels, planners, strict=True):
            for height, row in enumerate(rows):
                ms = record.runs[planner, row].milliseconds()
                offsets = 0.2 * np.sin(2.4 * np.arange(len(ms)))  # so that dots do not hide
                ax.plot(ms, height + offsets, "o", ms=3, mew=0, color=COLOURS[row], alpha=0.55)
                ax.plot([np.median(ms)] * 2, [height - 0.36, height + 0.36], color=INK, lw=1.6)
                ax.annotate(
                    f"{100 * _share(ms, deadline):.0f} % in time",
                    (1, height),
                    xycoords=("axes fraction", "data"),
                    xytext=(6, 0),
                    textcoords="offset points",
                    va="center",
                    color=MUTED,
                    annotation_clip=False,
                )
            ax.set_yticks(range(len(rows)), rows)
            for label, row in zip(ax.get_yticklabels(), rows, strict=True):
                label.set_color(COLOURS[row])
            ax.tick_params(axis="y", length=0)
            ax.set_ylim(-0.6, len(rows) - 0.4)
            ax.spines["left"].set_visible(False)
            ax.set_title(PLANNER_NAMES.get(planner, planner), pad=6 if ax is not panels[0] else 18)
            ax.axvline(deadline, color=INK, lw=0.9, ls=(0, (4, 3)))
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            ax.xaxis.set_minor_locator(LogLocator(subs=()))
            ax.xaxis.set_major_formatter(FuncFormatter(plain))
            grid(ax, "x")
        panels[0].annotate(
            f"next plan is due: {deadline:g} ms",
            (deadline, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=7.5,
        )
        panels[-1].set_xlabel("time per plan [ms]")
        image = svg(figure)
    reading = (
        "Each dot is one plan of the closed loop, the bar the median. The simulator waits for "
        "every plan, so lateness does not enter the costs."
    )
    return Picture(image, _in_time(record, planners, deadline), reading)


def _executed(axes: Sequence[Axes], task: Task, row: str, run: Run) -> None:
    log = run.trajectory
    assert log.x is not None
    width = 2.4 if row == "hybrid" else 0.8
    x = log.x + turned(task, log.x)
    for ax, values in zip(axes, x.T, strict=False):
        ax.plot(log.t, values, color=COLOURS[row], lw=width)
    for ax, values in zip(axes[task.system.nx :], log.u.T, strict=True):
        ax.stairs(values, log.t, baseline=None, color=COLOURS[row], lw=0.75 * width)


def _planned(axes: Sequence[Axes], task: Task, run: Run) -> None:
    assert run.trajectory.x is not None
    shift = turned(task, run.trajectory.x)
    for t, plan in run.plans[:: max(1, -(-len(run.plans) // PLANS_SHOWN))]:
        times = t + task.dt * np.arange(len(plan.x))
        inside = times <= task.control.seconds + 1e-9
        for ax, values in zip(axes, (plan.x + shift).T, strict=False):
            ax.plot(times[inside], values[inside], color=INK, lw=0.9)
            ax.plot(times[0], values[0], "o", color=INK, ms=3)
        for ax, values in zip(axes[task.system.nx :], plan.u.T, strict=True):
            n = int(inside.sum()) - 1
            if n > 0:
                ax.stairs(values[:n], times[: n + 1], baseline=None, color=INK, lw=0.9)


def _references(ax: Axes, task: Task, i: int) -> None:
    """Target and limits of the i-th signal (states, then inputs)."""
    system = task.system
    if i < system.nx:
        ax.axhline(task.target()[i], color=MUTED, lw=0.8, ls=(0, (5, 4)), zorder=1)
        low, high = (bound[i] for bound in task.control.state_bounds)
    else:
        low, high = system.inputs[i - system.nx].low, system.inputs[i - system.nx].high
    if np.isfinite(low) and np.isfinite(high):
        room = 0.12 * (high - low)
        ax.set_ylim(low - room, high + room)
        ax.axhspan(low - room, low, color=MUTED, alpha=0.15, lw=0)
        ax.axhspan(high, high + room, color=MUTED, alpha=0.15, lw=0)


def replan_gap(task: Task, run: Run) -> float:
    """RMS difference of the angles between plan and plant when the next plan is due [rad]."""
    assert run.trajectory.x is not None
    every, angles, gaps = task.control.every, list(task.system.angle_rows), []
    for t, plan in run.plans:
        k = round((t - run.trajectory.t[0]) / task.dt) + every
        if k < len(run.trajectory.x) and every < len(plan.x) and plan.usable:
            gaps.append(plan.x[every, angles] - run.trajectory.x[k, angles])
    return float(np.sqrt(np.mean(np.square(gaps)))) if gaps else float("nan")


def _faithful(record: Record, planners: Sequence[str]) -> str:
    task = record.task
    ahead = 1e3 * task.control.every * task.dt
    parts = []
    for planner in planners:
        gaps = {row: replan_gap(task, record.runs[planner, row]) for row in record.models}
        others = ", ".join(f"{row} {gaps[row]:.2g}" for row in ordered(gaps) if row != "hybrid")
        parts.append(
            f"{gaps['hybrid']:.2g} rad rms with {PLANNER_NAMES.get(planner, planner)} ({others})"
        )
    return (
        f"When the next plan is due, after {ahead:g} ms, the plant has left the hybrid's plan by "
        + listed(parts)
        + "."
    )


def _share(ms: np.ndarray, deadline: float) -> float:
    return float(np.mean(ms <= deadline))


def _in_time(record: Record, planners: Sequence[str], deadline: float) -> str:
    parts = []
    for planner in planners:
        ms = record.runs[planner, "hybrid"].milliseconds()
        parts.append(
            f"{100 * _share(ms, deadline):.0f} % with {PLANNER_NAMES.get(planner, planner)} "
            f"(median {np.median(ms):.0f} ms)"
        )
    return (
        f"Of the hybrid's plans, {listed(parts)} were ready within the {deadline:g} ms until the "
        "next was due, on the machine of this run."
    )
