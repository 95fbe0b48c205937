"""One step of the SQP: quadratic program, line search, second-order correction.

    φ(z) = f + Σ w|xₖ₊₁ − F(zₖ)| + ρ Σ (max(c, 0) or |c|)   decreases along dz

Nocedal & Wright, Numerical Optimization, 2006: merit function (18.27), sufficient decrease
(18.28), second-order correction (section 18.3); w as Powell, Lecture Notes in Mathematics 630
(1978), takes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hybridmodel.planners.shooting.active_rows import STIFFNESS, solve_active
from hybridmodel.planners.shooting.interior_point import solve_interior
from hybridmodel.planners.shooting.program import Derivatives, ShootingProgram, Values
from hybridmodel.planners.shooting.quadratic import RiccatiSolver, Solution, StageQP, shifted

_ARMIJO = 1e-4
_SHORT, _SHORTEST = 0.1, 1e-6  # α up to which δ is tried before it, and at last
_STRONGER, _TRIES = 10.0, 6  # growth of δ after a search without success, and how often
_ROUNDING = 1e-13
_TOUCHING = 1e-6  # how near to its bound a row counts as active at an optimum
_FLAT = 1e-8  # curvature that counts as none, against the largest number of H


@dataclass(frozen=True, eq=False)
class Iterate:
    """z (N+1, n), multipliers of dynamics (N, nx) and rows (N+1, m)."""

    z: np.ndarray
    dynamics: np.ndarray
    rows: np.ndarray


class Stepper:
    """Steps of one program.

    tolerance   of the KKT residual that is aimed at
    """

    def __init__(self, program: ShootingProgram, tolerance: float) -> None:
        self.program, self.tolerance = program, tolerance
        self.solver = RiccatiSolver(program.nx, program.nu, program.N)

    def error(self, here: Iterate, values: Values, at: Derivatives) -> tuple[float, np.ndarray]:
        """The largest KKT residual, and the multiplier of x₀'s being given."""
        program, nx = self.program, self.program.nx
        dual = at.gradient + (here.rows[:, None, :] @ at.rows)[:, 0]
        dual[:-1] -= (at.jacobian @ here.dynamics[..., None])[..., 0]
        dual[1:, :nx] += here.dynamics
        first = -dual[0, :nx].copy()
        dual[0, :nx], dual[-1, nx:] = 0, 0
        amounts = np.concatenate([here.dynamics.ravel(), here.rows.ravel()])
        scale = max(1.0, np.abs(amounts).mean() / 100)
        rows = values.rows
        violated = np.where(program.is_equality, np.abs(rows), np.maximum(rows, 0))
        slack = np.where(program.is_equality | ~program.live, 0.0, rows * here.rows)
        parts = dual / scale, values.defects, violated, slack / scale
        return float(np.max([np.abs(part).max(initial=0) for part in parts])), first

    def estimated(self, here: Iterate, values: Values, at: Derivatives, penalty: float) -> Iterate:
        """With the multipliers of the nearest feasible descent, H = I."""
        qp = self.quadratic(values, at, penalty)
        qp = replace(qp, H=np.tile(np.eye(self.program.n), (len(qp.H), 1, 1)))
        found = self.solve(qp, here.rows, 1e-2, 1e-6)
        return Iterate(here.z, found.dynamics, found.rows) if found.usable else here

    def saddle(self, values: Values, at: Derivatives) -> bool:
        """Whether a stationary point has directions of negative curvature along its active rows."""
        program = self.program
        held = program.live & (program.is_equality | (values.rows >= -_TOUCHING))
        H, size = at.hessian, max(1.0, float(np.abs(at.hessian).max()))
        if held.any():
            weight = np.where(held, STIFFNESS * size, 0.0)
            H = H + (at.rows.transpose(0, 2, 1) * weight[:, None, :]) @ at.rows
        shifts = 0.0, _FLAT * size  # what is flat but for rounding is no saddle
        return not any(self.solver.is_convex(shifted(H, s), at.jacobian) for s in shifts)

    def quadratic(self, values: Values, at: Derivatives, penalty: float) -> StageQP:
        """The quadratic program at a point."""
        program = self.program
        return StageQP(
            H=at.hessian,
            g=at.gradient,
            J=at.jacobian,
            b=values.defects,
            C=at.rows,
            c=values.rows,
            least=np.where(program.is_equality, -penalty, 0.0),
            most=np.where(program.is_input_bound, np.inf, penalty),
            x0=np.zeros(program.nx),
        )

    def advance(
        self,
        here: Iterate,
        values: Values,
        at: Derivatives,
        penalty: float,
        weights: np.ndarray,
        last_shift: float,
        error: float,
        pi: np.ndarray,
    ) -> tuple[float, np.ndarray, Values, Solution, np.ndarray] | None:
        """α, the new point and its values, the step, new weights w; None where nothing helps."""
        qp = self.quadratic(values, at, penalty)
        accuracy = min(max(1e-3 * self.tolerance, 1e-3 * error**2), 1e-5)
        centre = min(max(1e-2 * error, 1e-8), 1e-1)
        shift = 0.0
        for attempt in range(_TRIES):
            step = self.solve(qp, here.rows, centre, accuracy, shift, last_shift)
            if not step.usable:
                return None
            size = 1.1 * np.abs(step.dynamics)
            weights = np.maximum(size, (weights + size) / 2)
            least = _SHORTEST if attempt == _TRIES - 1 else _SHORT
            moved = self._line_search(here, values, qp, step, weights, penalty, pi, least)
            if moved is not None:
                return *moved, weights
            shift = last_shift = max(_STRONGER * step.shift, 1e-3)
        return None

    def solve(
        self,
        qp: StageQP,
        rows: np.ndarray,
        centre: float,
        tolerance: float,
        shift: float = 0.0,
        last_shift: float = 0.0,
    ) -> Solution:
        """By the rows that were active last; where these mislead, from the interior."""
        found = solve_active(
            self.solver,
            qp,
            rows=rows,
            tolerance=tolerance,
            shift=shift,
            last_shift=last_shift,
        )
        return found or solve_interior(
            self.solver,
            qp,
            rows=rows,
            centre=centre,
            tolerance=tolerance,
            shift=shift,
            last_shift=last_shift,
        )

    def _line_search(
        self,
        here: Iterate,
        values: Values,
        qp: StageQP,
        step: Solution,
        weights: np.ndarray,
        penalty: float,
        pi: np.ndarray,
        least: float,
    ) -> tuple[float, np.ndarray, Values, Solution] | None:
        """α, the point, its values and the step that led there; None where no step helps."""
        merit = self._merit(values, weights, penalty)
        slope = float(np.vdot(qp.g, step.z)) - float((weights * np.abs(values.defects)).sum())
        slope += penalty * (self.violation(qp.rows(step.z)) - self.violation(values.rows))
        slack = _ROUNDING * (1 + abs(merit))
        still = bool((np.abs(step.z) <= self.tolerance * (1 + np.abs(here.z))).all())
        if slope > slack and not still:
            return None

        def better(trial: Values, alpha: float) -> bool:
            wanted = merit + _ARMIJO * alpha * slope + slack
            reached = self._merit(trial, weights, penalty)
            return trial.finite and (still or reached <= wanted)

        alpha = 1.0
        while alpha > least:
            z = here.z + alpha * step.z
            trial = self.program.values(z, pi)
            if better(trial, alpha):
                return alpha, z, trial, step
            if alpha == 1.0 and trial.finite:
                second = self._corrected(qp, step, trial)
                if second.usable:
                    z = here.z + second.z
                    trial = self.program.values(z, pi)
                    if better(trial, 1.0):
                        return 1.0, z, trial, step
            alpha /= 2
        return None

    def _corrected(self, qp: StageQP, step: Solution, trial: Values) -> Solution:
        """The step with what dynamics and rows were wrong by at its end (second order)."""
        nx = self.program.nx
        linear = (step.z[:-1, None, :] @ qp.J)[:, 0]
        rows = trial.rows - (qp.rows(step.z) - qp.c)
        moved = replace(
            qp,
            b=trial.defects + step.z[1:, :nx] - linear,
            c=np.where(self.program.live, rows, qp.c),
        )
        return self.solve(moved, step.rows, 1e-4, 1e-6, step.shift, step.shift)

    def violation(self, rows: np.ndarray) -> float:
        """By how much rows are overstepped, summed."""
        return float(np.where(self.program.is_equality, np.abs(rows), np.maximum(rows, 0)).sum())

    def _merit(self, values: Values, weights: np.ndarray, penalty: float) -> float:
        defects = float((weights * np.abs(values.defects)).sum())
        return values.cost + defects + penalty * self.violation(values.rows)
