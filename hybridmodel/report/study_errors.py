"""Does prediction predict control, and do plans keep what they promise?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hybridmodel.report.drawing import INK, Picture, canvas, grid, listed, svg
from hybridmodel.report.study_drawing import (
    colour,
    fraction_axis,
    kept,
    key,
    log_axis,
    nothing,
    panels,
    rows_of_panels,
    shown,
)
from hybridmodel.report.study_findings import Findings, called
from hybridmodel.study.measures import Kind, Place

Points = Mapping[Place, Mapping[Kind, tuple[float, float]]]  # (error, fraction)


def prediction_picture(found: Findings) -> Picture:
    """Recovered fraction over open-loop error: one panel for each horizon."""
    by_steps = {k: points for k in horizons(found) if (points := _points(found, k))}
    if not by_steps:
        return nothing("No open-loop errors beside recovered fractions.")
    with canvas(2.6 * rows_of_panels(len(by_steps))) as figure:
        axes = panels(figure, len(by_steps), sharey=True)
        for ax, (steps, points) in zip(axes, by_steps.items(), strict=True):
            fraction_axis(ax)
            for kind in found.compared:
                here = [there[kind] for there in points.values() if kind in there]
                if here:
                    x, y = np.array(here).T
                    ax.plot(
                        *(100 * x, [kept(v) for v in y], "o"),
                        color=colour(kind),
                        ms=4,
                        mew=0,
                        alpha=0.65,
                    )
            log_axis(ax, "x")
            ax.set_title(f"after {steps} step{'s' if steps > 1 else ''}")
            ax.set_xlabel("open-loop error [% of range]")
            grid(ax, "both")
        image = svg(figure)
    reading = (
        "A dot is a model in one place (system, effect, planner): medians over seeds, errors on "
        "held-out logs. Rank correlations are taken within each place, among its models, and "
        "averaged: −1 where the better predictor always is the better in control."
    )
    return Picture(image, _agreement(by_steps), reading, key(found.compared))


def horizons(found: Findings) -> list[int]:
    """After how many steps open-loop errors are known."""
    names = {name for row in found.rows for name in row if name.startswith("error, ")}
    return sorted(int(name.split()[1]) for name in names)


def column(steps: int) -> str:
    return f"error, {steps} steps"


def _points(found: Findings, steps: int) -> Points:
    points: dict[Place, dict[Kind, tuple[float, float]]] = {}
    for kind in found.compared:
        for each in found.of(kind):
            error = found.median(column(steps), each.place, kind)
            if error is not None and 0 < error < np.inf:
                points.setdefault(each.place, {})[kind] = error, each.median
    return points


def _agreement(by_steps: Mapping[int, Points]) -> str:
    parts = []
    for steps, points in by_steps.items():
        several = [list(there.values()) for there in points.values() if len(there) > 1]
        if not several:
            continue
        same = sum(
            min(range(len(there)), key=lambda i, t=there: t[i][0])
            == max(range(len(there)), key=lambda i, t=there: t[i][1])
            for there in several
        )
        correlation = np.mean([rank_correlation(*np.array(there).T) for there in several])
        text = f"{correlation:.2f}".replace("-", "−")
        after = f"after {steps} step{'s' if steps > 1 else ''}"
        parts.append(f"{same} of {len(several)} by the error {after} (rank correlation {text})")
    if not parts:
        return "One model alone has a fraction in each place: there is nothing to rank."
    return f"Places in which the best predictor is also the best in control: {listed(parts)}."


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's ρ of values (n,), ties sharing their mean rank; 0 where all are the same."""
    ranks = [(v[:, None] > v).sum(1) + 0.5 * (v[:, None] == v).sum(1) for v in (first, second)]
    a, b = (r - r.mean() for r in ranks)
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0


def promise_picture(found: Findings) -> Picture:
    """What closed loops paid in shares of what their plans promised: by model and planner."""
    shares: dict[tuple[Kind, str], list[float]] = {}
    left_out = 0
    for (place, kind), rows in found.cells.items():
        if place not in found.places or kind not in found.kinds:
            continue
        for row in rows:
            promised, paid = (float(row.get(name, np.nan)) for name in ("promised", "paid"))
            if 0 < promised < np.inf and 0 < paid < np.inf:
                shares.setdefault((kind, place[2]), []).append(paid / promised)
            else:
                left_out += 1
    if not shares:
        return nothing("No plan’s promise was kept beside what it cost.")
    kinds = [k for k in found.kinds if any(kind == k for kind, _ in shares)][::-1]
    planners = [p for p in found.planners if any(planner == p for _, planner in shares)]
    with canvas((0.34 * len(kinds) + 0.85) * rows_of_panels(len(planners))) as figure:
        axes = panels(figure, len(planners), sharex=True, sharey=True)
        for ax, planner in zip(axes, planners, strict=True):
            ax.axvline(1, color=INK, lw=0.8, ls=(0, (5, 3)), zorder=0.5)
            for height, kind in enumerate(kinds):
                here = shares.get((kind, planner))
                if here:
                    offsets = 0.2 * np.sin(2.4 * np.arange(len(here)))  # so that dots do not hide
                    style = {"color": colour(kind), "ms": 2.5, "mew": 0, "alpha": 0.45}
                    ax.plot(here, height + offsets, "o", **style)
                    ax.plot([np.median(here)] * 2, [height - 0.36, height + 0.36], color=INK)
            ax.set_ylim(-0.6, len(kinds) - 0.4)
            ax.tick_params(axis="y", length=0)
            ax.set_title(planner)
            ax.set_xlabel("paid / promised")
            grid(ax, "x")
        axes[0].set_yticks(range(len(kinds)), [called(kind) for kind in kinds])
        for label, kind in zip(axes[0].get_yticklabels(), kinds, strict=True):
            label.set_color(colour(kind))
        log_axis(axes[0], "x")
        image = svg(figure)
    reading = (
        "What plans promised for their horizon, and what the loop then paid over it; right of 1 "
        "a plan was too hopeful. Each dot is a closed loop, the bar the median"
        f"{f'; {left_out} without such a ratio are left out' * (left_out > 0)}."
    )
    return Picture(image, _kept_promises(shares, kinds[::-1]), reading)


def _kept_promises(
    shares: Mapping[tuple[Kind, str], Sequence[float]], kinds: Sequence[Kind]
) -> str:
    parts = []
    for kind in kinds:
        pooled = np.concatenate([values for (k, _), values in shares.items() if k == kind])
        parts.append(f"{called(kind)} {shown(float(np.median(pooled)))}")
    return f"Paid over promised, in the median: {listed(parts)}."
