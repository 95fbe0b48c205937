"""The figures of physics in breadth: robots from files, parity with the engine, tracking.

    python -m benchmarks.physics [--quick] [--only PART,…] --json FILE

Parts: robots (inverse dynamics against PyBullet and Pinocchio; also writes the table of
docs/robots.md), kuka (graph sizes, time to build), files (jointless and damaged ones), parity
(forward dynamics, diagnoses of drawn mismatches), tracking (the demos kuka and quadrotor).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks import parity, robots, tracking
from benchmarks.figures import Row, publish
from hybridmodel.files import write_atomically

PAGE = Path(__file__).parents[1] / "docs" / "robots.md"


def of_robots(quick: bool) -> Iterable[Row]:
    found = [robots.check(path, states=100 if quick else robots.STATES) for path in robots.moving()]
    table = robots.table(found)
    print(table)
    if not quick:
        text = PAGE.read_text(encoding="utf-8")
        block = f"<!-- robots -->\n{table}\n<!-- /robots -->"
        text = re.sub("<!-- robots -->.*?<!-- /robots -->", lambda _: block, text, flags=re.S)
        write_atomically(PAGE, text.encode())
    return robots.rows(found)


PARTS: Mapping[str, Callable[[bool], Iterable[Row]]] = {
    "robots": of_robots,
    "kuka": lambda quick: robots.kuka(),
    "files": robots.files,
    "parity": parity.rows,
    "tracking": tracking.rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--only: no part {unknown[0]!r}; parts are {', '.join(PARTS)}")
    rows: list[Row] = []
    for name in chosen:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += PARTS[name](arguments.quick)
    keep = len(chosen) < len(PARTS)
    sys.exit(not publish("Physics", rows, arguments.json, keep=keep))


if __name__ == "__main__":
    main()
