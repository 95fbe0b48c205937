"""Sequential quadratic programming on multiple shooting, with exact Hessians.

    z ← z + α dz,   dz the solution of the quadratic program in stages at z
    φ(z) = f + Σ w|xₖ₊₁ − F(zₖ)| + ρ Σ (max(c, 0) or |c|) decreases

Nocedal & Wright, Numerical Optimization, 2006, chapter 18: ℓ₁ penalties in the subproblem
(eq. 18.51), the merit function (18.27), second-order corrections (section 18.3). The Hessian of
the Lagrangian is that of the problem; where its reduction to the null space of dynamics and
active rows is not positive definite, δI is added (Wächter & Biegler 2006, algorithm IC).
Real-time iteration: Diehl, Bock & Schlöder, SIAM J. Control Optim. 43 (2005).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hybridmodel.planners.planner import FEASIBLE, Candidate, Plan, Planner, Status, Task
from hybridmodel.planners.shooting.attempts import SHORTFALL, Ranked, Ranking, settled
from hybridmodel.planners.shooting.program import ShootingProgram
from hybridmodel.planners.shooting.quadratic import StageQP
from hybridmodel.planners.shooting.starts import Starts
from hybridmodel.planners.shooting.step import Iterate, Stepper
from hybridmodel.problem import OptimalControlProblem

_PENALTY, _LARGEST = 1e3, 1e8  # ρ at the start and at most
_STRONGER = 10.0  # how fast ρ grows
_ESCAPES = 2  # how often a saddle is left
_CLOSE = 1e-4  # KKT residual from which on a program that was convex stays so
_NEAR = 1e-2  # how much estimated multipliers must help to be taken: they do near an optimum


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A linearisation that waits for x₀."""

    here: Iterate
    qp: StageQP
    pi: np.ndarray


class SQP(Planner):
    """Multiple-shooting SQP, whose derivatives come from one kernel call over all nodes.

    iterations   most quadratic programs of one attempt
    tolerance    of the largest KKT residual, dual ones scaled as IPOPT does
    rti          real-time iteration: with a warm start, one quadratic program and its full step;
                 `prepare` and `feedback` are its halves

    A warm start with multipliers, its own or those of `MultipleShooting`, starts primal and dual,
    any other primal only; where that does not converge, or to a much worse optimum than the guess
    had promised, it starts again from x₀ at rest. A saddle is left. The cheapest feasible result
    is returned, which is the guess itself where nothing better was found. Quaternions are four
    numbers like others: F gives them unit length, so that steps that F allows are tangent to it.
    Raises ValueError naming the argument.
    """

    def __init__(
        self,
        problem: OptimalControlProblem,
        *,
        iterations: int = 100,
        tolerance: float = 1e-6,
        rti: bool = False,
    ) -> None:
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        if not tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {tolerance}")
        self.problem, self.iterations = problem, iterations
        self.tolerance, self.rti = tolerance, rti
        problem.refuse_risk(type(self).__name__)
        self._build()

    def _build(self) -> None:
        """The program, for the networks as they are but for their numbers."""
        self._forms = self.problem.forms
        self.program = ShootingProgram(self.problem)
        self.stepper = Stepper(self.program, self.tolerance)
        self.starts, self.ranking = Starts(self.program), Ranking(self.problem)
        self._prepared: _Prepared | None = None

    def _renewed(self) -> None:
        """Builds anew where more than numbers has changed."""
        if self._forms is not self.problem.forms:
            self._build()

    def search(self, task: Task) -> Candidate:
        self._renewed()
        # numbers that are none are looked for, not warned of
        with np.errstate(all="ignore"), self.program.nodes.steady():
            return self._searched(task)

    def _searched(self, task: Task) -> Candidate:
        found: list[Ranked] = []
        waiting: list[Candidate] = []
        promised, iterations = np.inf, 0
        if task.guess is not None:
            multipliers = task.guess.multipliers
            waiting.append(Candidate(task.guess.u, Status.BUDGET, 0, multipliers=multipliers))
            if np.isfinite(task.guess.cost):
                promised = task.guess.cost + SHORTFALL * abs(task.guess.cost)
        for candidates in self._attempts(task):
            iterations += sum(candidate.iterations for candidate in candidates)
            found += self.ranking(task, *waiting, *candidates)
            waiting.clear()
            (infeasible, cost), _ = min(found, key=lambda pair: pair[0])
            done = (
                settled(found, self.tolerance) is not None and not infeasible and cost <= promised
            )
            stepped = self.rti and candidates[-1].status is not Status.FAILED
            if done or stepped or task.expired():
                break
        (_, cost), best = min(found, key=lambda pair: pair[0])
        status, chosen = best.status, settled(found, self.tolerance)
        if chosen is not None:
            status = chosen.status
            best = replace(best, multipliers=chosen.multipliers, gains=chosen.gains)
        elif task.expired() and status is Status.BUDGET:
            status = Status.DEADLINE
        elif status is Status.FAILED and np.isfinite(cost):
            status = Status.BUDGET  # the solver broke down, the inputs are still some
        return replace(best, status=status, iterations=iterations)

    def prepare(self, guess: Plan, parameters: np.ndarray | None = None) -> None:
        """The half of a real-time iteration before x₀ is known: derivatives at a guess.

        parameters   π, as `plan` takes them

        Raises ValueError naming the argument.
        """
        fitting = self.fitting(guess)
        if fitting is None:
            raise ValueError("guess must be finite")
        self._renewed()
        with np.errstate(all="ignore"):
            pi = self.problem.problem_parameters(parameters, fitting.adapted)
            self._prepared = self._linearised(fitting, pi)

    def feedback(self, x0: np.ndarray) -> Plan:
        """The other half: one quadratic program from x0 (nx,), and its full step.

        Raises ValueError where nothing is prepared, or x0 is not nx finite numbers.
        """
        self._renewed()
        prepared = self._prepared
        if prepared is None:
            raise ValueError(
                "feedback must follow prepare(guess) with the networks as they are now"
            )
        nx = self.program.nx
        before = self.problem.previous(prepared.here.z[0, :nx])  # the guess's, read where it counts
        given = self.problem.start(x0, before)
        if given.shape != (nx,) or not np.isfinite(given).all():
            raise ValueError(f"x0 must be {nx} finite numbers, got {x0!r}")
        task = Task(given, prepared.pi, None, None, 0, time.perf_counter(), None)
        with np.errstate(all="ignore"):
            [(_, found)] = self.ranking(task, self._stepped(prepared, task))
            return self._checked(found, task)

    # -- attempts ------------------------------------------------------------------------------

    def _attempts(self, task: Task) -> Iterator[list[Candidate]]:
        """Results of each attempt, made when it is needed."""
        if task.guess is not None:
            if self.rti:
                yield [self._stepped(self._linearised(task.guess, task.pi), task)]
            else:
                yield self._descended(self.starts.warm(task.x0, task.guess), task)
        yield self._descended(self.starts.rest(task.x0), task)

    def _descended(self, here: Iterate, task: Task) -> list[Candidate]:
        """Where an attempt ends, and then where points beside it lead as long as it is a saddle."""
        found: list[Candidate] = []
        for attempt in range(_ESCAPES + 1):
            candidate, saddle = self._solved(here, task)
            found.append(candidate)
            if not saddle or attempt == _ESCAPES or task.expired():
                break
            u = self.starts.moved(candidate.u, attempt)
            [(_, x, _)] = self.ranking.rolled(task, [u])
            rolled = np.isfinite(x).all()
            here = self.starts.primal(x, u) if rolled else self.starts.rest(task.x0)
        return found

    # -- real-time iteration -------------------------------------------------------------------

    def _linearised(self, guess: Plan, pi: np.ndarray) -> _Prepared:
        here = self.starts.warm(guess.x[0], guess)
        values = self.program.values(here.z, pi)
        at = self.program.derivatives(here.z, pi, here.dynamics, here.rows)
        penalty = max(_PENALTY, _STRONGER * float(np.abs(here.rows).max(initial=0)))
        return _Prepared(here, self.stepper.quadratic(values, at, penalty), pi)

    def _stepped(self, prepared: _Prepared, task: Task) -> Candidate:
        here, nx = prepared.here, self.program.nx
        turned = self.starts.turned(here.z[0, :nx], task.x0)
        qp = replace(prepared.qp, x0=task.x0 * turned - here.z[0, :nx])
        step = self.stepper.solve(qp, here.rows, 1e-4, 1e-7)
        if not step.usable:
            return Candidate(here.z[:-1, nx:], Status.FAILED, 1)
        first = np.zeros(nx)
        return Candidate(
            u=(here.z + step.z)[:-1, nx:],
            status=Status.BUDGET,
            iterations=1,
            multipliers=self.program.named(step.dynamics * turned, step.rows, first),
            gains=step.gains * turned,
        )

    # -- to convergence ------------------------------------------------------------------------

    def _solved(self, here: Iterate, task: Task) -> tuple[Candidate, bool]:
        """Where it ends, and whether that is stationary without being a minimum."""
        program, pi = self.program, task.pi
        penalty = max(_PENALTY, _STRONGER * float(np.abs(here.rows).max(initial=0)))
        shift, iteration, status = 0.0, 0, Status.BUDGET
        weights, first = np.abs(here.dynamics), np.zeros(program.nx)
        gains, saddle, convex = None, False, False
        values = program.values(here.z, pi)
        for iteration in range(self.iterations + 1):
            if not values.finite:
                status = Status.FAILED
                break
            at = program.derivatives(here.z, pi, here.dynamics, here.rows)
            error, first = self.stepper.error(here, values, at)
            if error <= self.tolerance:
                status = Status.CONVERGED
                saddle = not convex and self.stepper.saddle(values, at)
                break
            if not np.isfinite(error):
                status = Status.FAILED
                break
            if iteration == self.iterations:
                break
            if iteration and task.expired():
                status = Status.DEADLINE
                break
            if not (iteration or here.dynamics.any() or here.rows.any()):
                near = self.stepper.estimated(here, values, at, penalty)
                if self.stepper.error(near, values, at)[0] < _NEAR * error:
                    here = near
                    at = program.derivatives(here.z, pi, here.dynamics, here.rows)
            taken = self.stepper.advance(here, values, at, penalty, weights, shift, error, pi)
            if taken is None:
                violated = self.stepper.violation(values.rows) > FEASIBLE
                status = Status.INFEASIBLE if violated else Status.BUDGET
                break
            alpha, z, values, step, weights = taken
            shift, gains = step.shift, step.gains
            convex = shift == 0 and error <= _CLOSE  # H changes little from here on
            here = Iterate(
                z,
                here.dynamics + alpha * (step.dynamics - here.dynamics),
                here.rows + alpha * (step.rows - here.rows),
            )
            soft = np.where(program.is_input_bound, 0.0, np.abs(step.rows))
            if soft.max(initial=0) > 0.5 * penalty:
                if penalty >= _LARGEST and alpha == 1.0 and np.abs(step.z).max() < self.tolerance:
                    status = Status.INFEASIBLE
                    break
                penalty = min(_STRONGER * penalty, _LARGEST)
        found = Candidate(
            u=here.z[:-1, program.nx :],
            status=status,
            iterations=iteration,
            multipliers=program.named(here.dynamics, here.rows, first),
            gains=gains,
        )
        return found, saddle
