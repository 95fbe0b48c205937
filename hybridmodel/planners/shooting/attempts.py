"""Which of several attempts at a plan counts."""

from __future__ import annotations

from collections.abc import Sequence

from hybridmodel.planners.planner import Candidate, Status

Ranked = tuple[tuple[bool, float], Candidate]  # whether infeasible and its cost, the result
SHORTFALL = 2.0  # a result this many times the promised cost above it is another optimum


def settled(found: Sequence[Ranked], tolerance: float) -> Candidate | None:
    """One that converged and, to the tolerance, is as cheap as the best of these."""
    (infeasible, cost), _ = min(found, key=lambda pair: pair[0])
    near = cost + tolerance * (1 + abs(cost))
    for rank, candidate in found:
        if candidate.status is Status.CONVERGED and rank <= (infeasible, near):
            return candidate
    return None
