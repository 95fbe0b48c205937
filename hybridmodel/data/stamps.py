"""Findings in the stamps of a clock."""

from __future__ import annotations

import numpy as np

from hybridmodel.data.report import LogFinding
from hybridmodel.data.trajectory import Array

_LOST = 1.5  # median steps; a sample was lost
_NOTED, _UNEVEN = 0.01, 0.1  # of the median step


def check_stamps(t: Array, name: str = "time") -> list[LogFinding]:
    """Stamps that are missing, out of order, lost or shaken.

    jitter   95 % of steps are within this share of the median step, steps of gaps left out
    gap      the longest step [s]
    """
    found = []
    if holes := int(np.count_nonzero(~np.isfinite(t))):
        found.append(
            LogFinding(name, "missing", holes, "", "warning", f"{holes} stamps are missing")
        )
        t = t[np.isfinite(t)]
    step = np.diff(t)
    if len(step) < 2:
        return found
    if wrong := int(np.count_nonzero(step <= 0)):
        row = int(np.argmax(step <= 0)) + 1
        found.append(
            LogFinding(
                name,
                "order",
                wrong,
                "",
                "warning",
                f"{wrong} stamps do not come after the one before, the first at row {row}",
            )
        )
        step = step[step > 0]
        if len(step) < 2:
            return found
    usual = float(np.median(step))
    off = np.abs(step / usual - 1)
    # with stamps shaken by a third and more, long steps are no lost samples
    shaken = float(np.quantile(off, 0.9))
    lost = off > max(_LOST - 1, 3 * shaken)
    lost &= step > usual
    if count := int(lost.sum()):
        longest = float(step.max())
        found.append(
            LogFinding(
                name,
                "gap",
                longest,
                "s",
                "warning",
                f"{count} gaps, the longest {longest:.4g} s where the median step is "
                f"{usual:.4g} s; resample, and cut the log where a gap is longer than its motion",
            )
        )
    jitter = float(np.quantile(off[~lost], 0.95))
    if jitter > _NOTED:
        severity = "warning" if jitter > _UNEVEN else "info"
        found.append(
            LogFinding(
                name,
                "jitter",
                jitter,
                "",
                severity,
                f"steps vary by {jitter:.1%} of their median {usual:.4g} s (95 % of them within)",
            )
        )
    return found
