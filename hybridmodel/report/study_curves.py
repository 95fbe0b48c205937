"""What data and time buy: recovered fraction over seconds of data, cost over time per plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from hybridmodel.report.drawing import INK, MUTED, Picture, canvas, grid, listed, svg
from hybridmodel.report.study_drawing import (
    COLUMNS,
    colour,
    fraction_axis,
    kept,
    key,
    log_axis,
    marks_of,
    nothing,
    panels,
    planner_legend,
    rows_of_panels,
    shown,
)
from hybridmodel.report.study_findings import Findings, called, middle
from hybridmodel.study.grid import OWN
from hybridmodel.study.measures import CEILING, Kind


def learning_picture(found: Findings) -> Picture:
    """Recovered fraction over seconds of data: one panel for each system."""
    fitted = [k for k in found.every_kind if k[2] > 0 and k[1] in ("", OWN)]
    seconds = sorted({k[2] for k in fitted})
    if len(seconds) < 2:
        data = f"{seconds[0]:g} s of data alone" if seconds else "no data"
        return nothing(f"No learning curves: models were fitted to {data}.")
    drawn = list(dict.fromkeys(k[0] for k in fitted))
    apart = (seconds[-1] / seconds[0]) ** 0.012  # so that marks do not hide each other
    if not any(found.of(kind) for kind in fitted):
        return nothing("No learning curves: there is no place with a gap to recover.")
    with canvas(2.15 * rows_of_panels(len(found.systems)) + 0.2) as figure:
        for ax, system in zip(
            panels(figure, len(found.systems), sharey=True), found.systems, strict=True
        ):
            ax.set_title(system)
            fraction_axis(ax)
            empty = True
            for i, model in enumerate(drawn):
                kinds = [k for k in fitted if k[0] == model]
                empty &= not _curve(ax, found, system, kinds, apart ** (i - len(drawn) / 2))
            ax.set_xscale("log")
            ax.set_xticks(seconds, [f"{s:g}" for s in seconds])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xlim(seconds[0] / 1.2, seconds[-1] * 1.2)
            ax.set_xlabel("data [s]")
            grid(ax)
            if empty:
                _say(ax, "no place with a gap")
        image = svg(figure)
    reading = (
        "Medians over effects and planners of the median over seeds; bars: their 95 % bootstrap "
        "intervals over places. Fractions below −1 lie on the lower edge. A single mark: a model "
        "that was fitted to one amount of data alone."
    )
    return Picture(image, _learned(found, fitted), reading, key(fitted))


def _curve(ax: Axes, found: Findings, system: str, kinds: Sequence[Kind], shift: float) -> bool:
    """One model's line; whether there was anything to draw."""
    points = []
    for kind in kinds:
        values = [each.median for each in found.of(kind) if each.place[0] == system]
        if values:
            points.append((kind[2] * shift, *map(kept, middle(values))))
    if not points:
        return False
    x, y, low, high = np.array(points).T
    main = kinds[0][0] == "hybrid"
    style = {"color": colour(kinds[0]), "lw": 2.2 if main else 1.4}
    ax.vlines(x, low, high, color=colour(kinds[0]), lw=1.0, alpha=0.6)
    ax.plot(x, y, "o-", ms=4.5 if main else 3.5, zorder=3 if main else 2, **style)
    return True


def _learned(found: Findings, fitted: Sequence[Kind]) -> str:
    parts = []
    for model in dict.fromkeys(k[0] for k in fitted):
        kinds = [k for k in fitted if k[0] == model]
        ends = []
        for kind in (kinds[0], kinds[-1]):
            if values := [each.median for each in found.of(kind)]:
                ends.append(f"{shown(float(np.median(values)))} with {kind[2]:g} s")
        if len(kinds) > 1 and len(ends) == 2:
            parts.append(f"{model} {' and '.join(ends)}")
    return f"Recovered in the median over all places: {'; '.join(parts)}." if parts else ""


def pareto_picture(found: Findings) -> Picture:
    """Cost relative to the oracle's against time per plan: one panel for each system."""
    points = {system: _points(found, system) for system in found.systems}
    systems = [system for system in found.systems if points[system]]
    if not systems:
        return nothing("No costs beside the oracle’s: it has not run, or no plan was timed.")
    marks = marks_of(found.planners)
    with canvas(2.3 * rows_of_panels(len(systems)) + 0.2) as figure:
        axes = panels(figure, len(systems))
        for ax, system in zip(axes, systems, strict=True):
            ax.set_title(system)
            there = points[system]
            front = _front([(ms, ratio) for _, _, ms, ratio in there])
            ax.step(*np.array(front).T, where="post", color=MUTED, lw=0.8, zorder=1)
            for kind, planner, ms, ratio in there:
                face = colour(kind) if kind[0] != CEILING else "none"
                ax.plot(ms, ratio, marks[planner], ms=6, mfc=face, mec=colour(kind), alpha=0.85)
            ax.axhline(1, color=INK, lw=0.8, ls=(0, (5, 3)), zorder=0.5)
            ax.margins(0.12)
            log_axis(ax, "x")
            log_axis(ax, "y")
            ax.set_xlabel("time per plan [ms]")
            grid(ax, "both")
        for ax in axes[::COLUMNS]:
            ax.set_ylabel("cost / oracle’s cost")
        planner_legend(axes[0], found.planners)
        image = svg(figure)
    reading = (
        "A mark is a model with a planner: medians over effects, the cost over seeds divided by "
        "that of the oracle with the same planner. The grey steps join what no other undercuts in "
        "both. Shapes are planners, colours are models; the oracle is open."
    )
    return Picture(image, _cheapest(found, points), reading, key(found.kinds))


def _points(found: Findings, system: str) -> list[tuple[Kind, str, float, float]]:
    """(kind, planner, ms per plan, cost / oracle's)."""
    ceiling = found.best(CEILING)
    points = []
    for kind in found.kinds if ceiling else ():
        for planner in found.planners:
            times, ratios = [], []
            for place in found.places:
                if place[0] != system or place[2] != planner or ceiling is None:
                    continue
                ms = found.median("ms per plan", place, kind)
                cost, least = (found.cost(place, k) for k in (kind, ceiling))
                if ms and cost and least and min(cost, least, ms) > 0 and np.isfinite(cost):
                    times.append(ms)
                    ratios.append(cost / least)
            if times:
                points.append((kind, planner, float(np.median(times)), float(np.median(ratios))))
    return points


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What no other point undercuts in both, from the fastest on."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def _cheapest(found: Findings, points: dict[str, list[tuple[Kind, str, float, float]]]) -> str:
    parts = []
    for kind in found.kinds:
        if kind[0] == CEILING:
            continue
        ratios = [r for there in points.values() for k, _, _, r in there if k == kind]
        if ratios:
            parts.append(f"{called(kind)} {shown(float(np.median(ratios)))}")
    if not parts:
        return "Only the oracle has run."
    return f"Cost over the oracle’s, in the median over systems and planners: {listed(parts)}."


def _say(ax: Axes, words: str) -> None:
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", color=MUTED)
