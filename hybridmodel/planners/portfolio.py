"""Two planners within one deadline: one that searches widely, then one that finishes."""

from __future__ import annotations

import numpy as np

from hybridmodel.planners.planner import Candidate, Plan, Planner, Task


class Portfolio(Planner):
    """The better of two plans, the second of which starts from the first.

    wide   searches first, usually one that samples; starts from the warm start
    fine   then improves what it found, usually by gradients
    share  of the deadline that `wide` gets

    Where `wide` finds nothing usable, `fine` starts from the warm start itself. Both are told the
    same seed. Raises ValueError naming the argument.
    """

    def __init__(self, wide: Planner, fine: Planner, *, share: float = 0.5) -> None:
        if wide.problem is not fine.problem:
            raise ValueError("fine: must plan for the same problem as wide, got another one")
        if not 0 < share < 1:
            raise ValueError(f"share must lie in (0, 1), got {share}")
        self.problem, self.wide, self.fine, self.share = wide.problem, wide, fine, share

    @property
    def interruptible(self) -> bool:
        """Whether both poll their deadline."""
        return all(getattr(planner, "interruptible", True) for planner in (self.wide, self.fine))

    def search(self, task: Task) -> Candidate:
        found = [self._plan(self.wide, task, task.guess, self.share)]
        if not task.expired():
            start = found[0] if found[0].usable else task.guess
            found.append(self._plan(self.fine, task, start, 1.0))
        best = min(found, key=_rank)
        return Candidate(
            u=best.u,
            status=best.status,
            iterations=sum(plan.iterations for plan in found),
            multipliers=best.multipliers,
            gains=best.gains,
            elites=found[0].elites,
        )

    def _plan(self, planner: Planner, task: Task, guess: Plan | None, share: float) -> Plan:
        left = task.remaining()
        return planner.plan(
            task.x0,
            parameters=task.pi,
            previous_input=task.previous_input,
            warm_start=guess,
            seed=task.seed,
            deadline=share * left if np.isfinite(left) else None,
        )


def _rank(plan: Plan) -> tuple[bool, float]:
    """Usable ones first, then by cost."""
    return not plan.usable, plan.cost if np.isfinite(plan.cost) else np.inf
