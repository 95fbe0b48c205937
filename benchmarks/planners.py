"""The figures of the planners: optima, speed beside hand-written peers, control that never fails.

    python -m benchmarks.planners [--quick] [--only PART,…] [--peers FOLDER] [--venvs FOLDER]
                                  [--rounds 15] --json FILE

Parts: oracle, cem, solvers, quadrotor, swing_ups, leaving, guard. Ratios are as in
`benchmarks.kernel`; cem, solvers and quadrotor have sides in the peers' folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from benchmarks.figures import Row
from benchmarks.planning import guard, leaving, oracle, quadrotor, solvers, swing_ups
from benchmarks.speed import rivalry
from benchmarks.speed.command import Part, command
from benchmarks.speed.peers import Peers
from benchmarks.speed.sides import Sides


def _alone(rows: Callable[[bool], Iterator[Row]]) -> Part:
    """A part that has no sides."""

    def part(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
        return rows(quick)

    return part


PARTS: Mapping[str, Part] = {
    "oracle": _alone(oracle.rows),
    "cem": rivalry.plans,
    "solvers": solvers.rows,
    "quadrotor": lambda sides, peers, quick: quadrotor.rows(quick, peers),
    "swing_ups": _alone(swing_ups.rows),
    "leaving": _alone(leaving.rows),
    "guard": _alone(guard.rows),
}


if __name__ == "__main__":
    command("Planners", __doc__, PARTS)
