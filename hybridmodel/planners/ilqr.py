"""Differential dynamic programming with bounds on inputs and an augmented Lagrangian.

    u ← Π(u + α k + K (x̂ − x)),   x̂⁺ = F(x̂, u)

k, K from a backward sweep (`differential.riccati`), Π the projection on the input bounds. Without
the curvature of F this is iLQR (Li & Todorov, ICINCO 2004), with it DDP (Mayne 1966), here with
F's Hessian contracted with the costate, which is Newton's method on the inputs near the optimum
(Pantoja, Int. J. Control 47 (1988) 1539). Bounds of inputs: Tassa, Mansard & Todorov, ICRA 2014.
State bounds, path and terminal constraints: Howell, Jackson & Manchester, ALTRO, IROS 2019.
"""

from __future__ import annotations

import numpy as np

from hybridmodel.planners.differential.descent import Descent, ExhaustedError, LateError
from hybridmodel.planners.differential.lagrangian import Lagrangian
from hybridmodel.planners.differential.paths import SIDE, Path, Paths
from hybridmodel.planners.differential.riccati import Policy
from hybridmodel.planners.nodes import nodes
from hybridmodel.planners.planner import Candidate, Plan, Planner, Status, Task
from hybridmodel.problem import OptimalControlProblem

_SLACK = 1e-9  # relative, in which two costs count as one
_MOST = 1e12  # largest penalty
_COARSE = 1e-2  # tolerance of the first subproblem; the next ones take a tenth each
_AWAY = 0.1  # how far inputs are moved from a stationary point that is no minimum, of their range
_ESCAPES = 2


class ILQR(Planner):
    """DDP, or iLQR without `second_order`.

    iterations    most of them, updates of multipliers among them
    tolerance     largest projected gradient ∂L/∂u of a converged plan, in units of cost per unit
                  of input, relative to the mean size of the costates where that is above 100
    feasibility   largest violation of a single constraint in a converged plan
    second_order  takes the curvature of the step too: fewer, dearer iterations
    penalty       ρ of the first subproblem, with a warm start's multipliers ten times it
    growth        factor of ρ where the violation did not fall to a quarter

    The plan's gains K (H, nu, nx) are those of u = u* + K (x − x*), zero where a bound acts.
    Multipliers are those of `MultipleShooting`, and either takes the other's; at a deadline both
    are of the last sweep. A warm start is rolled out as it is and, where it has gains, in closed
    loop; the better one is improved. Without one it starts at rest, under feedback where that
    runs away. Rotations are stepped on in their tangent space. Raises ValueError naming the
    argument.
    """

    def __init__(
        self,
        problem: OptimalControlProblem,
        *,
        iterations: int = 100,
        tolerance: float = 1e-6,
        feasibility: float = 1e-6,
        second_order: bool = True,
        penalty: float = 1.0,
        growth: float = 10.0,
    ) -> None:
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        positive = {"tolerance": tolerance, "feasibility": feasibility, "penalty": penalty}
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if not growth > 1:
            raise ValueError(f"growth must be above 1, got {growth}")
        self.problem, self.iterations, self.tolerance = problem, iterations, tolerance
        self.feasibility, self.second_order = feasibility, second_order
        self.penalty, self.growth = penalty, growth
        problem.refuse_risk(type(self).__name__)
        self._build()

    def _build(self) -> None:
        """Derivatives, for the networks as they are but for their numbers."""
        problem = self.problem
        self._forms = problem.forms
        self._nodes = nodes(problem.model, problem.horizon, SIDE)
        self._lagrangian = Lagrangian(problem, SIDE)

    def search(self, task: Task) -> Candidate:
        if self._forms is not self.problem.forms:
            self._build()
        self._nodes.refresh()
        self._lagrangian.refresh()
        # a path that runs away is valued as infinite
        with np.errstate(all="ignore"), self._nodes.steady():
            return self._searched(Paths(self._lagrangian, self._nodes, task))

    def _searched(self, paths: Paths) -> Candidate:
        task = paths.task
        paths.penalty = self.penalty
        started = [] if task.guess is None else self._guessed(paths, task.guess)
        known = [path for path in started if path.finite]
        u = np.tile(self.problem.rest, (self.problem.horizon, 1))
        if not known:
            started = [paths.open_loop(u)]
        best = min(started, key=lambda path: path.rank)
        descent = Descent(paths, self.iterations, self.second_order, best)
        try:
            if not any(path.finite for path in started):
                started = self._held(descent, u)
                best = min(started, key=lambda path: path.rank)
                if not best.finite:
                    return Candidate(u, Status.FAILED, 0)
                descent.best = best
            first = min(started, key=lambda path: path.merit)
            path = self._multiplied(descent, first, [descent.best] if known else [])
        except LateError:
            return self._candidate(descent, descent.best, Status.DEADLINE)
        except ExhaustedError:
            return self._candidate(descent, descent.best, Status.BUDGET)
        return self._candidate(descent, path, Status.CONVERGED)

    # -- starts --------------------------------------------------------------------------------

    def _guessed(self, paths: Paths, guess: Plan) -> list[Path]:
        """A warm start, as it is and in closed loop."""
        u = np.clip(guess.u, self.problem.input_low, self.problem.input_high)
        duals = self._lagrangian.unnamed(guess.multipliers)
        if duals is not None and duals.largest() > 0:
            paths.duals, paths.penalty = duals, 10 * self.penalty
        opened = paths.open_loop(u)
        if guess.gains is None or guess.gains.shape != (*u.shape, guess.x.shape[1]):
            return [opened]
        law = Policy(np.zeros_like(u), np.nan_to_num(guess.gains), 0.0, 0.0)
        closed = paths.rolled(guess.x, u, law)[0]
        better = closed.merit < opened.merit - _SLACK * abs(opened.merit)
        return [opened, closed] if better else [opened]  # what is optimal stays as it is

    def _held(self, descent: Descent, u: np.ndarray) -> list[Path]:
        """Inputs at rest run away: under the feedback of a sweep along x₀ itself."""
        paths = descent.paths
        x = np.tile(paths.task.x0, (len(u) + 1, 1))
        here = paths.local(x, u)
        while True:
            law = descent.regular(here, u)
            if law is None:
                return [descent.best]
            found = paths.rolled(x, u, law)
            if any(path.finite for path in found):
                descent.regularisation = 0.0
                return found
            descent.harder()

    def _escaped(self, paths: Paths, path: Path, attempt: int) -> Path:
        """Away from a stationary point that is no minimum, the same way each time."""
        low, high = self.problem.input_low, self.problem.input_high
        size = np.where(np.isfinite(high - low), (high - low) / 2, np.maximum(1, np.abs(path.u)))
        draw = np.random.default_rng(attempt)
        u = path.u + _AWAY * 4**attempt * size * draw.standard_normal(path.u.shape)
        return paths.open_loop(np.clip(u, low, high))

    # -- multipliers ---------------------------------------------------------------------------

    def _multiplied(self, descent: Descent, path: Path, rivals: list[Path]) -> Path:
        """The augmented Lagrangian's outer iterations around those of a subproblem.

        Ends at a minimum that no rival beats; raises LateError or ExhaustedError.
        """
        paths, before, escapes = descent.paths, np.inf, 0
        coarse = aim = max(_COARSE, self.tolerance)
        while True:
            path = descent.minimum(path, aim)
            apart = path.constraints.residual(paths.duals, paths.penalty)
            if apart <= self.feasibility:
                if aim > self.tolerance:
                    aim = self.tolerance
                    continue
                if escapes == _ESCAPES or descent.convex(path):
                    break
                away = self._escaped(paths, path, escapes)
                escapes += 1
                if away.finite:
                    rivals.append(path)
                    path = away
                continue
            descent.count()  # where inputs are at their bounds nothing else may be one
            paths.duals = path.constraints.updated(paths.duals, paths.penalty)
            if apart > 0.25 * before:
                paths.penalty = min(paths.penalty * self.growth, _MOST)
            coarse, before = 0.1 * coarse, apart
            aim = max(coarse, self.tolerance)
            path = paths.again(path)
        if any(self._beats(rival, path, paths) for rival in rivals):
            raise ExhaustedError
        return path

    def _beats(self, rival: Path, path: Path, paths: Paths) -> bool:
        """Whether it was better, what its violation gains it being paid for."""
        merit = paths.again(rival).merit
        return not rival.rank[0] and merit < path.merit - _SLACK * abs(path.merit)

    # -- results -------------------------------------------------------------------------------

    def _candidate(self, descent: Descent, path: Path, status: Status) -> Candidate:
        """With multipliers and gains, at a deadline those that are there."""
        paths, late = descent.paths, status is Status.DEADLINE
        if not late:
            descent.finish(path)
        here, law = descent.local, descent.law
        multipliers = {}
        if here is not None:
            high, low = path.u >= self.problem.input_high, path.u <= self.problem.input_low
            pull = -here.slopes
            bound = np.where(high, np.maximum(pull, 0), 0.0) + np.where(low, np.minimum(pull, 0), 0)
            named = self._lagrangian.named(path.constraints.updated(paths.duals, paths.penalty))
            named["x"][0] = -here.costates[0]
            multipliers = {"defect": -here.costates[1:], **named, "u": bound}
        evaluated = None
        if late:  # it was rolled out by the model itself, and there is no time to do it again
            evaluated = path.cost, path.x, float(path.constraints.violation())
        return Candidate(
            u=path.u,
            status=status,
            iterations=descent.iteration,
            evaluated=evaluated,
            multipliers=multipliers,
            gains=None if law is None else law.K,
        )
