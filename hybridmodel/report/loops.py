"""The time that planning took."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator

from hybridmodel.demo.record import Record
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
    svg,
)


def planners_of(record: Record) -> list[str]:
    return list(dict.fromkeys(planner for planner, _ in record.runs))


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
