"""What the pictures of a study share: colours of models, marks of planners, panels, texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from hybridmodel.report.drawing import COLOURS, INK, Picture, plain
from hybridmodel.study.measures import Kind

MODEL_COLOURS: Mapping[str, str] = {
    **COLOURS,
    "ensemble": "#00897b",
    "windowed": "#b8860b",
    "adaptive": "#39a9dc",
    "randomised": "#8a63c9",
    "oracle": INK,
}
MARKS = ("o", "s", "^", "D", "v", "P")  # of planners
COLUMNS = 3  # of panels
LOWEST, HIGHEST = -1.0, 1.25  # fractions that are drawn where they are; others at the edge


def nothing(words: str) -> Picture:
    """In place of a picture that would be empty."""
    return Picture("", words)


def colour(kind: Kind) -> str:
    return MODEL_COLOURS.get(kind[0], INK)


def key(kinds: Sequence[Kind]) -> tuple[tuple[str, str], ...]:
    """The names of models for the key above a picture."""
    return tuple((name, name) for name in dict.fromkeys(kind[0] for kind in kinds))


def panels(figure: Figure, count: int, *, sharex: bool = False, sharey: bool = False) -> list[Axes]:
    """So many axes, in rows of three."""
    shape = rows_of_panels(count), min(COLUMNS, count)
    grid = figure.subplots(*shape, squeeze=False, sharex=sharex, sharey=sharey).ravel()
    for empty in grid[count:]:
        empty.set_axis_off()
    return list(grid[:count])


def rows_of_panels(count: int) -> int:
    return math.ceil(count / COLUMNS)


def shown(value: float) -> str:
    """A fraction to read: 0.87, −3.2, −31, −∞."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    text = f"{value:.2f}" if size < 2 else f"{value:.1f}" if size < 10 else f"{value:.0f}"
    if size >= 1000:
        text = f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def kept(value: float) -> float:
    """A fraction within what is drawn."""
    return float(np.clip(value, LOWEST, HIGHEST))


def fraction_axis(ax: Axes) -> None:
    """The y axis of recovered fractions, with the physics at 0 and the oracle at 1."""
    ax.set_ylim(LOWEST - 0.06, HIGHEST + 0.04)
    ax.set_yticks([-1, -0.5, 0, 0.5, 1], ["≤ −1", "−0.5", "physics 0", "0.5", "oracle 1"])
    for level in (0, 1):
        ax.axhline(level, color=INK, lw=0.8, ls=(0, (5, 3)), zorder=0.5)


def log_axis(ax: Axes, which: str) -> None:
    """A logarithmic axis with ticks that can be read, whatever its span."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    low, high = axis.get_view_interval()
    decades = math.log10(high / low) if low > 0 else 1.0
    if decades < 0.1:
        middle, half = math.sqrt(low * high), 10**0.05
        (ax.set_xlim if which == "x" else ax.set_ylim)(middle / half, middle * half)
    if decades < 0.5:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    else:
        subs = (1.0,) if decades > 2.2 else (1.0, 3.0) if decades > 1.4 else (1.0, 1.5, 2, 3, 5)
        axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(plain))


def marks_of(planners: Sequence[str]) -> dict[str, str]:
    """A mark for each planner."""
    return {planner: MARKS[i % len(MARKS)] for i, planner in enumerate(planners)}


def planner_legend(ax: Axes, planners: Sequence[str]) -> None:
    """Which mark is which planner; nothing where there is one alone."""
    if len(planners) < 2:
        return
    handles = [
        Line2D([], [], color=INK, ls="", marker=mark, ms=5, mfc="none", label=planner)
        for planner, mark in marks_of(planners).items()
    ]
    ax.legend(handles=handles, loc="best", frameon=False, fontsize=7.5, handletextpad=0.1)
