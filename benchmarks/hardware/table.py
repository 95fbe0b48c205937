"""All measured sets through the one recipe, and their figures against their bars."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.figures import Row
from benchmarks.hardware import (
    bam_xl330_servo,
    cascaded_tanks,
    dfki_double_pendulum,
    dfki_simple_pendulum,
    multiarm_pendulum,
    rccar_eth,
    recipe,
    tclab,
)
from benchmarks.hardware.measured import MeasuredSet
from hybridmodel import HybridModel
from hybridmodel.files import write_atomically

Figures = dict[str, float]
RUNS = Path("runs/hardware")

SETS: dict[str, tuple[str, Callable[[Path], MeasuredSet]]] = {
    "rccar_eth": ("rccar_eth", rccar_eth.load),
    "dfki_double_pendulum": ("dfki_double_pendulum", dfki_double_pendulum.load),
    "multiarm_single": ("multiarm_pendulum", partial(multiarm_pendulum.load, which="single")),
    "multiarm_double": ("multiarm_pendulum", partial(multiarm_pendulum.load, which="double")),
    "multiarm_triple": ("multiarm_pendulum", partial(multiarm_pendulum.load, which="triple")),
    "cascaded_tanks": ("cascaded_tanks", cascaded_tanks.load),
    "cascaded_tanks_plain": ("cascaded_tanks", partial(cascaded_tanks.load, overflow=False)),
    "bam_xl330_servo": ("bam_xl330_servo", bam_xl330_servo.load),
    "dfki_simple_pendulum": ("dfki_simple_pendulum", dfki_simple_pendulum.load),
    "tclab": ("tclab", tclab.load),
}


def measure(
    name: str, data: Path, *, seed: int, quick: bool, tell: Callable[[str], None]
) -> dict[str, Figures]:
    """Figures of the set by model: published, bare, identified, hybrid."""
    begun = time.perf_counter()
    folder, load = SETS[name]
    measured = load(data / folder)
    if quick:
        measured = replace(measured, starts=1)
    figures: dict[str, Figures] = {}
    if measured.published is not None:
        figures["published"] = dict(measured.score(recipe.bare_model(measured, measured.published)))
    if measured.bare is not None:
        figures["bare"] = dict(measured.score(recipe.bare(measured, seed=seed, tell=tell)))
    fitted = recipe.fit(measured, seed=seed, quick=quick, tell=tell)
    figures["identified"] = dict(measured.score(fitted.identified))
    figures["hybrid"] = dict(measured.score(fitted.hybrid))
    if name == "dfki_double_pendulum" and fitted.chosen != "none":
        figures |= transferred(data / folder, fitted.hybrid, seed=seed, quick=quick, tell=tell)
    figures["bars"] = dict(measured.bars)  # type: ignore[arg-type]
    figures["left out"] = dict(fitted.left_out)
    figures["recipe"] = {"seconds": time.perf_counter() - begun}
    return figures


def transferred(
    folder: Path, hybrid: HybridModel, *, seed: int, quick: bool, tell: Callable[[str], None]
) -> dict[str, Figures]:
    """Rig C0: its own identification, and C1's residual with the parameters identified again."""
    rig = dfki_double_pendulum.load(folder, "C0")
    if quick:
        rig = replace(rig, starts=1)
    own = recipe.identified(rig, seed=seed, tell=tell)
    moved = recipe.transfer(rig, hybrid, own)
    return {
        "C0 bare": dict(rig.score(recipe.bare(rig, seed=seed, tell=tell))),
        "C0 identified": dict(rig.score(own)),
        "C0 transferred": dict(rig.score(moved)),
    }


def rows(
    data: Path,
    quick: bool,
    *,
    names: Iterable[str] = SETS,
    seed: int = 0,
    runs: Path = RUNS,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """The figures of these sets; what each gave is kept in `runs` and not measured again."""
    names, found = tuple(names), dict[str, dict[str, Figures]]()
    for name in SETS:
        kept = runs / f"{name}{'_quick' if quick else ''}_{seed}.json"
        if name in names and not kept.exists():
            tell(name)
            figures = measure(name, data, seed=seed, quick=quick, tell=tell)
            kept.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
            write_atomically(kept, text.encode())
        if kept.exists():
            found[name] = json.loads(kept.read_text(encoding="utf-8"))
    return [row for name in names for row in _told(name, found)]


def _told(name: str, found: dict[str, dict[str, Figures]]) -> list[Row]:
    """One row a model and figure; a bar is a share of another model's figure."""
    figures, bars = found[name], dict[str, tuple[tuple[str, float], ...]]()
    for model, values in figures.items():
        if model == "bars":
            bars = {k: tuple((r, s) for r, s in v) for k, v in values.items()}  # type: ignore[misc]
    table: list[Row] = []
    for model, values in figures.items():
        if model in ("bars", "left out", "recipe"):
            continue
        for figure, value in values.items():
            title, _, unit = figure.rpartition(" [")
            against = bars.get(figure, ()) if model == "hybrid" else ()
            if model == "C0 transferred":
                against = (("C0 identified", 1.0),)
            limits = [(reference, share) for reference, share in against]
            if not limits:
                table.append(Row(f"{name}, {model}: {title}", value, unit.rstrip("]")))
            for reference, share in limits:
                other, _, which = reference.rpartition(" ")
                source = found.get(other, {}) if other in SETS else figures
                limit = source.get(which if other in SETS else reference, {}).get(figure)
                label = f"{name}, {model} against {share:.0%} of {reference}: {title}"
                bar = "" if limit is None else f"≤ {share * limit:.4g}"
                table.append(Row(label, value, unit.rstrip("]"), bar))
    return table
