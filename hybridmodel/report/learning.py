"""Pictures of learning loops: what a policy was worth after how many real steps."""

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

History = Sequence[Mapping[str, Any]]


def learning_picture(found: Mapping[str, Sequence[History]]) -> Picture:
    """Return of evaluation episodes over real steps, of one row or several, each of some runs.

    found   `Learning.history` of each run, by row ("hybrid", "network")

    Raises ValueError where a row has no run, or a run no evaluation.
    """
    for row, runs in found.items():
        if not runs or not all(h and all(len(e["trials"]) for e in h) for h in runs):
            raise ValueError(f"found: {row!r} needs runs with evaluation episodes: learn(trials=…)")
    rows = [*ordered(found), *(row for row in found if row not in ordered(found))]
    ends: dict[str, float] = {}
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
            ends[row] = float(np.median([np.mean(h[-1]["trials"]) for h in found[row]]))
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_xlabel("real steps")
        ax.set_ylabel("return")
        grid(ax)
        label_ends(ax, ends)
        image = svg(figure)
    told = []
    for row in rows:
        best = max((entry for h in found[row] for entry in h), key=lambda e: np.mean(e["trials"]))
        told.append(f"{row} {np.mean(best['trials']):.4g} after {best['steps']} real steps")
    return Picture(
        image,
        f"Best return: {', '.join(told)}.",
        "A line is a run, at the mean of its evaluation episodes (dots), which teach nothing and "
        "are not counted.",
    )
