"""All measured sets through the one recipe: `python -m benchmarks.hardware --data FOLDER`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.figures import Row, publish
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


def rows(name: str, found: dict[str, dict[str, Figures]]) -> list[Row]:
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


def main() -> None:
    """Measure what is asked for, keep each set's figures in a folder, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default="", help="names, with commas")
    parser.add_argument("--quick", action="store_true", help="one start, fewer samples")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/hardware"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in given.only.split(",") if name] or list(SETS)
    if unknown := [name for name in names if name not in SETS]:
        parser.error(f"--only: no set {unknown[0]!r}; sets are {list(SETS)}")
    found: dict[str, dict[str, Figures]] = {}
    for name in SETS:
        kept = given.runs / f"{name}{'_quick' if given.quick else ''}_{given.seed}.json"
        if name in names and not kept.exists():
            print(name, flush=True)
            tell = partial(print, flush=True)
            figures = measure(name, given.data, seed=given.seed, quick=given.quick, tell=tell)
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(
                kept, (json.dumps(figures, indent=1, ensure_ascii=False) + "\n").encode()
            )
        if kept.exists():
            found[name] = json.loads(kept.read_text())
    table = [row for name in names for row in rows(name, found)]
    holds = publish("measured sets, one recipe", table, given.json, keep=bool(given.only))
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
