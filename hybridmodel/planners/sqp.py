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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from hybridmodel.planners.planner import FEASIBLE, Candidate, Plan, Planner, Status, Task
from hybridmodel.planners.shooting.attempts import SHORTFALL, Ranked, settled
from hybridmodel.planners.shooting.program import ShootingProgram
from hybridmodel.planners.shooting.quadratic import StageQP
from hybridmodel.planners.shooting.step import Iterate, Stepper
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.rollouts import REPEATED, objective_kernel

_PENALTY, _LARGEST = 1e3, 1e8  # ρ at the start and at most
_STRONGER = 10.0  # how fast ρ grows
_NEAR = 1e-2  # how much estimated multipliers must help to be taken: they do near an optimum
_Judge = Callable[[np.ndarray], tuple[float, np.ndarray, float]]


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
    had promised, it starts again from x₀ at rest. The cheapest feasible result is returned, which
    is the guess itself where nothing better was found. Raises ValueError naming the argument.
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
        self._prepared: _Prepared | None = None

    def search(self, task: Task) -> Candidate:
        with np.errstate(all="ignore"):  # numbers that are none are looked for, not warned of
            return self._searched(task)

    def _searched(self, task: Task) -> Candidate:
        if self._forms is not self.problem.forms:
            self._build()
        found: list[Ranked] = []
        judge = self._judge(task)
        promised, iterations = np.inf, 0
        if task.guess is not None:
            guess = Candidate(task.guess.u, Status.BUDGET, 0, multipliers=task.guess.multipliers)
            found.append(self._ranked(guess, judge))
            if np.isfinite(task.guess.cost):
                promised = task.guess.cost + SHORTFALL * abs(task.guess.cost)
        for candidate in self._attempts(task):
            iterations += candidate.iterations
            found.append(self._ranked(candidate, judge))
            (infeasible, cost), _ = min(found, key=lambda pair: pair[0])
            done = (
                settled(found, self.tolerance) is not None and not infeasible and cost <= promised
            )
            stepped = self.rti and candidate.status is not Status.FAILED
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
        with np.errstate(all="ignore"):
            self._prepared = self._linearised(fitting, self.problem.problem_parameters(parameters))

    def feedback(self, x0: np.ndarray) -> Plan:
        """The other half: one quadratic program from x0 (nx,), and its full step.

        Raises ValueError where nothing is prepared, or x0 is not nx finite numbers.
        """
        prepared = self._prepared
        if prepared is None:
            raise ValueError("feedback must follow prepare(guess), which was not called")
        given, nx = np.asarray(x0, dtype=float), self.program.nx
        if given.shape != (nx,) or not np.isfinite(given).all():
            raise ValueError(f"x0 must be {nx} finite numbers, got {x0!r}")
        task = Task(given, prepared.pi, None, None, 0, time.perf_counter(), None)
        with np.errstate(all="ignore"):
            _, found = self._ranked(self._stepped(prepared, task), self._judge(task))
            return self._checked(found, task)

    # -- attempts ------------------------------------------------------------------------------

    def _attempts(self, task: Task) -> Iterator[Candidate]:
        """Results of each attempt, made when it is needed."""
        if task.guess is not None:
            if self.rti:
                yield self._stepped(self._linearised(task.guess, task.pi), task)
            else:
                yield self._solved(self._start(task.x0, task.guess), task)
        yield self._solved(self._start(task.x0, None), task)

    def _ranked(self, found: Candidate, judge: _Judge) -> Ranked:
        """How good inputs are under the model: feasible ones first, then by cost."""
        if not np.isfinite(found.u).all():
            return (True, np.inf), replace(found, status=Status.FAILED)
        u = np.clip(found.u, self.problem.input_low, self.problem.input_high)
        cost, x, violation = judge(u)
        infeasible = not violation <= FEASIBLE
        return (infeasible, cost if np.isfinite(cost) else np.inf), replace(
            found, u=u, evaluated=(cost, x, violation)
        )

    def _judge(self, task: Task) -> _Judge:
        """u (H, nu) ↦ cost, states and violation of a task's rollout."""
        problem, x0, pi = self.problem, torch.tensor(task.x0), torch.tensor(task.pi)
        many = x0.new_empty(REPEATED, problem.horizon, self.program.nu)  # it comes again
        kernel = objective_kernel(problem, x0, many, pi, fixed=True)
        if kernel is None:
            return lambda u: problem.evaluate(task.x0, u, task.pi)

        def judge(u: np.ndarray) -> tuple[float, np.ndarray, float]:
            cost, violation, x = kernel.exact(x0, torch.from_numpy(u), pi)
            return float(cost), x.numpy(), float(violation)

        return judge

    def _start(self, x0: np.ndarray, guess: Plan | None) -> Iterate:
        program = self.program
        multipliers = None
        if guess is None:
            x, u = np.tile(x0, (program.N + 1, 1)), np.zeros((program.N, program.nu))
        else:
            x, u = guess.x.copy(), guess.u
            x[0] = x0
            multipliers = program.unnamed(guess.multipliers)
        u = np.clip(u, self.problem.input_low, self.problem.input_high)
        if multipliers is None:
            multipliers = np.zeros((program.N, program.nx)), np.zeros((program.N + 1, program.m))
        return Iterate(program.point(x, u), *multipliers)

    # -- real-time iteration -------------------------------------------------------------------

    def _linearised(self, guess: Plan, pi: np.ndarray) -> _Prepared:
        here = self._start(guess.x[0], guess)
        values = self.program.values(here.z, pi)
        at = self.program.derivatives(here.z, pi, here.dynamics, here.rows)
        penalty = max(_PENALTY, _STRONGER * float(np.abs(here.rows).max(initial=0)))
        return _Prepared(here, self.stepper.quadratic(values, at, penalty), pi)

    def _stepped(self, prepared: _Prepared, task: Task) -> Candidate:
        here, nx = prepared.here, self.program.nx
        qp = replace(prepared.qp, x0=task.x0 - here.z[0, :nx])
        step = self.stepper.solve(qp, here.rows, 1e-4, 1e-7)
        if not step.usable:
            return Candidate(here.z[:-1, nx:], Status.FAILED, 1)
        first = np.zeros(nx)
        return Candidate(
            u=(here.z + step.z)[:-1, nx:],
            status=Status.BUDGET,
            iterations=1,
            multipliers=self.program.named(step.dynamics, step.rows, first),
            gains=step.gains,
        )

    # -- to convergence ------------------------------------------------------------------------

    def _solved(self, here: Iterate, task: Task) -> Candidate:
        program, pi = self.program, task.pi
        penalty = max(_PENALTY, _STRONGER * float(np.abs(here.rows).max(initial=0)))
        shift, iteration, status = 0.0, 0, Status.BUDGET
        weights, first = np.abs(here.dynamics), np.zeros(program.nx)
        gains = None
        values = program.values(here.z, pi)
        for iteration in range(self.iterations + 1):
            if not values.finite:
                status = Status.FAILED
                break
            at = program.derivatives(here.z, pi, here.dynamics, here.rows)
            error, first = self.stepper.error(here, values, at)
            if error <= self.tolerance:
                status = Status.CONVERGED
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
        return Candidate(
            u=here.z[:-1, program.nx :],
            status=status,
            iterations=iteration,
            multipliers=program.named(here.dynamics, here.rows, first),
            gains=gains,
        )
