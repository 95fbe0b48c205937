"""Pictures of prediction error and of learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from hybridmodel.demo.record import STEPS, Record
from hybridmodel.report.drawing import (
    COLOURS,
    INK,
    MUTED,
    Picture,
    canvas,
    grid,
    label_ends,
    or_inf,
    ordered,
    plain,
    quantity,
    svg,
    times,
)
from physics import System, tangent

RUNAWAY = 1000.0  # times the least error at the end of an axis: what is above is not drawn
MOST_PANELS = 6  # beyond that signals of one unit share one, as their rms
CONVERGED = 0.03  # share of the validation error that ten more epochs may still bring


def error_by_horizon(record: Record) -> Picture:
    """Free-run error against the number of steps, over all states and for each."""
    errors, dt = record.errors, record.task.dt
    panels = panels_of(record.task.system)
    columns = 2 if len(panels) > 1 else 1
    lines = -(-len(panels) // columns)
    steps = np.arange(1, len(next(iter(errors.values())).rmse) + 1)
    with canvas(3.7) as figure:
        layout = figure.add_gridspec(lines, 1 + columns, width_ratios=[1.6] + [1] * columns)
        whole = figure.add_subplot(layout[:, 0])
        for row in ordered(errors):
            curve = _drawable(100 * errors[row].curve())
            _line(whole, row, steps, curve)
            at = [k for k in STEPS if k <= len(curve)]
            whole.plot(at, curve[np.array(at) - 1], "o", color=COLOURS[row], ms=4, clip_on=False)
        _log_axis(whole, [_drawable(100 * error.curve()) for error in errors.values()])
        whole.set_title("All states, each scaled by its range")
        whole.set_ylabel("rms error [% of range]")
        _step_axis(whole, len(steps), dt)
        label_ends(whole, {row: 100 * error.curve()[-1] for row, error in errors.items()})
        for i, (title, signals) in enumerate(panels.items()):
            ax = figure.add_subplot(layout[i // columns, 1 + i % columns])
            curves = {
                row: _drawable(np.sqrt(np.mean(error.rmse[:, signals] ** 2, axis=1)))
                for row, error in errors.items()
            }
            for row in ordered(errors):
                _line(ax, row, steps, curves[row])
            _log_axis(ax, list(curves.values()))
            ax.set_title(title)
            ax.set_xlim(0, len(steps))
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if i // columns == lines - 1:
                ax.set_xlabel("steps ahead")
            else:
                ax.tick_params(labelbottom=False)
        image = svg(figure)
    return Picture(image, _compare_errors(record), _how_errors(record))


def panels_of(system: System) -> dict[str, list[int]]:
    """Titles and tangent rows of what is drawn together: each signal, or all of one unit."""
    signals = tangent.signals(system.states)
    if len(signals) <= MOST_PANELS:
        return {quantity(signal): [i] for i, signal in enumerate(signals)}
    rotations = {
        name for s in system.states if s.quaternion for name in tangent.names(s.quaternion)
    }
    kinds: dict[tuple[str, bool], list[int]] = {}
    for i, signal in enumerate(signals):
        kinds.setdefault((signal.unit, signal.name in rotations), []).append(i)
    return {
        f"{_common([signals[i].name for i in rows])} [{unit}]": rows
        for (unit, _), rows in kinds.items()
    }


def _common(names: Sequence[str]) -> str:
    """What names have in common, and how many there are: "velocity x, y, z"."""
    texts = [name.replace("_", " ") for name in names]
    words = [text.split() for text in texts]
    kept = 0
    while all(len(w) > kept + 1 and w[kept] == words[0][kept] for w in words):
        kept += 1
    ends = [" ".join(w[kept:]) for w in words]
    middle = f"{ends[0]} … {ends[-1]}" if len(ends) > 3 else ", ".join(ends)
    return " ".join([*words[0][:kept], middle])


def learning_curves(record: Record) -> Picture | None:
    """Validation error by epoch of network and hybrid; None where nothing was recorded."""
    fits = {row: _restarts(record.metrics, row) for row in ("network", "hybrid")}
    fits = {row: segments for row, segments in fits.items() if segments}
    if not fits:
        return None
    levels = _levels(record)
    with canvas(3.1) as figure:
        panels = figure.subplots(1, len(fits), sharey=True, squeeze=False)[0]
        for ax, (row, segments) in zip(panels, fits.items(), strict=True):
            best = min(range(len(segments)), key=lambda k: segments[k][-1]["best"])
            for k, segment in enumerate(segments):
                shade = 1.0 if k == best else 0.35
                epochs = np.arange(1, len(segment) + 1)
                ax.plot(
                    epochs, _column(segment, "validation"), color=COLOURS[row], lw=0.7, alpha=0.6
                )
                ax.plot(epochs, _column(segment, "best"), color=COLOURS[row], lw=1.8, alpha=shade)
            longest = max(len(segment) for segment in segments)
            ax.set_xlim(0, longest * 1.02)
            ax.set_xlabel("epoch")
            _stages(ax, segments[best])
            ax.set_title(row, color=COLOURS[row], fontweight="bold", pad=16)
            for name, level in levels.items():
                ax.axhline(float(_drawable(level)), color=COLOURS[name], lw=1, ls=(0, (5, 3)))
        drawn = [_column(fit, "best") for segments in fits.values() for fit in segments]
        _log_axis(panels[0], [*drawn, *(_drawable([level]) for level in levels.values())])
        for ax, (row, segments) in zip(panels, fits.items(), strict=True):
            _sweep_ends(ax, record, row, segments, _rates(record, row, len(segments)))
        panels[0].set_ylabel("validation error [–]")
        for ax in panels[1:]:
            ax.yaxis.set_tick_params(labelleft=False)
            grid(ax)
        label_ends(panels[-1], {row: float(_drawable(level)) for row, level in levels.items()})
        image = svg(figure)
    longest = record.task.recipe.horizons[-1]
    reading = (
        f"Free-run error over {longest} steps on the validation logs, outputs scaled by their "
        "deviation. Thin: every epoch; thick: the best so far. The curriculum lengthens the "
        "rollouts that the loss sees. Dashed: the models without a network."
    )
    return Picture(image, _converged(fits), reading)


def _line(ax: Axes, row: str, x: np.ndarray, y: np.ndarray) -> None:
    ax.plot(x, y, color=COLOURS[row], lw=2.2 if row == "hybrid" else 1.4)


def _log_axis(ax: Axes, curves: Sequence[np.ndarray]) -> None:
    """A logarithmic y axis around the curves; one that runs away leaves at the top."""
    known = np.concatenate([curve[np.isfinite(curve) & (curve > 0)] for curve in curves])
    if not len(known):
        known = np.ones(1)
    lowest_end = min((c[-1] for c in curves if np.isfinite(c[-1]) and c[-1] > 0), default=1.0)
    low, high = 0.8 * known.min(), 1.25 * min(known.max(), RUNAWAY * lowest_end)
    decades = np.log10(high / low)
    subs = (1.0,) if decades > 2.6 else (1.0, 3.0) if decades > 1.6 else (1.0, 2.0, 5.0)
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_minor_locator(LogLocator(subs=()))
    ax.yaxis.set_major_formatter(FuncFormatter(plain))
    grid(ax)


def _step_axis(ax: Axes, count: int, dt: float) -> None:
    ax.set_xlim(0, count)
    ax.set_xlabel(f"steps ahead ({1e3 * dt:g} ms each)")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _compare_errors(record: Record) -> str:
    last = len(next(iter(record.errors.values())).rmse)
    last = max(k for k in STEPS if k <= last)
    at = {row: 100 * or_inf(error.at(last)) for row, error in record.errors.items()}
    rival = min((row for row in at if row != "hybrid"), key=at.__getitem__)
    seconds = last * record.task.dt
    if not np.isfinite(at["hybrid"]):
        return f"Within {last} steps ({seconds:.2g} s) the hybrid runs away."
    ahead = f"After {last} steps ({seconds:.2g} s) the hybrid is off by {at['hybrid']:.2g} %"
    if at["hybrid"] < at[rival]:
        factor = times(at[rival] / at["hybrid"])
        return (
            f"{ahead} of the states' range, {factor} times less than {rival} ({at[rival]:.2g} %)."
        )
    return f"{ahead} of the states' range; {rival} is better with {at[rival]:.2g} %."


def _how_errors(record: Record) -> str:
    first = next(iter(record.errors.values()))
    against = "the true states" if first.against == "x" else "the measured outputs"
    return (
        f"Root mean square over {first.windows} windows of {len(record.test)} held-out logs, "
        f"rolled out without correction and compared with {against}; angles are not wrapped, so "
        "a missed turn counts in full. Dots: the steps of the table."
    )


def _restarts(metrics: Sequence[Mapping[str, Any]], row: str) -> list[list[Mapping[str, Any]]]:
    """A row's epochs, cut wherever (stage, epoch) starts again."""
    fits: list[list[Mapping[str, Any]]] = []
    before = (0, 0)
    for epoch in metrics:
        if epoch["row"] != row:
            continue
        here = (epoch["stage"], epoch["epoch"])
        if not fits or here <= before:
            fits.append([])
        fits[-1].append(epoch)
        before = here
    return fits


def _column(segment: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return _drawable([epoch[name] for epoch in segment])


def _drawable(values: float | Sequence[float] | np.ndarray) -> np.ndarray:
    """The values, NaN where they have run away beyond what axes can hold."""
    array = np.asarray(values, dtype=float)
    return np.where(np.abs(array) < 1e9, array, np.nan)


def _levels(record: Record) -> dict[str, float]:
    """Validation error of the rows without a network."""
    rows = [epoch for epoch in record.metrics if epoch["row"] == "identified"]
    if not rows:
        return {}
    return {"physics": rows[0]["physics"], "identified": min(r["best"] for r in rows)}


def _stages(ax: Axes, segment: Sequence[Mapping[str, Any]]) -> None:
    """Where the curriculum lengthens the rollouts."""
    begin = 0
    for stage in sorted({epoch["stage"] for epoch in segment}):
        epochs = [epoch for epoch in segment if epoch["stage"] == stage]
        steps = epochs[0]["horizon"]
        if begin:
            ax.axvline(begin + 0.5, color=MUTED, lw=0.6, ls=(0, (1, 2)))
        ax.annotate(
            f"{steps} step{'s' if steps > 1 else ''}",
            (begin + 0.5 + len(epochs) / 2, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=MUTED,
            fontsize=7.5,
        )
        begin += len(epochs)


def _rates(record: Record, row: str, count: int) -> list[float]:
    """The step size of each fit in sequence; only the best one where that is all there is."""
    if row != "network":
        return [record.task.recipe.rate] * count
    sweep = {float(rate): error for rate, error in record.summary["network_sweep"].items()}
    if count == len(sweep):
        return list(sweep)
    return [min(sweep, key=sweep.__getitem__)] * count


def _sweep_ends(
    ax: Axes,
    record: Record,
    row: str,
    segments: Sequence[Sequence[Mapping[str, Any]]],
    rates: Sequence[float],
) -> None:
    """The validation error that every step size of the sweep ended with."""
    if row != "network":
        return
    sweep = {float(rate): error for rate, error in record.summary["network_sweep"].items()}
    x = max(len(segment) for segment in segments)
    for rate, error in sweep.items():
        drawn = rate in rates
        face = COLOURS[row] if drawn else "none"
        ax.plot(x, error, "o", ms=5, mec=COLOURS[row], mfc=face, clip_on=False, zorder=5)
    best = min(sweep, key=sweep.__getitem__)
    room = ax.transAxes.inverted().transform(ax.transData.transform((x, sweep[best])))[1] > 0.2
    tried = ", ".join(plain(rate) for rate in sweep)
    ax.annotate(
        f"step sizes {tried}: {plain(best)} is best",
        (x, sweep[best] if room else max(sweep.values())),
        xytext=(0, -9 if room else 9),
        textcoords="offset points",
        ha="right",
        va="top" if room else "bottom",
        fontsize=7.5,
        color=INK,
    )


def _converged(fits: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> str:
    """How much the last ten epochs still brought."""
    gains, ends = {}, {}
    for row, segments in fits.items():
        best = min(segments, key=lambda segment: segment[-1]["best"])
        curve = _column(best, "best")
        gains[row] = 1 - curve[-1] / curve[-1 - min(10, len(curve) - 1)]
        ends[row] = curve[-1]
    judged = "All have converged" if max(gains.values()) < CONVERGED else "Not all have converged"
    brought = " and ".join(
        f"{100 * gain:.1f} % for the {row} (now {ends[row]:.2g})" for row, gain in gains.items()
    )
    return f"{judged}: the last ten epochs lowered the validation error by {brought}."
