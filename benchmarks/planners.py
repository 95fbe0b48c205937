"""The figures of the planners: speed beside hand-written peers, and control that never fails.

    python -m benchmarks.planners [--quick] [--only PART,…] [--peers FOLDER] [--venvs FOLDER]
                                  [--rounds 15] --json FILE

Parts: cem, guard. Ratios are as in `benchmarks.kernel`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.figures import Row
from benchmarks.planning import guard
from benchmarks.speed import rivalry
from benchmarks.speed.command import Part, command
from benchmarks.speed.peers import Peers
from benchmarks.speed.sides import Sides


def _guard(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
    return guard.rows(quick)


PARTS: Mapping[str, Part] = {"cem": rivalry.plans, "guard": _guard}


if __name__ == "__main__":
    command("Planners", __doc__, PARTS)
