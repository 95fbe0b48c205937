"""Plans that leave the data of a residual: what plain planners fail at and cautious ones do not.

Problems are those of `benchmarks.planning.exploitable`. A plan is made once, from rest, and its
inputs are applied to the plant as they are, without feedback. "Plain" plans with the residual as
it was fitted, "cautious" with the same weights, a fade outside the data and `CAUTION`, which is
one for all planners and problems. A problem is rejected where a gentle motion inside the data does
not get there, or where more than two of the five plain planners do; what cautious ones do has no
part in it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.figures import Row
from benchmarks.planning.exploitable import HORIZON, Problem, draw
from hybridmodel import (
    CEM,
    ILQR,
    MPPI,
    Caution,
    GradientDescent,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
)
from hybridmodel.planners import Planner

# a step where the correction may be anything, or outside the data, costs as much as ten at the
# start, where the stage cost is 1
CAUTION = Caution(disagreement=10.0, support=10.0)
COUNT, QUICK = 50, 5
FIRST = 2000  # seed; those below were used to write the generator
DRAWN = 4  # times as many problems are drawn at most
MOST = 2  # plain planners, of five, that may succeed in a problem that is kept

PLANNERS: Mapping[str, Callable[[OptimalControlProblem], Planner]] = {
    "IPOPT": lambda problem: MultipleShooting(problem, iterations=150),
    "iLQR": lambda problem: ILQR(problem),
    # its step is a share of the inputs' range, which is far wider than the data's
    "Adam": lambda problem: GradientDescent(problem, rate=0.03),
    "CEM": lambda problem: CEM(problem, samples=300, elites=30, iterations=20, knots=10),
    "MPPI": lambda problem: MPPI(problem, samples=300, iterations=20, knots=10, anneal=0.85),
}


@dataclass(frozen=True)
class Attempt:
    """One plan in the plant: whether it got there, the share of its planned steps with w < 1/2,
    how far from the goal it was to end and ended, in units of the way, seconds of planning."""

    success: bool
    outside: float
    promised: float
    found: float
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """One seed: `kept`, or why not; cautious attempts are made where it is kept alone."""

    seed: int
    verdict: str
    plain: Mapping[str, Attempt]
    cautious: Mapping[str, Attempt]


KEPT, NO_WAY, HARMLESS = "kept", "no safe way", "plain planners succeed"


def outcome(seed: int) -> Outcome:
    """The problem of a seed, tried. What cautious planners do has no part in what is kept."""
    problem = draw(seed)
    try:
        if not problem.safe_way():
            return Outcome(seed, NO_WAY, {}, {})
        plain = attempts(problem, problem.plain, None)
        if sum(a.success for a in plain.values()) > MOST:
            return Outcome(seed, HARMLESS, plain, {})
        return Outcome(seed, KEPT, plain, attempts(problem, problem.careful, CAUTION))
    finally:
        problem.plant.close()


def attempts(problem: Problem, model: HybridModel, caution: Caution | None) -> dict[str, Attempt]:
    """A plan of each planner, carried out."""
    n = problem.machine.system.nx
    anywhere = (-math.inf,) * n, (math.inf,) * n
    control = OptimalControlProblem(
        model, problem.cost, horizon=HORIZON, state_bounds=anywhere, caution=caution
    )
    found = {}
    for name, make in PLANNERS.items():
        started = time.perf_counter()
        plan = make(control).plan(np.zeros(n), seed=problem.seed)
        seconds = time.perf_counter() - started
        reached = plan.usable and problem.reached(plan.u)
        inside = problem.inside(plan.x[:-1], plan.u)
        found[name] = Attempt(
            success=reached,
            outside=float((~(inside >= 0.5)).mean()),
            promised=problem.apart(plan.x[-1]),
            found=problem.apart(problem.plant.state) if plan.usable else math.nan,
            seconds=seconds,
        )
    return found


def rows(quick: bool) -> Iterator[Row]:
    """The figures of 50 problems, 5 where it is quick."""
    count = QUICK if quick else COUNT
    found: list[Outcome] = []
    while sum(o.verdict == KEPT for o in found) < count and len(found) < DRAWN * count:
        found.append(outcome(FIRST + len(found)))
    yield from told(found, count)


def told(found: Sequence[Outcome], count: int) -> Iterator[Row]:
    """The figures of some outcomes, of which so many are to be kept."""
    kept = [o for o in found if o.verdict == KEPT]
    what = "leaving the data"
    yield Row(f"{what}: problems drawn", len(found))
    for verdict in (NO_WAY, HARMLESS):
        yield Row(f"{what}: rejected, {verdict}", sum(o.verdict == verdict for o in found))
    yield Row(f"{what}: problems kept", len(kept), "", f"≥ {count}")
    tried = [o for o in found if o.plain]
    together = _percent([a.success for o in kept for a in o.plain.values()])
    yield Row(f"{what}: plain, all planners together, success", together, "%", "≤ 50", len(kept))
    for name in PLANNERS:
        for kind, bar, of in (
            ("plain", "≤ 50", [o.plain[name] for o in kept]),
            ("cautious", "≥ 95", [o.cautious[name] for o in kept]),
        ):
            label = f"{what}: {name}, {kind}"
            yield Row(f"{label}, success", _percent([a.success for a in of]), "%", bar, len(of))
            yield Row(f"{label}, steps outside the data", _percent([a.outside for a in of]), "%")
        before = _percent([o.plain[name].success for o in tried])
        label = f"{what}: {name}, plain, success before rejecting"
        yield Row(label, before, "%", "", len(tried))


def _percent(values: Sequence[float]) -> float:
    return 100 * float(np.mean(values)) if values else math.nan
