"""The figures of sim-to-real studies.

    python -m benchmarks.studies [--quick] [--only PART,…] [--folder runs/studies] [--workers 2]
                                 [--systems NAME,…] --json FILE

matrix         six systems × five hidden effects × models × planners × data × seeds; its table is
               kept in benchmarks/results/studies.parquet, system by system, so that `--systems` can
               measure some of them and a run that was interrupted goes on
engine         a spot sample of the oracle: the same search with the engine as its model
interruptions  a study that is killed twenty times, beside one that is not
scaling        cells a minute on one worker and on two, and what a message costs
transfer       models of one plant on others: another effect, another engine, drawn plants
memory         a lag, and a residual that sees the last steps
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.figures import publish
from benchmarks.studies import engine, interruptions, matrix, memory, scaling, transfer

PARTS = ("matrix", "engine", "interruptions", "scaling", "transfer", "memory")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="two systems, short fits and loops")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--folder", type=Path, default=Path("runs/studies"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--systems", default="", help="those of the matrix; default all")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--only: no part {unknown[0]!r}; parts are {', '.join(PARTS)}")
    systems = tuple(filter(None, arguments.systems.split(",")))
    if unknown := [name for name in systems if name not in matrix.SYSTEMS]:
        parser.error(f"--systems: {unknown[0]!r} is none of {', '.join(matrix.SYSTEMS)}")
    quick, folder, workers = arguments.quick, arguments.folder, arguments.workers
    run = {
        "matrix": lambda: matrix.rows(quick, folder / "matrix", workers, systems),
        "engine": lambda: engine.rows(quick),
        "interruptions": lambda: interruptions.rows(quick, folder / "interruptions", workers),
        "scaling": lambda: scaling.rows(quick, folder / "scaling"),
        "transfer": lambda: transfer.rows(quick, folder / "transfer", workers),
        "memory": lambda: memory.rows(quick, folder / "memory", workers),
    }
    rows = [row for part in chosen for row in run[part]()]
    keep = set(chosen) < set(PARTS)
    return 0 if publish("Sim-to-real studies", rows, arguments.json, keep=keep) else 1


if __name__ == "__main__":
    sys.exit(main())
