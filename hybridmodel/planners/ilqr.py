"""Differential dynamic programming with bounds on inputs and an augmented Lagrangian.

    u ← Π(u + α k + K (x̂ − x)),   x̂⁺ = F(x̂, u)

k, K from a backward sweep (`differential.riccati`), Π the projection on the input bounds. Without
the curvature of F this is iLQR (Li & Todorov, ICINCO 2004), with it DDP (Mayne 1966), here with
F's Hessian contracted with the costate, which is Newton's method on the inputs near the optimum
(Pantoja, Int. J. Control 47 (1988) 1539). Bounds of inputs: Tassa, Mansard & Todorov, ICRA 2014.
State bounds, path and terminal constraints: Howell, Jackson & Manchester, ALTRO, IROS 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hybridmodel.planners.differential.lagrangian import Constraints, Lagrangian, Valued
from hybridmodel.planners.differential.riccati import Expansion, Policy, backward
from hybridmodel.planners.differential.steps import Steps, steps_of
from hybridmodel.planners.planner import FEASIBLE, Candidate, Planner, Status, Task
from hybridmodel.problem import OptimalControlProblem

_SIDE = 8  # step lengths tried side by side, which is as many as a vector of the kernel holds
_STEPS = 0.5 ** np.arange(_SIDE)
_LEAST = 1e-6  # smallest regularisation that is not none
_HARDEST = 1e10
_FACTOR = 2.0  # by which its own factor changes; Tassa, Erez & Todorov 2012, section II-F
_ARMIJO = 1e-4  # share of the decrease that the expansion promises
_ROUNDING = 1e-13  # of a cost, relative
_SLACK = 1e-9  # relative, in which two costs count as one
_MOST = 1e12  # largest penalty


class ILQR(Planner):
    """iLQR, or DDP with `second_order`.

    iterations    most of them, over all updates of multipliers
    tolerance     largest projected gradient ∂L/∂u of a converged plan, in units of cost per unit
                  of input, relative to the mean size of the costates where that is above 100
    feasibility   largest violation of a single constraint in a converged plan
    second_order  takes the curvature of the step too: fewer, dearer iterations near the optimum
    penalty       ρ of the first subproblem, with a warm start's multipliers ten times it
    growth        factor of ρ where the violation did not fall to a quarter

    The plan's gains K (H, nu, nx) are those of u = u* + K (x − x*), zero where a bound acts.
    Multipliers are those of `MultipleShooting`, and either takes the other's. A warm start is
    rolled out as it is and, where it has gains, in closed loop; the better one is improved.
    Raises ValueError naming the argument.
    """

    def __init__(
        self,
        problem: OptimalControlProblem,
        *,
        iterations: int = 100,
        tolerance: float = 1e-6,
        feasibility: float = 1e-6,
        second_order: bool = False,
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
        system = problem.model.system
        if system.quaternion_rows:
            raise ValueError(
                f"problem: {type(system).__name__} has rotations, whose quaternions ILQR cannot "
                "step on; take MultipleShooting or CEM"
            )
        self.problem, self.iterations, self.tolerance = problem, iterations, tolerance
        self.feasibility, self.second_order = feasibility, second_order
        self.penalty, self.growth = penalty, growth
        problem.refuse_risk(type(self).__name__)
        self._build()

    def _build(self) -> None:
        """Derivatives, for the networks as they are but for their numbers."""
        problem = self.problem
        self._forms = problem.forms
        self._steps = steps_of(problem.model, problem.horizon, _SIDE)
        self._lagrangian = Lagrangian(problem, _SIDE)

    def search(self, task: Task) -> Candidate:
        if self._forms is not self.problem.forms:
            self._build()
        self._steps.refresh()
        self._lagrangian.refresh()
        with np.errstate(all="ignore"):  # a path that runs away is valued as infinite
            return _Search(self, task).run()


@dataclass(frozen=True, eq=False)
class _Path:
    """A trajectory with its merit, its cost alone and the values of its constraints."""

    x: np.ndarray
    u: np.ndarray
    merit: float
    cost: float
    constraints: Constraints

    @property
    def rank(self) -> tuple[bool, float]:
        """Feasible ones by cost before the others by violation."""
        violation = float(self.constraints.violation())
        if violation <= FEASIBLE:
            return False, self.cost
        return True, violation if np.isfinite(violation) else np.inf


class _Search:
    """One planning call."""

    def __init__(self, planner: ILQR, task: Task) -> None:
        self.planner, self.task, self.problem = planner, task, planner.problem
        self.steps: Steps = planner._steps
        self.lagrangian = planner._lagrangian
        self.duals = self.lagrangian.nothing()
        self.penalty = planner.penalty
        self.regularisation, self.factor = 0.0, 1.0
        self.iteration = 0

    def run(self) -> Candidate:
        guess, problem = self.task.guess, self.problem
        start = np.clip(0.0, problem.input_low, problem.input_high)
        u, paths = np.tile(start, (problem.horizon, 1)), []
        if guess is not None:
            u = np.clip(guess.u, problem.input_low, problem.input_high)
            self._take(guess.multipliers)
            if guess.gains is not None and guess.gains.shape == self._shape:
                law = Policy(np.zeros_like(u), np.nan_to_num(guess.gains), 0.0, 0.0)
                paths += self._rollouts(guess.x, u, law)[:1]
        rest = Policy(np.zeros_like(u), np.zeros(self._shape), 0.0, 0.0)
        paths += self._rollouts(np.tile(self.task.x0, (problem.horizon + 1, 1)), u, rest)[:1]
        path = first = min(paths, key=lambda p: p.merit if np.isfinite(p.merit) else np.inf)
        if not np.isfinite(path.merit):
            return Candidate(path.u, Status.FAILED, 0)
        return self._improved(first if guess is not None else None, path)

    @property
    def _shape(self) -> tuple[int, int, int]:
        model = self.problem.model
        return self.problem.horizon, model.system.nu, model.nx

    def _take(self, multipliers) -> None:
        found = self.lagrangian.unnamed(multipliers)
        if found is not None and found.largest() > 0:
            self.duals, self.penalty = found, 10 * self.penalty

    def _improved(self, first: _Path | None, path: _Path) -> Candidate:
        """The augmented Lagrangian's outer iterations around those of a subproblem."""
        planner = self.planner
        coarse, before = 1e-2, np.inf
        best, status = path, Status.BUDGET
        while True:
            free = path.constraints.largest() == 0 and self.duals.largest() == 0
            aim = planner.tolerance if free else max(coarse, planner.tolerance)
            path, best, status = self._subproblem(path, best, aim)
            if status is not Status.CONVERGED:
                break
            apart = path.constraints.residual(self.duals, self.penalty)
            if aim <= planner.tolerance and apart <= planner.feasibility:
                break
            self.duals = path.constraints.updated(self.duals, self.penalty)
            if apart > 0.25 * before and apart > planner.feasibility:
                self.penalty = min(self.penalty * planner.growth, _MOST)
            if apart <= planner.feasibility:
                coarse = planner.tolerance
            coarse, before = 0.1 * coarse, apart
            path = self._valued(path.x[None], path.u[None])[0]
        if status is Status.CONVERGED and not self._beaten(path, first):
            return self._candidate(path, status)
        return self._candidate(best, Status.BUDGET if status is Status.CONVERGED else status)

    def _beaten(self, path: _Path, first: _Path | None) -> bool:
        """Whether the guess was better, what its violation gains it being paid for."""
        if first is None or first.rank[0]:
            return False
        again = self._valued(first.x[None], first.u[None])[0]
        return again.merit < path.merit - _SLACK * abs(path.merit)

    def _subproblem(
        self, path: _Path, best: _Path, tolerance: float
    ) -> tuple[_Path, _Path, Status]:
        """Minimises the augmented Lagrangian at fixed multipliers."""
        while True:
            at = self._expanded(path)
            if self._gradient(at, path) <= tolerance:
                return path, best, Status.CONVERGED
            moved = None
            while moved is None:
                if self.task.expired():
                    return path, best, Status.DEADLINE
                if self.iteration >= self.planner.iterations or self.regularisation > _HARDEST:
                    return path, best, Status.BUDGET
                self.iteration += 1
                moved = self._moved(at, path)
            path = moved
            if path.rank < best.rank:
                best = path

    def _moved(self, at: Expansion, path: _Path) -> _Path | None:
        """The path after one iteration, None where it takes more regularisation."""
        if self.planner.second_order:  # where it is convex; elsewhere it leads astray
            policy = self._backward(self._curved(at), path, 0.0)
            moved = None if policy is None else self._stepped(path, policy)
            if moved is not None:
                return moved
        policy = self._backward(at, path, self.regularisation)
        moved = None if policy is None else self._stepped(path, policy)
        self._harder() if moved is None else self._softer()
        return moved

    def _curved(self, at: Expansion) -> Expansion:
        """The expansion with the curvature of the steps."""
        return replace(at, hessian=at.hessian + self.steps.curvature(at.costates()[1:]))

    def _expanded(self, path: _Path) -> Expansion:
        pi, nd = self.task.pi, self.problem.model.system.nd
        F = self.steps.jacobian(path.x[:-1], path.u, pi[:-1, :nd])
        gradient, hessian, last = self.lagrangian.slopes(
            path.x, path.u, pi, self.duals, self.penalty
        )
        return Expansion(F, gradient, hessian, last)

    def _gradient(self, at: Expansion, path: _Path) -> float:
        """Largest entry of u − Π(u − ∂L/∂u), scaled as IPOPT: Wächter & Biegler 2006, eq. 6."""
        slopes, costates = self._slopes(at)
        low, high = self.problem.input_low, self.problem.input_high
        moved = path.u - np.clip(path.u - slopes, low, high)
        scale = max(1.0, float(np.abs(costates).mean()) / 100)
        return float(np.abs(moved).max()) / scale

    def _slopes(self, at: Expansion) -> tuple[np.ndarray, np.ndarray]:
        """∂L/∂u (H, nu) and the costates (H+1, nx)."""
        n, p = at.F.shape[1], at.costates()
        return at.gradient[:, n:] + np.einsum("ki,kij->kj", p[1:], at.F[:, :, n:]), p

    def _backward(self, at: Expansion, path: _Path, regularisation: float) -> Policy | None:
        low, high = self.problem.input_low - path.u, self.problem.input_high - path.u
        found = backward(at, low, high, regularisation)
        if found is None or not np.isfinite(found.K).all() or not np.isfinite(found.k).all():
            return None
        return found

    def _stepped(self, path: _Path, policy: Policy) -> _Path | None:
        """The longest of the best steps, None where none is good enough."""
        tried = self._rollouts(path.x, path.u, policy)
        rounding = _ROUNDING * max(1.0, abs(path.merit))
        promised = -(_STEPS * policy.slope + 0.5 * _STEPS**2 * policy.bend)
        merits = np.array([p.merit for p in tried])
        merits[~np.isfinite(merits)] = np.inf
        good = (path.merit - merits >= _ARMIJO * promised - rounding) & (promised > 0)
        if not good.any():
            return None
        least = merits[good].min()
        return tried[int(np.flatnonzero(good & (merits <= least + rounding))[0])]

    def _rollouts(self, x: np.ndarray, u: np.ndarray, policy: Policy) -> list[_Path]:
        """Paths from x₀ under the policy around (x, u), one for each step length."""
        problem, task = self.problem, self.task
        H, nd = problem.horizon, problem.model.system.nd
        low, high, signals = problem.input_low, problem.input_high, task.pi[:, :nd]
        ahead = np.empty((_SIDE, H + 1, x.shape[1]))
        inputs = np.empty((_SIDE, *u.shape))
        pushed = u + _STEPS[:, None, None] * policy.k
        here = ahead[:, 0] = np.tile(task.x0, (_SIDE, 1))
        transposed = policy.K.transpose(0, 2, 1)
        for k in range(H):
            act = np.clip(pushed[:, k] + (here - x[k]) @ transposed[k], low, high)
            inputs[:, k] = act
            here = ahead[:, k + 1] = self.steps.step(here, act, signals[k])
        return self._valued(ahead, inputs)

    def _valued(self, x: np.ndarray, u: np.ndarray) -> list[_Path]:
        """Paths of states (n, H+1, nx) and inputs (n, H, nu), n at most as many as go at a time."""
        count = len(x)
        missing = _SIDE - count
        if missing:
            x, u = (np.concatenate([v, np.repeat(v[:1], missing, 0)]) for v in (x, u))
        found: Valued = self.lagrangian.values(x, u, self.task.pi, self.duals, self.penalty)
        known = np.isfinite(x).all((1, 2)) & np.isfinite(u).all((1, 2))
        merit = np.where(known & np.isfinite(found.constraints.violation()), found.merit, np.nan)
        return [
            _Path(x[i], u[i], float(merit[i]), float(found.cost[i]), found.constraints.at(i))
            for i in range(count)
        ]

    def _harder(self) -> None:
        self.factor = max(_FACTOR, self.factor * _FACTOR)
        self.regularisation = max(_LEAST, self.regularisation * self.factor)

    def _softer(self) -> None:
        self.factor = min(1 / _FACTOR, self.factor / _FACTOR)
        lower = self.regularisation * self.factor
        self.regularisation = lower if lower >= _LEAST else 0.0

    def _candidate(self, path: _Path, status: Status) -> Candidate:
        at = self._expanded(path)
        slopes, costates = self._slopes(at)
        policy = None
        if self.planner.second_order:
            policy = self._backward(self._curved(at), path, 0.0)
        while policy is None and self.regularisation <= _HARDEST:
            policy = self._backward(at, path, self.regularisation)
            if policy is None:
                self._harder()
        bound = np.where(
            path.u >= self.problem.input_high,
            np.maximum(-slopes, 0),
            np.where(path.u <= self.problem.input_low, np.minimum(-slopes, 0), 0.0),
        )
        multipliers = self.lagrangian.named(path.constraints.updated(self.duals, self.penalty))
        multipliers["x"][0] = -costates[0]
        return Candidate(
            u=path.u,
            status=status,
            iterations=self.iteration,
            multipliers={"defect": -costates[1:], **multipliers, "u": bound},
            gains=None if policy is None else policy.K,
        )
