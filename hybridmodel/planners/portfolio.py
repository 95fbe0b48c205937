"""Two planners within one deadline: one that searches widely, then one that finishes."""

from __future__ import annotations

import numpy as np

from hybridmodel.planners.planner import Candidate, Plan, Planner, Task

_SOON = 1e-6  # [s] for a planner whose time is over: it returns what it has


class Portfolio(Planner):
    """The better of two plans, the second of which starts from the first.

    wide   searches first, usually one that samples; starts from the warm start
    fine   then improves what it found, usually by gradients
    share  of the deadline that `wide` gets

    Where `wide` finds nothing usable, `fine` starts from the warm start itself. Both are told the
    same seed. An error of one is raised only where the other has no plan either. Raises ValueError
    naming the argument.
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
        found: list[Plan] = []
        failed: Exception | None = None
        for planner, share in ((self.wide, self.share), (self.fine, 1.0)):
            if found and task.expired():
                break
            start = found[0] if found and found[0].usable else task.guess
            try:
                found.append(self._plan(planner, task, start, share))
            except Exception as error:  # the other's plan is not lost with it
                failed = error
        if not found:
            assert failed is not None
            raise failed
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
            deadline=max(share * left, _SOON) if np.isfinite(left) else None,
        )


def _rank(plan: Plan) -> tuple[bool, float]:
    """Usable ones first, then by cost."""
    return not plan.usable, plan.cost if np.isfinite(plan.cost) else np.inf
