"""Pictures of the errors that matter for control: queries, exploitation, compounding, events."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from hybridmodel.evaluation import Evaluation
from hybridmodel.files import write_atomically
from hybridmodel.report.drawing import (
    COLOURS,
    INK,
    MUTED,
    Picture,
    canvas,
    grid,
    label_ends,
    ordered,
    plain,
    svg,
    times,
)
from hybridmodel.rl.exploitation import ExploitationGap
from hybridmodel.rl.queries import COLUMNS, QueryErrors
from hybridmodel.rl.rare_events import EventErrors


def query_picture(found: Mapping[str, QueryErrors]) -> Picture:
    """Error on held-out logs, on what was executed and on what plans asked, by row and step.

    Raises ValueError where rows were not measured after the same steps.
    """
    rows = _rows(found)
    steps = next(iter(found.values())).steps
    if any(errors.steps != steps for errors in found.values()):
        raise ValueError(f"found must have the same steps in all rows: {[*found]}")
    with canvas(3.0) as figure:
        panels = figure.subplots(1, len(steps), squeeze=False)[0]
        for ax, step in zip(panels, steps, strict=True):
            for i, row in enumerate(rows):
                ends = [100 * found[row].at(column, step) for column in COLUMNS]
                middles = [100 * found[row].median(column, step) for column in COLUMNS]
                x = np.arange(len(COLUMNS)) + 0.12 * (i - (len(rows) - 1) / 2)
                ax.plot(x, ends, "o-", color=COLOURS.get(row, INK), ms=5, lw=1.2)
                ax.plot(x, middles, "_", color=COLOURS.get(row, INK), ms=9, mew=1.6)
            ax.set_xticks(range(len(COLUMNS)), COLUMNS)
            ax.set_xlim(-0.5, len(COLUMNS) - 0.5)
            ax.set_title(f"after {step} step{'s' if step > 1 else ''}")
            _log(ax)
        panels[0].set_ylabel("error [% of range]")
        label_ends(panels[-1], {row: 100 * found[row].at("queried", steps[-1]) for row in rows})
        image = svg(figure)
    best = rows[-1]
    at = {column: 100 * found[best].at(column, steps[0]) for column in COLUMNS}
    beside = f"its error on held-out logs ({at['held out']:.2g} %)"
    if at["held out"] > 0:
        beside = f"{times(at['queried'] / at['held out'])} times {beside}"
    else:
        beside = f"beside {beside}"
    finding = (
        f"Where its plans ask, {best} is off by {at['queried']:.2g} % of the range after "
        f"{_counted(steps[0])}, {beside}."
    )
    count, dropped = len(found[best].errors["queried"]), found[best].dropped
    reading = (
        "Dots: root mean square; bars: the middle window. Held out: logs of excitations. Executed: "
        f"the closed loop's own. Queried: {count} pieces of plans, states that a plan expected and "
        "inputs that it chose, from which the plant was started"
        f"{f'; {dropped} more that it could not follow to their end are left out' * (dropped > 0)}."
    )
    return Picture(image, finding, reading)


def exploitation_picture(found: Mapping[str, ExploitationGap]) -> Picture:
    """What plans promised against what the plant asked for the same inputs, by horizon.

    Costs may have any sign: gaps are shares of the mean size of the realised cost at that horizon.
    """
    rows = _rows(found)
    with canvas(3.2) as figure:
        by_step, whole = figure.subplots(1, 2, width_ratios=[1.5, 1])
        for row in rows:
            gap, colour = found[row], COLOURS.get(row, INK)
            low, middle, high = 100 * gap.quantiles((0.1, 0.5, 0.9))
            h = np.arange(1, len(middle) + 1)
            by_step.fill_between(h, low, high, color=colour, alpha=0.15, lw=0)
            by_step.plot(h, middle, color=colour, lw=2.2 if row == "hybrid" else 1.4)
            whole.plot(*gap.total.T, "o", ms=3.5, mew=0, alpha=0.6, color=colour)
        longest = max(found[row].predicted.shape[1] for row in rows)
        by_step.axhline(0, color=INK, lw=0.8, ls=(0, (5, 3)))
        by_step.set_xlim(0, longest)
        by_step.set_xlabel(f"steps counted ({1e3 * next(iter(found.values())).dt:g} ms each)")
        by_step.set_ylabel("realised − predicted [% of |realised|]")
        by_step.set_title("Gap by horizon")
        by_step.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        grid(by_step)
        totals = np.concatenate([found[row].total for row in rows])
        _diagonal(whole, totals[np.isfinite(totals)])
        whole.set_title("Whole plans, terminal cost included")
        whole.set_xlabel("predicted cost")
        whole.set_ylabel("realised cost")
        grid(whole)
        label_ends(by_step, {row: 100 * found[row].quantiles((0.5,))[0, -1] for row in rows})
        image = svg(figure)
    best = found[rows[-1]]
    middle = 100 * float(best.quantiles((0.5,))[0, -1])
    finding = (
        f"Over all {best.predicted.shape[1]} steps the plant's cost lies {abs(middle):.2g} % of "
        f"its mean size {'above' if middle >= 0 else 'below'} what {rows[-1]} promised (median of "
        f"{len(best.t)} plans), and {100 * best.optimism()[-1]:.0f} % of its plans promised too "
        "much."
    )
    reading = (
        "Each plan's inputs were applied to the plant without feedback, from the state where the "
        "plan begins. Lines: median over plans of (realised − predicted), divided by the mean of "
        "|realised| over plans; shaded: 10 to 90 %. Right: a dot is a plan, above the diagonal it "
        "cost more than promised."
    )
    return Picture(image, finding, reading)


def compounding_picture(found: Mapping[str, Evaluation], *, dt: float) -> Picture:
    """Free-run error by step against what a one-step error would be if errors only added.

    Raises ValueError where rows have different horizons, or one of a single step.
    """
    rows = _rows(found)
    lengths = {row: len(found[row].rmse) for row in rows}
    if min(lengths.values()) < 2 or len(set(lengths.values())) > 1:
        raise ValueError(
            f"found must be free runs of the same number of steps, 2 or more: {lengths}"
        )
    steps = np.arange(1, lengths[rows[0]] + 1)
    with canvas(3.0, 6.5) as figure:
        ax = figure.subplots()
        for row in rows:
            curve = 100 * found[row].curve()
            colour = COLOURS.get(row, INK)
            ax.plot(steps, curve, color=colour, lw=2.2 if row == "hybrid" else 1.4)
            ax.plot(steps, curve[0] * steps, color=colour, lw=0.9, ls=(0, (4, 3)))
        ax.set_xscale("log")
        ax.set_xlim(1, steps[-1])
        ax.xaxis.set_major_formatter(FuncFormatter(plain))
        ax.set_xlabel(f"steps ahead ({1e3 * dt:g} ms each)")
        ax.set_ylabel("rms error [% of range]")
        _log(ax)
        label_ends(ax, {row: 100 * found[row].curve()[-1] for row in rows})
        image = svg(figure)
    best = rows[-1]
    curve = found[best].curve()
    added = curve[0] * len(curve)
    finding = f"After {len(curve)} steps {best} is off by {100 * curve[-1]:.2g} % of the range"
    if curve[-1] > 0 and added > 0:
        factor = curve[-1] / added
        finding += (
            f", {times(max(factor, 1 / factor))} times {'more' if factor > 1 else 'less'} than "
            f"{len(curve)} one-step errors in a row"
        )
    finding += "."
    reading = (
        "Root mean square over free runs. Dashed: the one-step error times the number of steps. "
        "Above it errors feed on themselves, below it they partly cancel or the motion forgets "
        "them."
    )
    return Picture(image, finding, reading)


def event_picture(found: Mapping[str, EventErrors], *, event: str) -> Picture:
    """Error of windows with an event, "contact" say, beside that of windows without."""
    rows = _rows(found)
    with canvas(0.5 * len(rows) + 1.1, 6.5) as figure:
        ax = figure.subplots()
        for height, row in enumerate(rows):
            for kind, share in ((0.14, found[row].event), (-0.14, found[row].quiet)):
                low, high = (100 * end for end in share.interval)
                face = COLOURS.get(row, INK) if kind > 0 else "white"
                if np.isfinite(high):
                    ax.plot([low, high], [height + kind] * 2, color=COLOURS.get(row, INK), lw=1.2)
                ax.plot(
                    100 * share.rmse,
                    height + kind,
                    "o",
                    ms=6,
                    mfc=face,
                    mec=COLOURS.get(row, INK),
                )
            ax.annotate(
                f"{times(found[row].ratio)} ×",
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
            label.set_color(COLOURS.get(row, INK))
        ax.set_ylim(-0.5, len(rows) - 0.5)
        ax.tick_params(axis="y", length=0)
        if all(share.rmse > 0 for row in rows for share in (found[row].event, found[row].quiet)):
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            ax.xaxis.set_minor_locator(LogLocator(subs=()))
        ax.xaxis.set_major_formatter(FuncFormatter(plain))
        any_of = found[rows[-1]]
        ax.set_xlabel(f"error over {any_of.horizon} steps [% of range]")
        grid(ax, "x")
        image = svg(figure)
    low, high = any_of.ratio_interval
    finding = (
        f"Windows with {event} are {times(any_of.ratio)} times as wrong as those without for "
        f"{rows[-1]} ({low:.2g} to {high:.2g}); they are {any_of.event.windows} of "
        f"{any_of.event.windows + any_of.quiet.windows} windows, from {any_of.event.logs} logs."
    )
    reading = (
        f"Filled: windows of {any_of.horizon} steps with {event}; open: without. Lines: "
        f"{100 * any_of.level:g} % intervals by bootstrap over whole logs."
    )
    return Picture(image, finding, reading)


def write_pictures(
    path: str | os.PathLike[str], pictures: Mapping[str, Picture], *, title: str
) -> Path:
    """Write pictures under their headings into one HTML file that needs nothing else."""
    source = importlib.resources.files("hybridmodel.report").joinpath("pictures.html.j2")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(source.read_text(encoding="utf-8")).render(
        title=title, pictures=pictures, colours=COLOURS
    )
    where = Path(path)
    write_atomically(where, page.encode())
    return where


def control_error_pictures(
    queries: Mapping[str, QueryErrors],
    gaps: Mapping[str, ExploitationGap],
    free_runs: Mapping[str, Evaluation],
    events: Mapping[str, EventErrors] | None = None,
    *,
    dt: float,
    event: str = "an event",
) -> dict[str, Picture]:
    """All pictures under their headings, those of events where there are some."""
    found = {
        "Where plans ask": query_picture(queries),
        "Promised and paid": exploitation_picture(gaps),
        "How errors grow": compounding_picture(free_runs, dt=dt),
    }
    return found if events is None else found | {"Rare events": event_picture(events, event=event)}


def _rows(found: Mapping[str, object]) -> list[str]:
    """Known rows in drawing order, the hybrid last, others before them. ValueError for none."""
    if not found:
        raise ValueError("found must hold at least one row")
    return [*(row for row in found if row not in COLOURS), *ordered(found)]


def _diagonal(ax: Axes, totals: np.ndarray) -> None:
    """The line of promises that are kept, on axes that show all costs, whatever their sign."""
    low, high = (totals.min(), totals.max()) if len(totals) else (0.0, 1.0)
    wide = low > 0 and high > 30 * low
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    span = (0.9 * low, 1.1 * high) if wide else (low - margin, high + margin)
    ax.plot(span, span, color=INK, lw=0.8, ls=(0, (5, 3)))
    for axis, scale in ((ax.xaxis, ax.set_xscale), (ax.yaxis, ax.set_yscale)):
        if wide:
            scale("log")
            axis.set_minor_locator(LogLocator(subs=()))
        else:
            axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(plain))


def _log(ax: Axes) -> None:
    """A logarithmic axis, where something is there to be shown on one."""
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()])
    if not (drawn > 0).all():
        ax.yaxis.set_major_formatter(FuncFormatter(plain))
        grid(ax)
        return
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    wide = np.log10(high / low) > 1.6
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    ax.yaxis.set_minor_locator(LogLocator(subs=()))
    ax.yaxis.set_major_formatter(FuncFormatter(plain))
    grid(ax)


def _counted(steps: int) -> str:
    return "one step" if steps == 1 else f"{steps} steps"
