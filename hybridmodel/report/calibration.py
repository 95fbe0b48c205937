"""A picture of calibration: coverage by horizon, reliability, width."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from hybridmodel.report.drawing import COLOURS, INK, MUTED, RULE, Picture, canvas, grid, svg
from hybridmodel.uncertainty import Calibration
from hybridmodel.uncertainty.prediction import normal_half_width

BAND = 0.04  # around the level: what counts as held


def calibration_picture(found: Calibration) -> Picture:
    """Coverage against steps with the nominal band, observed share against level, width / RMSE."""
    with canvas(3.1) as figure:
        coverage, reliability, width = figure.subplots(1, 3, width_ratios=[1.4, 1, 1])
        _coverage(coverage, found)
        _reliability(reliability, found)
        _width(width, found)
        image = svg(figure)
    low, high = 100 * found.pooled.min(), 100 * found.pooled.max()
    finding = (
        f"Intervals for {100 * found.level:g} % hold {low:.1f} to {high:.1f} % of what was "
        f"measured, over all signals; they are {found.sharpness.mean():.2g} RMSE wide."
    )
    reading = (
        f"{found.windows} windows of held-out logs, each predicted from its measured start. Thin "
        "lines: single signals; thick: all. Shaded: the level ± 4 %. Below the diagonal a model "
        "is too sure of itself. Intervals include the noise of the sensors."
    )
    return Picture(image, finding, reading)


def _coverage(ax: Axes, found: Calibration) -> None:
    steps = np.arange(1, len(found.coverage) + 1)
    level = 100 * found.level
    ax.axhspan(level - 100 * BAND, level + 100 * BAND, color=RULE, alpha=0.5, lw=0)
    ax.axhline(level, color=INK, lw=0.8, ls=(0, (5, 3)))
    for signal in found.coverage.T:
        ax.plot(steps, 100 * signal, color=MUTED, lw=0.7)
    ax.plot(steps, 100 * found.pooled, color=COLOURS["hybrid"], lw=2.2)
    ax.set_ylim(max(0.0, min(70.0, 100 * found.coverage.min() - 3)), 100)
    ax.set_title(f"Inside the {level:g} % interval")
    ax.set_ylabel("share of windows [%]")
    _steps(ax, found)


def _reliability(ax: Axes, found: Calibration) -> None:
    levels = 100 * np.array(found.levels)
    ax.plot([0, 100], [0, 100], color=INK, lw=0.8, ls=(0, (5, 3)))
    for signal in found.reliability.T:
        ax.plot(levels, 100 * signal, color=MUTED, lw=0.7)
    pooled = 100 * found.reliability.mean(axis=1)
    ax.plot(levels, pooled, "o-", color=COLOURS["hybrid"], lw=2.2, ms=4)
    least = min(levels.min(), 100 * found.reliability.min()) - 5
    ax.set_xlim(least, 100)
    ax.set_ylim(least, 100)
    ax.set_title("Reliability, over all steps")
    ax.set_xlabel("level [%]")
    ax.set_ylabel("observed [%]")
    grid(ax)


def _width(ax: Axes, found: Calibration) -> None:
    steps = np.arange(1, len(found.coverage) + 1)
    ax.axhline(2 * normal_half_width(found.level), color=INK, lw=0.8, ls=(0, (5, 3)))
    for signal in found.sharpness.T:
        ax.plot(steps, signal, color=MUTED, lw=0.7)
    ax.plot(steps, found.sharpness.mean(axis=1), color=COLOURS["hybrid"], lw=2.2)
    ax.set_ylim(0, max(5.0, 1.1 * found.sharpness.max()))
    ax.set_title("Width / RMSE (dashed: Gaussian)")
    _steps(ax, found)


def _steps(ax: Axes, found: Calibration) -> None:
    ax.set_xlim(0, len(found.coverage))
    ax.set_xlabel(f"steps ahead ({1e3 * found.dt:g} ms each)")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    grid(ax)
