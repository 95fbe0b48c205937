"""Where attempts at a plan begin."""

from __future__ import annotations

import numpy as np

from hybridmodel.planners.planner import Plan
from hybridmodel.planners.shooting.program import ShootingProgram
from hybridmodel.planners.shooting.step import Iterate

_AWAY = 0.1  # how far inputs are moved off a saddle, of their range


class Starts:
    """Points of one program from which to descend."""

    def __init__(self, program: ShootingProgram) -> None:
        self.program, self.problem = program, program.problem
        self._low, self._high = self.problem.input_low, self.problem.input_high

    def rest(self, x0: np.ndarray) -> Iterate:
        """At x₀ all along, with inputs at rest."""
        N = self.program.N
        return self.primal(np.tile(x0, (N + 1, 1)), np.tile(self.problem.rest, (N, 1)))

    def primal(self, x: np.ndarray, u: np.ndarray) -> Iterate:
        """At states (N+1, nx) and inputs (N, nu), without multipliers."""
        program = self.program
        multipliers = np.zeros((program.N, program.nx)), np.zeros((program.N + 1, program.m))
        return Iterate(program.point(x, u), *multipliers)

    def warm(self, x0: np.ndarray, guess: Plan) -> Iterate:
        """At a plan, with its multipliers where they are those of this program."""
        turned = self.turned(guess.x[0], x0)
        x, u = guess.x * turned, np.clip(guess.u, self._low, self._high)
        x[0] = x0
        multipliers = self.program.unnamed(guess.multipliers)
        if multipliers is None:
            return self.primal(x, u)
        dynamics, rows = multipliers
        return Iterate(self.program.point(x, u), dynamics * turned, rows)

    def turned(self, x: np.ndarray, other: np.ndarray) -> np.ndarray:
        """(nx,) of 1, but −1 on quaternions q that are nearer to the other state's as −q."""
        signs = np.ones(self.program.nx)
        for row in self.problem.model.system.quaternion_rows:
            block = slice(row, row + 4)
            if x[block] @ other[block] < 0:
                signs[block] = -1.0
        return signs

    def moved(self, u: np.ndarray, attempt: int) -> np.ndarray:
        """Inputs (N, nu) away from a saddle, the same way each time and further each attempt."""
        wide = (self._high - self._low) / 2
        size = np.where(np.isfinite(wide), wide, np.maximum(1, np.abs(u)))
        draw = np.random.default_rng(attempt)
        away = u + _AWAY * 4**attempt * size * draw.standard_normal(u.shape)
        return np.clip(away, self._low, self._high)
