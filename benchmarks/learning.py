"""The figures of learning: identified parameters, honest intervals, little data, real logs.

    python -m benchmarks.learning [--quick] [--only PART,…] [--data FOLDER] --json FILE

Parts, each a module of its own: coverage and aphynity (`identification`), calibration (intervals,
and what happens outside the data), data (`data_efficiency`), online, placements and families (the
numbers of docs/placements and docs/residuals), hardware (only with --data: the folder of measured
sets, of which `benchmarks.hardware` tells where they are from).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks import (
    calibration,
    data_efficiency,
    families,
    identification,
    online,
    placements,
)
from benchmarks.figures import Row, publish
from benchmarks.hardware import table as hardware

PARTS: Mapping[str, Callable[[bool], Iterable[Row]]] = {
    "coverage": identification.coverage,
    "aphynity": identification.aphynity,
    "calibration": lambda quick: calibration.rows(quick=quick),
    "data": data_efficiency.rows,
    "online": online.rows,
    "placements": placements.rows,
    "families": families.rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, help="folder of measured sets")
    parser.add_argument("--only", help=f"some of {','.join((*PARTS, 'hardware'))}")
    arguments = parser.parse_args()
    parts = dict(PARTS)
    if arguments.data is not None:
        parts["hardware"] = lambda quick: hardware.rows(arguments.data, quick)
    chosen = list(parts) if arguments.only is None else arguments.only.split(",")
    if unknown := [name for name in chosen if name not in parts]:
        hint = "; hardware needs --data" if "hardware" in unknown else ""
        parser.error(f"--only: no part {unknown[0]!r}; parts are {', '.join(parts)}{hint}")
    rows: list[Row] = []
    for name in chosen:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += parts[name](arguments.quick)
        # each part is kept as soon as it is there
        held = publish("Learning", rows, arguments.json, keep=True)
    sys.exit(not held)


if __name__ == "__main__":
    main()
