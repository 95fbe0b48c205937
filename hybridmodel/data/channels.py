"""Findings in the values of one channel."""

from __future__ import annotations

import numpy as np

from hybridmodel.data.quantisation import smallest_increment
from hybridmodel.data.report import LogFinding
from hybridmodel.data.trajectory import Array

_OUTLIER = 8.0  # deviations of the second differences
_STANDS_OUT = 3.0  # times the largest step around
_AROUND = 8  # steps on either side
_WIDEST = 3  # samples of one outlier
_FLAT = 3  # equal samples at an extreme that make a plateau
_ENTRY = 0.1  # of the usual step: a curve turns slower than this, a limit is hit faster
_SHARE = 0.002  # of samples at a limit
_ONCE = 0.01  # of samples, that a single plateau must have
_MOSTLY = 0.3  # of all samples in plateaus are at this extreme
_CAUGHT_UP = 3.0  # usual steps at once when it goes on
_FROZEN = 12  # equal samples of a channel that else never repeats


def check_values(
    name: str, y: Array, unit: str, low: float, high: float, *, commanded: bool
) -> list[LogFinding]:
    """What stands in one channel y (n,) of one log; nan where samples are missing.

    `low` and `high` bound the signal; a commanded channel may jump and sit at its extremes.
    """
    found = []
    there = np.isfinite(y)
    if holes := int(np.count_nonzero(~there)):
        share = holes / len(y)
        text = f"{holes} of {len(y)} samples are missing ({share:.2%})"
        found.append(LogFinding(name, "missing", share, "", "warning", text))
    y = y[there]
    if len(y) < 2 * _AROUND:
        return found
    if np.ptp(y) == 0:
        why = "it excites nothing" if commanded else "a dead channel, or nothing moved"
        text = f"is constant at {y[0]:.6g} {unit}".rstrip() + f": {why}"
        return [*found, LogFinding(name, "constant", float(y[0]), unit, "warning", text)]
    q = smallest_increment(y)
    found += _saturation(name, y, unit, low, high, q or 0.0, commanded)
    if not commanded:
        found += _outliers(name, y, unit, q or 0.0)
        found += _quantisation(name, y, unit, q)
    return found


def _saturation(
    name: str, y: Array, unit: str, low: float, high: float, q: float, commanded: bool
) -> list[LogFinding]:
    found = []
    usual = float(np.sqrt(np.mean(np.diff(y) ** 2)))
    plateaus = _flat_samples(y)
    for side, bound in ((-1, low), (1, high)):
        z, limit = side * y, side * bound
        if np.isfinite(bound):
            slack = 1e-6 * (abs(bound) + np.ptp(y))
            beyond, at = float(np.mean(z > limit + slack)), float(np.mean(z >= limit - slack))
            if beyond > 0:
                text = f"{beyond:.2%} of samples are beyond its bound {bound:.6g} {unit}".rstrip()
                found.append(LogFinding(name, "saturation", beyond, "", "warning", text))
                continue
            if at > _SHARE:
                text = f"{at:.2%} of samples sit at its bound {bound:.6g} {unit}".rstrip()
                severity = "info" if commanded else "warning"
                found.append(LogFinding(name, "saturation", at, "", severity, text))
                continue
        extreme = float(z.max())
        flat = (z >= extreme - 1e-9 * abs(extreme)).astype(np.int8)
        edges = np.flatnonzero(np.diff(flat, prepend=0, append=0))
        starts, ends = edges[::2], edges[1::2]  # of runs [start, end)
        # at its ends a log may rest
        inner = (ends - starts >= _FLAT) & (starts > 0) & (ends < len(z))
        starts, ends = starts[inner], ends[inner]
        if not len(starts):
            continue
        edges = np.stack([z[starts] - z[starts - 1], z[ends - 1] - z[ends]])
        least = max(_ENTRY * usual, 2.5 * q)
        # of several, chance may blunt one edge; a single plateau must show both
        hit = (edges.max(axis=0) if len(starts) > 1 else edges.min(axis=0)) > least
        sitting = int(np.sum((ends - starts)[hit]))
        share = sitting / len(z)
        often = np.count_nonzero(hit) > 1 or (share > _ONCE and not commanded)
        # a channel that is flat elsewhere too is a staircase
        if share > _SHARE and often and sitting > _MOSTLY * plateaus:
            where = f"{side * extreme:.6g} {unit}".rstrip()
            text = (
                f"{share:.2%} of samples sit at its own extreme {where}"
                + f", in {np.count_nonzero(hit)} places: "
                + ("a limit, or so designed" if commanded else "it was cut off there, or at a stop")
            )
            severity = "info" if commanded else "warning"
            found.append(LogFinding(name, "saturation", share, "", severity, text))
    return found


def _flat_samples(y: Array) -> int:
    """Samples in runs of three and more that are equal, those at the ends of the log left out."""
    edges = np.flatnonzero(np.concatenate([[True], np.diff(y) != 0]))
    lengths = np.diff(np.append(edges, len(y)))[1:-1]
    return int(lengths[lengths >= _FLAT].sum())


def outliers(y: Array, q: float = 0.0) -> Array:
    """(n,) 1 where a sample stands out of its neighbours, by up to three in a row.

    Both jumps, in and out, exceed 8 robust deviations of the second differences, and 3 times
    every other step around; so no step, corner or noise does.
    """
    steps = np.diff(y)
    second = np.diff(y, 2)
    # of a staircase, or a log that rests, most are 0
    second = np.abs(second[second != 0])
    scale = 1.4826 * float(np.median(second)) + 1.5 * q if len(second) else np.inf
    scale = max(scale, 1e-9 * float(np.ptp(y)))
    marked = np.zeros(len(y))
    padded = np.pad(np.abs(steps), _AROUND, mode="reflect")
    for width in range(1, _WIDEST + 1):
        into, out = steps[: len(steps) - width], steps[width:]
        least = np.minimum(np.abs(into), np.abs(out))
        candidates = np.flatnonzero((into * out < 0) & (least > _OUTLIER * scale))
        if not len(candidates):
            continue
        around = padded[candidates[:, None] + np.arange(2 * _AROUND + 1 + width)]
        around[:, _AROUND : _AROUND + width + 1 : width] = 0.0  # the two jumps themselves
        stands = least[candidates] > _STANDS_OUT * around.max(axis=1)
        for offset in range(1, width + 1):
            marked[candidates[stands] + offset] = 1.0
    return marked


def _outliers(name: str, y: Array, unit: str, q: float) -> list[LogFinding]:
    rows = np.flatnonzero(outliers(y, q))
    if not len(rows):
        return []
    height = float(np.max(np.abs(y[rows] - np.median(y))))
    text = (
        f"{len(rows)} samples stand out of their neighbours, the first at row {rows[0]}, as far "
        f"as {height:.4g} {unit}".rstrip()
        + " from the median"
    )
    return [LogFinding(name, "outlier", len(rows), "", "warning", text)]


def _quantisation(name: str, y: Array, unit: str, q: float | None) -> list[LogFinding]:
    if q is None:
        return []
    share = q / float(np.std(y))
    # below a thousandth of the deviation neither a fit nor a difference shows it
    if share < 1e-3 and q < 0.2 * float(np.sqrt(np.mean(np.diff(y) ** 2))):
        return []
    severity = "warning" if share > 0.1 else "info"
    text = f"comes in steps of {q:.4g} {unit}".rstrip() + f", {share:.2%} of its deviation"
    return [LogFinding(name, "quantisation", q, unit, severity, text)]


def check_frozen(names: list[str], values: list[Array], units: list[str]) -> list[LogFinding]:
    """Channels that repeat one value while others, sampled at the same time, go on."""
    found = []
    moving = [np.concatenate([[True], np.diff(y) != 0]) for y in values]
    for i, (name, y) in enumerate(zip(names, values, strict=True)):
        if np.mean(moving[i]) < 0.9:  # quantised, or at rest
            continue
        edges = np.flatnonzero(moving[i])
        lengths = np.diff(np.append(edges, len(y)))
        longest = int(lengths.max())
        if longest < _FROZEN:
            continue
        start = int(edges[np.argmax(lengths)])
        others = [m[start + 1 : start + longest].mean() for k, m in enumerate(moving) if k != i]
        # what turns or rests goes on from where it was; what froze has moved meanwhile
        after = min(start + longest, len(y) - 1)
        jump = abs(y[after] - y[start])
        if max(others, default=0.0) > 0.9 and jump > _CAUGHT_UP * np.sqrt(np.mean(np.diff(y) ** 2)):
            text = (
                f"stays at {y[start]:.6g} {units[i]}".rstrip()
                + f" for {longest} samples from row {start} while other channels move"
            )
            found.append(LogFinding(name, "frozen", longest, "", "warning", text))
    return found
