"""How every picture looks: a colour for each row, labels at the lines, SVG without references."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from hybridmodel.baselines import ROWS
from physics import Signal

COLOURS = {  # told apart with any colour vision, also by lightness
    "physics": "#7b838d",
    "identified": "#c97b00",
    "network": "#aa3377",
    "hybrid": "#0067b1",
}
INK, MUTED, RULE = "#1b2531", "#5b6672", "#d9dde2"
WIDTH = 10.0  # of a picture [in]; 720 units of its SVG
PLANNER_NAMES = {"gradient": "multiple shooting", "cem": "cross-entropy method"}
_VARIABLES = {  # colours of the page, which has others in the dark
    **{colour: f"var(--{row})" for row, colour in COLOURS.items()},
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
}
_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; the page puts its own in place
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 6,
    "axes.labelsize": 8.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.h_pad": 0.06,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "svg.fonttype": "none",
    "svg.hashsalt": "hybridmodel",
    "path.simplify": True,
}


@dataclass(frozen=True)
class Picture:
    """A picture with what it shows (from the data), how to read it, and the names of its lines.

    `image` is SVG text or a data URI; `key` holds (CSS class, name).
    """

    image: str
    finding: str
    reading: str = ""
    key: tuple[tuple[str, str], ...] = ()


@contextmanager
def canvas(height: float, width: float = WIDTH) -> Iterator[Figure]:
    """An empty figure [in] in the project's style, which ends with the block."""
    style: Any = {**matplotlib.rcParamsDefault, **_STYLE, "backend": "agg"}
    with matplotlib.rc_context(style):
        yield Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure) -> str:
    """The figure as an SVG element to be put into HTML: same figure, same text."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    text = f'<svg {box.group()} role="img">' + text[text.index(">") + 1 :]
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # would repeat from picture to picture
    text = text.replace("xlink:href", "href")
    text = re.sub(r' (d|x|y)="[^"]*"', lambda found: _rounded(found.group()), text)
    text = re.sub(r"(font: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1var(--sans)", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return re.sub(r"\n\s*", "\n", text).strip()


def label_ends(ax: Axes, values: Mapping[str, float], *, gap: float = 0.075) -> None:
    """Each row's name in its colour right of the axes, at the height where its line ends.

    A line that runs away, with a value that is not finite, ends at the top.

    Limits must be final. Names that would touch are moved apart to `gap` of the axes' height.
    """
    to_axes = ax.transData + ax.transAxes.inverted()
    x = ax.get_xlim()[1]
    wanted = {
        row: float(np.clip(to_axes.transform((x, y))[1], 0, 1)) if np.isfinite(y) else 1.0
        for row, y in values.items()
    }
    for row, height in zip(wanted, spread(list(wanted.values()), gap), strict=True):
        ax.annotate(
            row,
            (1, height),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS.get(row, INK),
            fontweight="bold" if row == "hybrid" else "normal",
            annotation_clip=False,
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights, moved as little as needed so that any two are at least `gap` apart."""
    order = np.argsort(heights, kind="stable")
    placed = np.array(heights, dtype=float)[order]
    for _ in range(100):
        for low in range(len(placed) - 1):
            short = gap - (placed[low + 1] - placed[low])
            if short > 1e-9:
                placed[low] -= short / 2
                placed[low + 1] += short / 2
    result = np.empty(len(placed))
    result[order] = placed
    return result.tolist()


def quantity(signal: Signal) -> str:
    """A signal's name and unit for an axis."""
    name = signal.name.replace("_", " ")
    return f"{name} [{signal.unit}]" if signal.unit else name


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def grid(ax: Axes, axis: str = "y") -> None:
    ax.grid(True, axis=axis)  # type: ignore[arg-type]
    ax.set_axisbelow(True)


def ticks_of_pi(ax: Axes) -> None:
    """Ticks of the y axis at multiples of π (of 2π where there are many)."""
    low, high = ax.get_ylim()
    step = np.pi * max(1, round((high - low) / (5 * np.pi)))
    ax.yaxis.set_major_locator(MultipleLocator(step))
    ax.yaxis.set_major_formatter(FuncFormatter(_times_pi))


def plain(value: float, _: object = None) -> str:
    """A number without an exponent: 0.01, 0.5, 20, 3000."""
    return f"{value:.10f}".rstrip("0").rstrip(".") if value else "0"


def or_inf(value: float) -> float:
    """The value; ∞ where a rollout ran away so far that it is not a number."""
    return float("inf") if np.isnan(value) else float(value)


def times(factor: float) -> str:
    """A ratio to read: 1.4, 12, 300."""
    return f"{factor:.2g}" if factor < 100 else f"{float(f'{factor:.2g}'):.0f}"


def ordered(rows: Mapping[str, Any]) -> list[str]:
    """The rows in drawing order, the hybrid on top."""
    return [row for row in ROWS if row in rows]


def _rounded(numbers: str) -> str:
    """Coordinates to a hundredth of a point, which nobody can see."""
    return re.sub(r"(\.\d\d)\d+", r"\1", numbers)


def _times_pi(value: float, _: object) -> str:
    count = round(value / np.pi)
    return {0: "0", 1: "π", -1: "−π"}.get(count, f"{count}π".replace("-", "−"))
