"""A picture of learning loops: what a policy was worth after how many real steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from hybridmodel.report.drawing import (
    COLOURS,
    INK,
    Picture,
    canvas,
    grid,
    label_ends,
    ordered,
    svg,
)
from hybridmodel.statistics import interquartile_mean, interval

History = Sequence[Mapping[str, Any]]


def learning_picture(found: Mapping[str, Sequence[History]]) -> Picture:
    """Return of evaluation episodes over real steps, of one row or several, each of some runs.

    found   `Learning.history` of each run, by row ("hybrid", "network")

    The headline is the interquartile mean over runs of each one's last evaluation: the best of all
    evaluations would be a maximum over noise. Raises ValueError where there is no row, a row has no
    run, or a run no evaluation.
    """
    if not found:
        raise ValueError("found must hold at least one row")
    for row, runs in found.items():
        if not runs or not all(h and all(len(e["trials"]) for e in h) for h in runs):
            raise ValueError(f"found: {row!r} needs runs with evaluation episodes: learn(trials=…)")
    rows = [*ordered(found), *(row for row in found if row not in ordered(found))]
    ends: dict[str, float] = {}
    last: dict[str, list[float]] = {}
    with canvas(3.2, 7.5) as figure:
        ax = figure.subplots()
        for row in rows:
            colour = COLOURS.get(row, INK)
            for history in found[row]:
                steps = [entry["steps"] for entry in history]
                for entry in history:
                    each = entry["trials"]
                    ax.plot([entry["steps"]] * len(each), each, ".", color=colour, alpha=0.25)
                ax.plot(steps, [np.mean(e["trials"]) for e in history], color=colour, lw=1.4)
            last[row] = [float(np.mean(h[-1]["trials"])) for h in found[row]]
            ends[row] = interquartile_mean(last[row])
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_xlabel("real steps")
        ax.set_ylabel("return")
        grid(ax)
        label_ends(ax, ends)
        image = svg(figure)
    told = []
    for row in rows:
        steps = max(h[-1]["steps"] for h in found[row])
        text = f"{row} {ends[row]:.4g} after {steps} real steps"
        if len(last[row]) > 1:
            low, high = interval(last[row])
            text += f" ({low:.4g} to {high:.4g}, {len(last[row])} runs)"
        told.append(text)
    return Picture(
        image,
        f"Return at the end: {', '.join(told)}.",
        "A line is a run, at the mean of its evaluation episodes (dots), which teach nothing and "
        "are not counted. At the end: the interquartile mean over runs, with its bootstrap "
        "interval where there are several.",
    )
