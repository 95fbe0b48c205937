"""The figures of model-based reinforcement learning.

    python -m benchmarks.rl [--quick] [--only PART,…] [--cells FILE] [--workers 2] --json FILE

Each part is a table of cells, one seed of one method in one task each. A cell that is done is a
line of a file, so that a run that was interrupted goes on where it stood; a file is of one version
of the code. `benchmarks/results/rl_cells.jsonl` holds those of the published figures. Rows of
--quick are named so and have no bars: their runs are too short. Settings were chosen on seeds from
100 on, and figures are of seeds from 0 on; in `loop` the figure of 90 % of the hybrid's return came
after three of its seeds had been seen.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.figures import publish
from benchmarks.rl.cells import figures, results

PARTS = (
    "loop",
    "exploration",
    "value",
    "phihp",
    "dyna",
    "whether",
    "pixels",
    "control_errors",
    "inverse",
    "proposals",
    "situations",
    "objectives",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="few cells of each part")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--cells", type=Path, default=Path("runs/rl.jsonl"), help="finished ones")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--only: no part {unknown[0]!r}; parts are {', '.join(PARTS)}")
    if arguments.workers < 1:
        parser.error(f"--workers must be at least 1, got {arguments.workers}")
    rows, complete = [], True
    found = results(chosen, arguments.cells, arguments.quick, arguments.workers)
    for part, cells, failed in found:
        complete &= not failed
        measured = figures(part, cells)
        if arguments.quick:
            measured = (replace(r, figure=f"quick, {r.figure}", bar="") for r in measured)
        rows += measured
    keep = arguments.quick or set(chosen) < set(PARTS)
    held = publish("Model-based reinforcement learning", rows, arguments.json, keep=keep)
    return 0 if held and complete else 1


if __name__ == "__main__":
    sys.exit(main())
