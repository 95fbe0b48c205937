"""The heat map of a study: what each model recovers, under every effect and planner."""

from __future__ import annotations

import bisect
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from hybridmodel.files import write_atomically
from hybridmodel.report.drawing import INK, MUTED, RULE, WIDTH, Picture, canvas, listed, svg
from hybridmodel.report.study_drawing import nothing, shown
from hybridmodel.report.study_findings import (
    GOOD,
    Findings,
    called,
    kind_of,
    place_of,
    read_findings,
)
from hybridmodel.study.measures import Kind, Place, Recovered

EDGES = (-1.0, -0.5, 0.0, 0.4, GOOD)
FACES = ("#8f3b05", "#d98a3d", "#f8dfbc", "#e2ecf5", "#97c0e2", "#14609f")  # brown bad, blue good
TEXTS = ("#ffffff", "#10161c", "#10161c", "#10161c", "#10161c", "#ffffff")
CLASSES = ("below −1", "−1 … −0.5", "−0.5 … 0", "0 … 0.4", "0.4 … 0.8", "0.8 and more")
ROW, HEAD, FOOT, LEFT, GAP, BETWEEN = 0.33, 0.52, 0.5, 2.25, 0.55, 0.14  # in
BELOW, NARROW = 0.25, 0.52  # in


def matrix_picture(found: Findings) -> Picture:
    """The heat map, or in words why there is none."""
    if not found.compared or not found.places:
        return nothing("There is no closed loop of a model that could recover anything.")
    with canvas(_height(found)) as figure:
        draw_matrix(figure, found)
        image = svg(figure)
    reading = (
        "Each number: interquartile mean over seeds of (J − J physics) / (J oracle − J physics, "
        "medians), J "
        "the cost of the closed loop; 0 is no better than the nominal physics, 1 as good as the "
        "oracle, which knows what is hidden. Small: 95 % bootstrap interval, and the number of "
        "seeds in brackets where some are missing. “gap”: by what share of the physics’ cost the "
        "oracle undercuts it (medians over seeds); below 10 % there is nothing to recover."
    )
    return Picture(image, _finding(found), reading)


def write_matrix(folder: str | Path, path: str | Path) -> Path:
    """Write the heat map of a study's folder alone into a PNG file and return its path.

    Raises ValueError where the folder holds no table, or no model that could recover anything.
    """
    found, where = read_findings(folder), Path(path)
    if not found.compared or not found.places:
        raise ValueError(f"folder {folder} holds no closed loop of a model that could recover")
    with canvas(_height(found)) as figure:
        draw_matrix(figure, found)
        figure.patch.set_facecolor("white")
        buffer, small = io.BytesIO(), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160)
    with Image.open(buffer) as image:
        flat = image.convert("RGB").quantize(
            128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
    flat.save(small, format="PNG", optimize=True)
    write_atomically(where, small.getvalue())
    return where


def draw_matrix(figure: Figure, found: Findings) -> None:
    """Rows system × effect, columns planner × model, in inches from the upper left corner."""
    figure.set_layout_engine("none")
    width, height = figure.get_size_inches()
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_axis_off()
    under, tall = bands(found), _tall(found)
    for i, planners in enumerate(under):
        _band(ax, found, planners, i * tall, width - 0.1)
    _legend(ax, len(under) * tall - BELOW + 0.2, width - 0.1)


def _band(ax: Axes, found: Findings, planners: Sequence[str], top: float, most: float) -> None:
    """Planners beside each other, from `top` down and as wide as `most`."""
    kinds = found.compared
    cell = min(1.3, _cell_width(len(planners), len(kinds), most))
    starts = [LEFT + i * (GAP + len(kinds) * cell + BETWEEN) for i in range(len(planners))]
    right = starts[-1] + GAP + len(kinds) * cell
    middle = top + HEAD - 0.16
    for x, planner in zip(starts, planners, strict=True):
        ax.text(x + GAP, top + 0.13, planner, weight="bold", va="center")
        ax.text(x + GAP - 0.08, middle, "gap", color=MUTED, ha="right", va="center", fontsize=7)
        for i, kind in enumerate(kinds):
            name = called(kind).replace(" (", "\n(")
            at = x + GAP + (i + 0.5) * cell
            ax.text(at, middle, name, ha="center", va="center", fontsize=7.5)
    before = ""
    for i, (system, effect) in enumerate(_pairs(found)):
        y = top + HEAD + i * ROW
        if system != before:
            ax.plot([0.05, right], [y, y], color=MUTED if i else INK, lw=0.6)
            ax.text(0.05, y + ROW / 2, system, weight="bold", va="center")
        ax.text(LEFT - 0.02, y + ROW / 2, effect, ha="right", va="center")
        for x, planner in zip(starts, planners, strict=True):
            place = system, effect, planner, found.plant
            _place(ax, found, place, (x, y), cell)
        before = system


def face_of(fraction: float) -> tuple[str, str]:
    """The colours of a cell and of its text, by the fraction as it is shown."""
    index = bisect.bisect_right(EDGES, round(fraction, 2))
    return FACES[index], TEXTS[index]


def _place(
    ax: Axes, found: Findings, place: Place, corner: tuple[float, float], cell: float
) -> None:
    """All models in one place."""
    (x, y), kinds = corner, found.compared
    gap = found.gaps.get(place)
    if gap is not None and math.isfinite(gap.share):
        share = f"{100 * gap.share:.0f} %".replace("-", "−")
        ax.text(
            *(x + GAP - 0.08, y + ROW / 2, share),
            color=MUTED,
            ha="right",
            va="center",
            fontsize=7,
        )
    if gap is None or gap.state != "gap":
        text = gap.state if gap else "physics or oracle is missing"
        hatch = "////" if gap else None
        _box(ax, x + GAP, y, len(kinds) * cell, face="none", hatch=hatch)
        ax.text(
            x + GAP + len(kinds) * cell / 2,
            y + ROW / 2,
            text,
            color=MUTED,
            ha="center",
            va="center",
            fontsize=7.5,
        )
        return
    here = {each.kind: each for each in found.fractions if each.place == place}
    for i, kind in enumerate(kinds):
        _cell(ax, found, (x + GAP + i * cell, y), cell, here.get(kind), _why(found, place, kind))


def _cell(
    ax: Axes,
    found: Findings,
    corner: tuple[float, float],
    width: float,
    each: Recovered | None,
    why: str,
) -> None:
    x, y = corner
    middle = x + width / 2
    if each is None:
        _box(ax, x, y, width, face="none")
        ax.text(middle, y + ROW / 2, why, color=MUTED, ha="center", va="center", fontsize=7)
        return
    face, ink = face_of(each.mean)
    _box(ax, x, y, width, face=face)
    seeds = len({row["seed"] for row in found.rows})
    few = f" ({len(each.fractions)})" * (len(each.fractions) < seeds)
    interval = " … ".join(map(shown, each.interval)) + few if len(each.fractions) > 1 else few
    style: dict[str, Any] = {"color": ink, "ha": "center", "va": "center"}
    high = y + ROW * (0.34 if interval else 0.5)
    ax.text(middle, high, shown(each.mean), weight="bold", fontsize=8.5, **style)
    ax.text(middle, y + 0.76 * ROW, interval.strip(), fontsize=5.6, **style)


def _box(
    ax: Axes, x: float, y: float, width: float, *, face: str, hatch: str | None = None
) -> None:
    edge: dict[str, Any] = {"edgecolor": RULE, "linewidth": 0.6}
    ax.add_patch(
        Rectangle(
            (x + 0.01, y + 0.012), width - 0.02, ROW - 0.024, facecolor=face, hatch=hatch, **edge
        )
    )


def _legend(ax: Axes, y: float, right: float) -> None:
    names = [*CLASSES, "nothing to recover"]
    told = "recovered share of the gap in cost\nbetween physics (0) and oracle (1)"
    ax.text(0.05, y + 0.07, told, va="center", fontsize=6.8, color=MUTED, linespacing=1.3)
    step = min(1.12, (right - LEFT + 0.2) / len(names))
    for i, name in enumerate(names):
        face, hatch = (FACES[i], None) if i < len(FACES) else ("none", "////")
        x = right - (len(names) - i) * step
        patch = Rectangle((x, y), 0.16, 0.14, facecolor=face, hatch=hatch, edgecolor=RULE, lw=0.6)
        ax.add_patch(patch)
        ax.text(x + 0.21, y + 0.07, name, va="center", fontsize=6.8, color=MUTED)


def _why(found: Findings, place: Place, kind: Kind) -> str:
    """Why a cell has no number."""
    states = {row["state"] for row in found.rows if place_of(row) == place and kind_of(row) == kind}
    if "done" in states:
        return "no number"
    return next((state for state in ("failed", "missing") if state in states), "–")


def _finding(found: Findings) -> str:
    parts = []
    for kind in found.compared:
        fractions = [each.mean for each in found.of(kind)]
        if fractions:
            good = sum(f >= GOOD for f in fractions)
            parts.append(f"{called(kind)} in {good} of {len(fractions)}")
    if not parts:
        return "There is no place with a gap between physics and oracle, so nothing to recover."
    return f"At least {GOOD:g} of the gap is recovered by {listed(parts)} places that have one."


def _pairs(found: Findings) -> list[tuple[str, str]]:
    """System and effect of each row."""
    return list(dict.fromkeys((system, effect) for system, effect, _, _ in found.places))


def _cell_width(planners: int, kinds: int, most: float) -> float:
    return (most - LEFT - planners * GAP - (planners - 1) * BETWEEN) / (planners * kinds)


def bands(found: Findings) -> list[list[str]]:
    """Planners, as many beside each other as leave room for numbers."""
    planners, kinds = found.planners, len(found.compared)
    fit = [n for n in range(1, len(planners) + 1) if _cell_width(n, kinds, WIDTH - 0.1) >= NARROW]
    each = max(fit, default=1)
    return [planners[i : i + each] for i in range(0, len(planners), each)]


def _tall(found: Findings) -> float:
    return HEAD + len(_pairs(found)) * ROW + BELOW


def _height(found: Findings) -> float:
    return len(bands(found)) * _tall(found) + FOOT - BELOW
