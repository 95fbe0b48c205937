"""What the README and the page about studies say, from the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.studies.scaling import SIZE

CORES = 1000


def scaling(content: Mapping[str, Any]) -> str:
    """What one and two workers do, and what that makes of a thousand."""
    rows = {row["figure"]: row["value"] for row in content["rows"]}
    if "scaling: one message" not in rows:
        return ""
    one, two = (rows[f"scaling: closed loops a minute, {n}"] for n in ("1 worker", "2 workers"))
    own = rows["scaling: a job's own time, mean, 2 workers"]
    message = rows["scaling: one message"] / 1e3
    most = own / message
    rate = CORES / own
    lines = [
        f"Measured on two cores with short cells of a pendulum: {one:.3g} closed loops a minute "
        f"on one worker, {two:.3g} on two ({two / one:.2f} ×). A job takes {own:.2g} s of its "
        f"own, and {1e3 * message:.2g} ms of the process that asks, with {SIZE / 1e6:g} MB in and "
        "out.",
        "",
        f"What {CORES} cores would do: ask for {rate:.0f} jobs a second. The one process that "
        f"reads inputs and writes results does {1 / message:.0f} a second, so that it is what "
        f"saturates first, at about {most:.0f} workers with cells as short as these; "
        + _enough(own, message)
        + f" The network then carries {rate * SIZE / 1e6:.0f} MB/s.",
    ]
    return "\n".join(lines)


def _enough(own: float, message: float) -> str:
    needed = CORES * message
    if own >= needed:
        return f"{CORES} cores are below that."
    return (
        f"{CORES} cores are kept busy by cells of at least {needed:.0f} s, as robots have them, or "
        "by several studies at once."
    )


def matrix(content: Mapping[str, Any]) -> str:
    """Recovered fractions of the hybrid by system and effect."""
    rows = {row["figure"]: row["value"] for row in content["rows"]}
    found: dict[str, dict[str, float]] = {}
    for figure, value in rows.items():
        if figure.startswith("matrix: ") and figure.endswith(": recovered by hybrid"):
            system, effect = figure.split(": ")[1].split(", ")
            found.setdefault(system, {})[effect] = value
    if not found:
        return ""
    effects = list(dict.fromkeys(effect for by in found.values() for effect in by))
    lines = ["| recovered by the hybrid | " + " | ".join(effects) + " |"]
    lines.append("|---|" + "--:|" * len(effects))
    for system, by in found.items():
        told = [f"{by[effect]:.2f}" if effect in by else "no gap" for effect in effects]
        lines.append(f"| {system} | " + " | ".join(told) + " |")
    return "\n".join(lines)
