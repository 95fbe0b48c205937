"""What is hidden and what it costs: physics beside the oracle, and physics that knows one part."""

from __future__ import annotations

import numpy as np

from hybridmodel.report.drawing import INK, MUTED, Picture, canvas, grid, listed, svg, times
from hybridmodel.report.study_drawing import log_axis, nothing, panels, rows_of_panels
from hybridmodel.report.study_findings import Findings
from hybridmodel.study.attribution import PREFIX


def effect_picture(found: Findings) -> Picture:
    """Cost of physics over that of the oracle, by effect: one panel for each planner."""
    ratios = {
        place: found.gaps[place].physics / found.gaps[place].oracle
        for place in found.places
        if place in found.gaps
        and found.gaps[place].oracle > 0
        and found.gaps[place].physics > 0
        and np.isfinite(found.gaps[place].physics)
        and np.isfinite(found.gaps[place].oracle)
    }
    if not ratios:
        return nothing("Physics and oracle have not both run anywhere.")
    planners = [p for p in found.planners if any(place[2] == p for place in ratios)]
    effects = [e for e in found.effects if any(place[1] == e for place in ratios)][::-1]
    middles: dict[tuple[str, str], float] = {}
    with canvas((0.34 * len(effects) + 0.85) * rows_of_panels(len(planners))) as figure:
        axes = panels(figure, len(planners), sharex=True, sharey=True)
        for ax, planner in zip(axes, planners, strict=True):
            ax.axvline(1, color=INK, lw=0.8, ls=(0, (5, 3)), zorder=0.5)
            for height, effect in enumerate(effects):
                here = {p[0]: r for p, r in ratios.items() if p[1:3] == (effect, planner)}
                if not here:
                    continue
                middles[effect, planner] = float(np.median(list(here.values())))
                ax.plot(list(here.values()), [height] * len(here), "o", ms=4, mfc="none", mec=MUTED)
                ax.plot([middles[effect, planner]] * 2, [height - 0.3, height + 0.3], color=INK)
                worst = max(here, key=here.__getitem__)
                if len(here) > 1:
                    ax.annotate(
                        worst,
                        (here[worst], height),
                        xytext=(0, 4.5),
                        textcoords="offset points",
                        ha="center",
                        fontsize=6.5,
                        color=MUTED,
                    )
            ax.set_yticks(range(len(effects)), effects)
            ax.set_ylim(-0.6, len(effects) - 0.3)
            ax.tick_params(axis="y", length=0)
            ax.set_title(planner)
            ax.set_xlabel("cost of physics / cost of oracle")
            grid(ax, "x")
        log_axis(axes[0], "x")
        image = svg(figure)
    parts = []
    for planner in planners:
        there = {e: m for (e, p), m in middles.items() if p == planner}
        worst = max(there, key=there.__getitem__)
        parts.append(f"{planner} by “{worst}” ({times(there[worst])} times the oracle’s cost)")
    finding = f"The nominal physics is hurt most with {listed(parts)}."
    reading = (
        "A circle is a system, the bar their median, the name that of the system which is hurt "
        "most. Left of 1 the oracle is the worse of the two."
    )
    return Picture(image, finding, reading)


def attribution(found: Findings) -> list[tuple[str, str, list[tuple[str, float]]]]:
    """System, effect, and what physics regains by knowing one part, the largest first.

    Medians over planners and seeds on the logged plant; none where no part was tried by itself.
    """
    pooled: dict[tuple[str, str], dict[str, list[float]]] = {}
    for each in found.fractions:
        if each.kind[0].startswith(PREFIX) and each.place[3] == found.plant:
            parts = pooled.setdefault(each.place[:2], {})
            name = each.kind[0].removeprefix(PREFIX).replace("_", " ")
            parts.setdefault(name, []).extend(each.fractions.values())
    rows = []
    for (system, effect), parts in pooled.items():
        regained = {name: float(np.median(values)) for name, values in parts.items()}
        rows.append((system, effect, sorted(regained.items(), key=lambda item: -item[1])))
    return rows
