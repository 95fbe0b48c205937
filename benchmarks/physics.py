"""The figures of physics in breadth: robots from files, parity with the engine, tracking.

    python -m benchmarks.physics [--quick] [--only PART,…] --json FILE

Parts: robots (inverse dynamics against PyBullet and Pinocchio; also writes the table and the
diagnosis of docs/robots.md), kuka (graph sizes, time to build), files (jointless and damaged
ones), parity (forward dynamics, diagnoses of drawn mismatches), tracking (the demos kuka and
quadrotor).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks import parity, robots, tracking
from benchmarks.figures import Row, publish
from hybridmodel.cli import run
from hybridmodel.files import write_atomically

PAGE = Path(__file__).parents[1] / "docs" / "robots.md"


def of_robots(quick: bool) -> Iterable[Row]:
    found = [robots.check(path, states=100 if quick else robots.STATES) for path in robots.moving()]
    table = robots.table(found)
    print(table)
    if not quick:
        text = PAGE.read_text(encoding="utf-8")
        for name, content in {"robots": table, "parity": diagnosed()}.items():
            block = f"<!-- {name} -->\n{content}\n<!-- /{name} -->"
            pattern = f"<!-- {name} -->.*?<!-- /{name} -->"
            text = re.sub(pattern, lambda _: block, text, flags=re.S)  # noqa: B023
        write_atomically(PAGE, text.encode())
    return robots.rows(found)


def diagnosed() -> str:
    """What `check-parity` says of the KUKA's file, as Markdown."""
    with io.StringIO() as said, contextlib.redirect_stdout(said):
        run(["check-parity", str(robots.DATA / "kuka_iiwa/model.urdf"), "--match"])
        text = said.getvalue().rstrip()
    return f"```text\n$ hybridmodel check-parity kuka_iiwa/model.urdf --match\n{text}\n```"


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
