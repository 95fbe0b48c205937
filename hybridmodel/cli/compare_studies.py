"""Two studies beside each other, for `hybridmodel compare`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from hybridmodel.cli import OK

if TYPE_CHECKING:
    from hybridmodel.comparison import Comparison

Place = tuple[str, str, str, str]  # system, effect, planner, plant
Kind = tuple[str, str, float]  # model, placement, seconds of data
Seeds = Mapping[int, float]  # cost by seed
MARKS = ("table.parquet", "study.json")


def is_study(path: Path) -> bool:
    """Whether a folder holds a study, finished or not."""
    return any((path / name).is_file() for name in MARKS)


def compare_studies(first: Path, second: Path, *, row: str | None = None) -> int:
    """Print whether costs differ in the cells that two studies share, place by place and pooled.

    row   one model alone; default all of them

    Raises ValueError naming the option where neither has a model of that name, and where the two
    share no cell.
    """
    from hybridmodel.study import read_table, same

    tables = [read_table(path) for path in (first, second)]
    costs, others = map(_costs, tables)
    pairs, left_out = _shared(costs, others)
    if row is not None and row not in (known := {kind[0]: None for _, kind in pairs}):
        raise ValueError(f"--row is one of {list(known)}, which both have run, got {row!r}")
    pairs = {key: pair for key, pair in pairs.items() if row in (None, key[1][0])}
    if not pairs:
        raise ValueError(f"{first} and {second} share no cell that has run in both")
    console = Console()
    console.print(f"A = {first}, B = {second}", markup=False)
    if same(*tables):
        console.print("the same table, times apart")
    by_place = {key: _compared({key[0]: pair}) for key, pair in pairs.items()}
    pooled = {}
    for kind in dict.fromkeys(kind for _, kind in pairs):
        pooled[kind] = _compared({p: pair for (p, k), pair in pairs.items() if k == kind}, True)
    count = {kind: sum(k == kind for _, k in pairs) for kind in pooled}
    told = {(_called(k), f"{count[k]} place{'s' * (count[k] != 1)}"): r for k, r in pooled.items()}
    console.print(_table("all places, costs in shares of each place’s median", told))
    differ = {key: result for key, result in by_place.items() if not result.equal}
    if differ:
        console.print(
            _table("each place", {(_called(k), _where(p)): r for (p, k), r in differ.items()})
        )
    console.print(f"equal, bit for bit: {len(by_place) - len(differ)} of {len(by_place)} costs")
    used: dict[str, set[int]] = {}
    for result in (*pooled.values(), *differ.values()):
        used.setdefault(result.test, set()).add(result.seeds)
    for test, counts in used.items():
        console.print(f"test: {test}, {', '.join(map(str, sorted(counts)))} costs on either side")
    able = sum(result.least <= 0.05 for result in differ.values())
    if able > 1:
        console.print(f"by chance alone, about {able / 20:.2g} of {able} places would differ")
    if left_out:
        console.print(f"left out: {left_out} cells whose cost is not finite")
    for name, alone in (("A", _alone(costs, others, row)), ("B", _alone(others, costs, row))):
        if alone:
            (place, kind), seed = alone[0]
            one = f"{_called(kind)}, {_where(place)}, seed {seed}"
            console.print(
                f"only in {name}: {len(alone)} cell{'s' * (len(alone) != 1)}, as {one}",
                markup=False,
            )
    return OK


def _costs(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[Place, Kind], dict[int, float]]:
    found: dict[tuple[Place, Kind], dict[int, float]] = {}
    for row in rows:
        if row["state"] == "done" and "cost" in row:
            place = row["system"], row["effect"], row["planner"], row["plant"]
            kind = row["model"], row["placement"], float(row["data"])
            found.setdefault((place, kind), {})[int(row["seed"])] = float(row["cost"])
    return found


def _alone(
    first: Mapping[tuple[Place, Kind], Seeds],
    second: Mapping[tuple[Place, Kind], Seeds],
    row: str | None,
) -> list[tuple[tuple[Place, Kind], int]]:
    """Cells that the first of two studies has a cost of and the second has none of."""
    return [
        (key, seed)
        for key, seeds in first.items()
        if row in (None, key[1][0])
        for seed in seeds
        if seed not in second.get(key, {})
    ]


def _shared(
    first: Mapping[tuple[Place, Kind], Seeds], second: Mapping[tuple[Place, Kind], Seeds]
) -> tuple[dict[tuple[Place, Kind], tuple[Seeds, Seeds]], int]:
    """Costs on the seeds that both have, or on all where none is in common.

    With the number of those that are not finite, which are left out.
    """
    pairs: dict[tuple[Place, Kind], tuple[Seeds, Seeds]] = {}
    left_out = 0
    for key in first:
        if key not in second:
            continue
        common = [seed for seed in first[key] if seed in second[key]]
        sides = [{s: side[s] for s in common or side} for side in (first[key], second[key])]
        bad = {s for side in sides for s, cost in side.items() if not math.isfinite(cost)}
        left_out += len(bad)
        a, b = ({s: c for s, c in side.items() if s not in bad} for side in sides)
        if a and b:
            pairs[key] = a, b
    return pairs, left_out


def _compared(pairs: Mapping[Place, tuple[Seeds, Seeds]], relative: bool = False) -> Comparison:
    """One test over the seeds of all places; `relative` to the median cost of each place.

    There the costs of one system, effect and seed are one, their mean: they share logs and fits,
    and would not be independent.
    """
    import numpy as np

    from hybridmodel.comparison import compare

    sides: tuple[dict[str, list[float]], dict[str, list[float]]] = {}, {}
    for place, pair in pairs.items():
        costs = [abs(cost) for side in pair for cost in side.values()]
        scale = float(np.median(costs)) if relative else 1.0
        for side, seeds in zip(sides, pair, strict=True):
            for seed, cost in seeds.items():
                name = f"{', '.join(place[:2] if relative else place)}, {seed}"
                side.setdefault(name, []).append(cost / (scale or 1.0))
    return compare(*({k: float(np.mean(v)) for k, v in side.items()} for side in sides))


def _table(title: str, results: Mapping[tuple[str, str], Comparison]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for heading in ("model", "place", "A", "B", "B − A", "p", "verdict"):
        words = heading in ("model", "place", "verdict")
        justify = "left" if words else "right"
        table.add_column(heading, justify=justify, no_wrap=heading != "place")
    for names, result in results.items():
        change = 100 * (result.second - result.first) / abs(result.first) if result.first else 0.0
        numbers = (f"{result.first:.4g}", f"{result.second:.4g}", f"{change:+.1f} %")
        p = f"{result.p:.3f}" if result.p >= 0.001 else "< 0.001"
        table.add_row(*names, *numbers, p, result.verdict)
    return table


def _called(kind: Kind) -> str:
    model, placement, seconds = kind
    own = placement in ("", "own")
    parts = (model, "" if own else placement, f"{seconds:g} s" if seconds else "")
    return ", ".join(filter(None, parts))


def _where(place: Place) -> str:
    system, effect, planner, plant = place
    return ", ".join((system, effect, planner, *((plant,) if plant != "logged" else ())))
