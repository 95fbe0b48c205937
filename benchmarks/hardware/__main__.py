"""All measured sets through the one recipe.

python -m benchmarks.hardware --data FOLDER [--only SET,…] [--quick] [--json FILE]

FOLDER holds one folder a set; each module of this package says where its logs are public.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import torch

from benchmarks.figures import publish
from benchmarks.hardware.table import RUNS, SETS, rows


def main() -> None:
    """Measure what is asked for, keep each set's figures in a folder, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default=",".join(SETS), help="names, with commas")
    parser.add_argument("--quick", action="store_true", help="one start, fewer samples")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = given.only.split(",")
    if unknown := [name for name in names if name not in SETS]:
        parser.error(f"--only: no set {unknown[0]!r}; sets are {list(SETS)}")
    table = rows(
        given.data,
        given.quick,
        names=names,
        seed=given.seed,
        runs=given.runs,
        tell=partial(print, file=sys.stderr, flush=True),
    )
    sys.exit(
        not publish("Measured sets, one recipe", table, given.json, keep=len(names) < len(SETS))
    )


if __name__ == "__main__":
    main()
